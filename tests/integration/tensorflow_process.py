"""Running something under one or another TensorFlow, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
OLDEST = os.environ.get("TETRIS_OLDEST_TENSORFLOW")
"""Directory of packages with the oldest TensorFlow we serve; without it its tests are skipped."""

tensorflows = pytest.mark.parametrize(
    "tensorflow",
    [
        "installed",
        pytest.param(
            "oldest",
            marks=pytest.mark.skipif(not OLDEST, reason="TETRIS_OLDEST_TENSORFLOW is not set"),
        ),
    ],
)


def run_python(
    *arguments: object, tensorflow: str = "installed", check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with ``arguments``; its output is in the failure if it fails."""
    path = [str(OLDEST)] if tensorflow == "oldest" else []
    path += [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
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
