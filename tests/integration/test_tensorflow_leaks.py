"""The entry points that only work inside TensorFlow leave nothing behind either."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.tensorflow_process import run_python
from support.leak_cases import IN_TENSORFLOW

pytest.importorskip("tensorflow")


@pytest.mark.parametrize("case", sorted({*IN_TENSORFLOW.values(), "attach"}))
def test_thousands_of_calls_leave_nothing(case: str, tmp_path: Path) -> None:
    """No descriptor, no mapping and not one byte of malloc's is more than before."""
    run_python("-m", "tensorflow_side.leaks", case, tmp_path)
