"""What this user's processes may do, and what the kernel can."""

from __future__ import annotations

import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tetris import shm
from tetris.cli.checks import Finding, failure, note, ok, warning
from tetris.cli.checks.surroundings import Surroundings
from tetris.cli.tables import size
from tetris.errors import ConflictError, TetrisError

# What a process with TensorFlow maps and takes besides weights.
_OTHER_MAPPINGS = 2000
_OTHER_BYTES = 1 << 30
_LEAST_FILES = 1024
_SHARED_MEMORY = "/dev/shm"  # noqa: S108


def max_map_count(at: Surroundings) -> Finding:
    """A process may map every tensor of the largest model."""
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    segments = at.largest.segments if at.largest else 0
    need = segments + _OTHER_MAPPINGS
    if limit < need:
        return warning(
            f"vm.max_map_count is {limit}, and a process that maps the largest model "
            f"({segments} segments) needs about {need}",
            f"sudo sysctl -w vm.max_map_count={max(262144, 2 * need)}",
        )
    largest = f"the largest model has {segments} segments" if segments else "no model is published"
    return ok(f"vm.max_map_count is {limit}; {largest}")


def open_files(at: Surroundings) -> Finding:
    """This process may open enough files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _LEAST_FILES:
        return ok(f"a process of this shell may open {soft} files")
    if hard == resource.RLIM_INFINITY or hard >= _LEAST_FILES:
        fix = f"ulimit -Sn {_LEAST_FILES}"
    else:
        fix = "sudo prlimit --pid $$ --nofile=65536:65536"
    return warning(f"a process of this shell may open {soft} files only", fix)


def data_limit(at: Surroundings) -> Finding:
    """Private mappings of the largest model fit the limits of a process."""
    need = (at.largest.nbytes if at.largest else 0) + _OTHER_BYTES
    for name, what, flag in (
        ("RLIMIT_DATA", "of data", "d"),
        ("RLIMIT_AS", "of address space", "v"),
    ):
        soft, hard = resource.getrlimit(getattr(resource, name))
        if 0 <= soft < need:
            option = {"d": "data", "v": "as"}[flag]
            return warning(
                f"a process of this shell may have {size(soft)} {what}, and may need {size(need)}",
                f"ulimit -{flag} unlimited"
                if hard == resource.RLIM_INFINITY
                else f"sudo prlimit --pid $$ --{option}=unlimited:unlimited",
            )
    return ok("no limit on the data or the address space of a process is in the way")


def overcommit(at: Surroundings) -> Finding:
    """Copy-on-write mappings are not counted as if they were copied."""
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
        return warning(
            "vm.overcommit_memory is 2: writable mappings count as if they were copied, "
            "and TensorFlow's may be refused",
            "sudo sysctl -w vm.overcommit_memory=0",
        )
    return ok("vm.overcommit_memory lets processes share what they could write to")


def kernel(at: Surroundings) -> Finding:
    """What references and segments are made of works, tried on a file of our own."""
    where = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
    try:
        with tempfile.TemporaryDirectory(prefix=".tetris-doctor-", dir=where) as scratch:
            fd = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return _kernel(fd)
            finally:
                os.close(fd)
    except OSError as failed:
        return note(f"kernel features were not tried: no directory to write to ({failed.strerror})")


def _kernel(scratch: int) -> Finding:
    time.clock_gettime(time.CLOCK_BOOTTIME)
    for feature, works in _FEATURES:
        try:
            fault = "" if works(scratch) else "it has no effect"
        except TetrisError as failed:
            fault = str(failed)
        if fault:
            return failure(
                f"the kernel, or a filter of system calls, lacks {feature}: {fault}",
                "uname -r; grep Seccomp /proc/self/status  # Linux 5.6 or later, without a filter",
            )
    return ok(f"Linux {os.uname().release}: {', '.join(name for name, _ in _FEATURES)}")


def _seals(scratch: int) -> bool:
    """A second file does not take the place of the first: RENAME_NOREPLACE."""
    for hidden in (".first", ".second"):
        shm.reserve(scratch, hidden, 4096)
    return shm.seal(scratch, ".first", "sealed") and not shm.seal(scratch, ".second", "sealed")


def _locks(scratch: int) -> bool:
    """A mapping holds its lock, and lets it go: locks of an open file description."""
    held = shm.map_segment(scratch, "sealed", 4096)
    try:
        with shm.claimed(scratch, "sealed"):
            return False
    except ConflictError:
        del held
    with shm.claimed(scratch, "sealed"):
        return True


def _opens(scratch: int) -> bool:
    os.close(shm.open_beneath(scratch, "sealed", os.O_RDONLY))
    return True


_FEATURES: tuple[tuple[str, Callable[[int], bool]], ...] = (
    ("renameat2", _seals),
    ("OFD locks", _locks),
    ("openat2", _opens),
)
