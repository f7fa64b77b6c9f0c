"""Running something under TensorFlow, in a process of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from support.daemon import PYTHON

TESTS = Path(__file__).parents[1]


def run_python(
    *arguments: object, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with ``arguments``; its output is in the failure if it fails."""
    path = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [*PYTHON, *map(str, arguments)],
        env={
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": ":".join(path),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=280,
    )
    if check and done.returncode:
        pytest.fail(f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done
