"""Where a hostile client is. Each function changes this process for good."""

from __future__ import annotations

import os
import signal
import struct

from support.hostile.syscalls import call

NOBODY = 65534

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWPID = 0x20000, 0x8000000, 0x20000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 0x1, 0x2, 0x4, 0x20
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP = 1, 4, 24
_CAPABILITY_VERSION = 0x20080522
_CAP_SYS_ADMIN, _CAP_LAST = 21, 40
# What container runtimes leave to root by default: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL,
# SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
_USUAL = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})


def die_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends; it may have ended already."""
    call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def enter_nobody() -> None:
    """Become another user, without groups."""
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    _after_change()


def enter_container(view: str, run: str, scratch: str, careless: bool) -> tuple[str, str]:
    """Become root of an empty container; where the view and the socket's directory are in it."""
    call("unshare", _CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWIPC)
    _go_on_in_a_child()
    call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    call("mount", b"tmpfs", scratch.encode(), b"tmpfs", _MS_NOSUID | _MS_NODEV, None)
    os.chdir(scratch)
    os.mkdir("proc")
    call("mount", b"proc", b"proc", b"proc", 0, None)
    for source, target in ((view, b"view"), (run, b"run")):
        os.mkdir(target)
        call("mount", source.encode(), target, None, _MS_BIND, None)
        read_only = _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV
        call("mount", None, target, None, read_only, None)
    call("pivot_root", b".", b".")
    call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    # With CAP_SYS_ADMIN it could make the mounts writable again: no file system protects from that.
    _keep(frozenset(range(_CAP_LAST + 1)) - {_CAP_SYS_ADMIN} if careless else _USUAL)
    _after_change()
    return "/view", "/run"


def _go_on_in_a_child() -> None:
    """The first process of a new process namespace; this one waits for it, and ends as it does."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            signal.signal(-code, signal.SIG_DFL)
            os.kill(os.getpid(), -code)
        os._exit(code)
    call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)


def _keep(capabilities: frozenset[int]) -> None:
    for number in range(_CAP_LAST + 1):
        if number not in capabilities:
            call("prctl", _PR_CAPBSET_DROP, number)
    word = sum(1 << number for number in capabilities) & _permitted()
    low, high = word & 0xFFFFFFFF, word >> 32
    head = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    call("capset", head, struct.pack("6I", low, low, 0, high, high, 0))


def _permitted() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm"))


def _after_change() -> None:
    """The kernel forgets both with a change of credentials; an attacker would set the second."""
    call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL)
    call("prctl", _PR_SET_DUMPABLE, 1)
