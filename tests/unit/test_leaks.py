"""No entry point of the C library leaves anything behind, whether it succeeds or fails."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.daemon import die_with_parent
from support.leak_cases import CASES, COVERED, IN_TENSORFLOW, ONCE
from support.leaks import growth

TESTS = Path(__file__).parents[1]
Found = dict[str, "list[int] | str"]
CDEF = TESTS.parent / "csrc" / "cffi.cdef.txt"


@pytest.fixture(scope="module")
def found(shared_memory: Path) -> Found:
    """What every case left behind, in a process that does nothing else."""
    place = shared_memory / "leaks"
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "support.leak_cases", place],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=die_with_parent,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", [case.__name__ for case in CASES])
def test_ten_thousand_calls_leave_nothing(found: Found, case: str) -> None:
    """No descriptor, no mapping and not one byte of malloc's is more than before."""
    assert found[case] == [0, 0, 0]


def test_every_entry_point_is_called() -> None:
    """What cffi builds is in a case, here or in TensorFlow, but for what a process calls once."""
    declared = re.findall(r"^[\w\" ]+[ *](\w+)\(", CDEF.read_text(), re.MULTILINE)
    called = set.union(*COVERED.values(), IN_TENSORFLOW, ONCE)
    assert len(declared) > 30
    assert called == set(declared)


@pytest.mark.parametrize("what", ["descriptor", "mapping", "byte"])
def test_a_leak_is_seen(what: str) -> None:
    """The measure itself can fail: one thing of each kind per call is found."""
    import ctypes
    import mmap

    malloc = ctypes.CDLL(None).malloc
    malloc.restype = ctypes.c_void_p
    kept: list[object] = []
    leaks = {
        "descriptor": lambda: kept.append(os.open("/", os.O_RDONLY)),
        "mapping": lambda: kept.append(mmap.mmap(-1, 4096, prot=1 + len(kept) % 2)),
        "byte": lambda: malloc(1),
    }
    grown = growth(leaks[what], calls=100)
    if what == "descriptor":
        for fd in kept:
            os.close(fd)
    assert grown[("descriptor", "mapping", "byte").index(what)] >= 100
