"""Attacks on the daemon's process. ``pid`` is what the daemon's is outside."""

from __future__ import annotations

import os
import resource
import signal
import struct

from support.hostile.syscalls import call

PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
SYS_PIDFD_GETFD = 438  # on every architecture


def write_into_its_memory(view: str, run: str, pid: int, address: int) -> None:
    evil = b"EVIL"
    local = struct.pack("QQ", id(evil), 4)
    call("process_vm_writev", pid, local, 1, struct.pack("QQ", address, 4), 1, 0)


def read_its_memory(view: str, run: str, pid: int, address: int) -> None:
    here = struct.pack("QQ", id(b"x" * 64), 4)
    call("process_vm_readv", pid, here, 1, struct.pack("QQ", address, 4), 1, 0)


def open_its_memory(view: str, run: str, pid: int, address: int) -> None:
    os.open(f"/proc/{pid}/mem", os.O_RDWR)


def trace_it(view: str, run: str, pid: int, address: int) -> None:
    call("ptrace", PTRACE_ATTACH, pid, None, None)


def seize_it(view: str, run: str, pid: int, address: int) -> None:
    call("ptrace", PTRACE_SEIZE, pid, None, None)


def take_a_descriptor_of_it(view: str, run: str, pid: int, address: int) -> None:
    call("syscall", SYS_PIDFD_GETFD, os.pidfd_open(pid), 3, 0)


def enter_its_root(view: str, run: str, pid: int, address: int) -> None:
    os.listdir(f"/proc/{pid}/root/")


def list_its_descriptors(view: str, run: str, pid: int, address: int) -> None:
    os.listdir(f"/proc/{pid}/fd")


def stop_it(view: str, run: str, pid: int, address: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def kill_it(view: str, run: str, pid: int, address: int) -> None:
    os.kill(pid, signal.SIGKILL)


def limit_its_files(view: str, run: str, pid: int, address: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3))


def name_it_to_the_killer(view: str, run: str, pid: int, address: int) -> None:
    """Out of memory, the kernel would kill it first."""
    with open(f"/proc/{pid}/oom_score_adj", "w") as score:
        score.write("1000")
