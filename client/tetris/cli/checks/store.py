"""The tmpfs that segments are on."""

from __future__ import annotations

import glob
import mmap
import os
import re
from contextlib import suppress
from pathlib import Path

from tetris.cli import proc
from tetris.cli.checks import Finding, failure, note, ok, warning
from tetris.cli.checks.surroundings import MOUNT_UNIT, Surroundings, unit
from tetris.cli.resident import DEFAULT_ROOT, SEGMENT
from tetris.cli.tables import size
from tetris.mount import SHMEM_SWITCH, Mount, gives_huge_pages

_OPTIONS = "huge=within_size,size=75%,mode=0711,nosuid,nodev"
_HUGE = 2 << 20
_LEAST_BYTES = 256 << 20
_LEAST_FILES = 1000
# The highest number of a system's user: Debian's and Red Hat's SYS_UID_MAX.
_LAST_SYSTEM_USER = 999


def tmpfs(at: Surroundings) -> Finding | None:
    """The root is on a tmpfs, best on one of its own."""
    mount = at.mount
    if mount is None:
        if at.guest:
            return None  # it has the view
        return failure(f"there is no {at.root}", f"sudo mkdir -p {at.root} && {_mount(at)}")
    if mount.kind != "tmpfs":
        return failure(f"{at.root} is on {mount.kind}, not in shared memory", _mount(at))
    if mount.point in ("/dev/shm", "/run", "/tmp"):  # noqa: S108
        # Not over segments: they would take memory still, and be in nobody's reach.
        fix = "" if (at.root / "objects").is_dir() else _mount(at)
        return note(f"{at.root} shares the tmpfs of {mount.point} with every program", fix)
    return ok(f"{at.root} is on the tmpfs at {mount.point}")


def room(at: Surroundings) -> Finding | None:
    """The tmpfs has free bytes."""
    if at.mount is None:
        return None
    fs = os.statvfs(at.root)
    total, free = fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize
    if not total:
        return ok("the tmpfs has no size limit: memory is the limit")
    if free < max(_LEAST_BYTES, total // 20):
        return warning(
            f"the tmpfs has {size(free)} of {size(total)} free: models that take more are refused",
            f"sudo mount -o remount,size={2 * total >> 20}M {at.mount.point}",
        )
    return ok(f"the tmpfs has {size(free)} of {size(total)} free")


def inodes(at: Surroundings) -> Finding | None:
    """The tmpfs can take more files."""
    if at.mount is None:
        return None
    fs = os.statvfs(at.root)
    if not fs.f_files:
        return ok("the tmpfs takes any number of files")
    if fs.f_favail < _LEAST_FILES:
        return warning(
            f"the tmpfs takes {fs.f_favail} more files, and a segment takes two",
            f"sudo mount -o remount,nr_inodes={max(1_000_000, 2 * fs.f_files)} {at.mount.point}",
        )
    return ok(f"the tmpfs takes {fs.f_favail:,} more files")


def options(at: Surroundings) -> Finding | None:
    """Nothing on the tmpfs can be run as somebody else, or be a device."""
    if at.mount is None or at.mount.kind != "tmpfs":
        return None
    missing = [option for option in ("nosuid", "nodev") if option not in at.mount.options]
    if missing:
        return note(
            f"the tmpfs at {at.mount.point} is mounted without {' and '.join(missing)}",
            f"sudo mount -o remount,{','.join(missing)} {at.mount.point}",
        )
    return ok("the tmpfs is mounted nosuid and nodev")


def swap(at: Surroundings) -> Finding | None:
    """Weights stay in memory."""
    if at.mount is None or at.mount.kind != "tmpfs":
        return None
    if len(Path("/proc/swaps").read_text().splitlines()) < 2:
        return ok("this host has no swap that weights could go to")
    if "noswap" in at.mount.options:
        return ok("weights are never swapped out (noswap)")
    if not _knows_noswap():  # to mount with it would fail, and a host that does at boot stops there
        return note("weights may be swapped out; this kernel has no noswap, Linux 6.4 has")
    return note(
        "weights may be swapped out; noswap can only be given at the mount",
        _noswap_from_the_next_boot(at.mount) if at.mount.point == str(at.root) else "",
    )


def _knows_noswap() -> bool:
    return tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) >= (6, 4)


def _noswap_from_the_next_boot(mount: Mount) -> str:
    """Of the options that are mounted now, its owner for one, none is lost."""
    options = ",".join(["noswap", *sorted(mount.options)])
    if unit(MOUNT_UNIT).get("LoadState") != "loaded" or mount.point != str(DEFAULT_ROOT):
        line = f"tetris {mount.point} tmpfs nofail,{options} 0 0"
        return f"echo '{line}' | sudo tee -a /etc/fstab"
    place = f"/etc/systemd/system/{MOUNT_UNIT}.d"
    return (
        f"sudo mkdir -p {place} && printf '[Mount]\\nOptions={options}\\n' | "
        f"sudo tee {place}/noswap.conf && sudo systemctl daemon-reload"
    )


def huge_pages(at: Surroundings) -> Finding | None:
    """Segments get huge pages: by option, and in fact."""
    mount = at.mount
    if mount is None or mount.kind != "tmpfs":
        return None
    if not SHMEM_SWITCH.exists():
        return note("this kernel has no huge pages for shared memory: publish and attach are slow")
    if not gives_huge_pages(mount):
        denied = "[deny]" in SHMEM_SWITCH.read_text()
        why = "the host denies them" if denied else f"{mount.point} has huge={mount.huge}"
        fix = (
            f"echo never | sudo tee {SHMEM_SWITCH}"
            if denied
            else f"sudo mount -o remount,huge=within_size {mount.point}"
        )
        return warning(f"no huge pages ({why}): publish and attach are slower", fix)
    share = obtained(at)
    if share is None:
        return ok("huge pages are in effect; no large segment is there to look at")
    if share < 0.5:
        return warning(
            f"of a large segment only {share:.0%} is in huge pages: memory is fragmented",
            "echo 1 | sudo tee /proc/sys/vm/compact_memory",
        )
    return ok(f"huge pages are in effect: {share:.0%} of a large segment")


def remove_ipc(at: Surroundings) -> Finding | None:
    """Nobody's logout removes the segments."""
    if at.mount is None or at.guest or not at.has_systemd:
        return None
    owner = os.stat(at.root).st_uid
    if owner <= _LAST_SYSTEM_USER:
        return ok(f"the root belongs to a system user ({owner}), whose logout removes nothing")
    if not at.root.absolute().is_relative_to("/dev/shm"):  # noqa: S108
        return ok("the root is not below /dev/shm, where a logout removes a user's files")
    if logind_removes():
        return warning(
            f"when user {owner} logs out, logind removes its files below /dev/shm",
            "sudo mkdir -p /etc/systemd/logind.conf.d && printf '[Login]\\nRemoveIPC=no\\n' | "
            "sudo tee /etc/systemd/logind.conf.d/tetris.conf && "
            "sudo systemctl restart systemd-logind",
        )
    return ok("a logout removes nothing (RemoveIPC=no)")


def logind_removes() -> bool:
    """The effective RemoveIPC: of the last file that says it, a drop-in after the main file."""
    drop_ins: dict[str, str] = {}
    for place in ("/usr/lib", "/usr/local/lib", "/run", "/etc"):
        for path in glob.glob(f"{place}/systemd/logind.conf.d/*.conf"):
            drop_ins[os.path.basename(path)] = path
    value = "yes"
    for path in ("/etc/systemd/logind.conf", *(drop_ins[name] for name in sorted(drop_ins))):
        with suppress(OSError):
            said = re.findall(r"^\s*RemoveIPC\s*=\s*(\S+)", Path(path).read_text(), re.M)
            value = said[-1] if said else value
    return value.lower() in ("yes", "true", "1", "on", "y", "t")


def obtained(at: Surroundings) -> float | None:
    """How much of a large segment a reader gets in huge pages; None without one to look at."""
    fd = _large_segment(at)
    if fd is None:
        return None
    try:
        nbytes = min(os.fstat(fd).st_size, 32 * _HUGE) // _HUGE * _HUGE
        with mmap.mmap(fd, nbytes, mmap.MAP_SHARED, mmap.PROT_READ) as memory:
            for offset in range(0, nbytes, _HUGE):
                memory[offset]
            found = os.fstat(fd)
            huge = proc.mapped(os.getpid(), found.st_dev)[found.st_ino].huge
            return huge / nbytes
    finally:
        os.close(fd)


def _large_segment(at: Surroundings) -> int | None:
    """A descriptor of a segment that has huge pages to it, if this user may open one."""
    for directory in at.resident.directories() if at.resident else ():
        with suppress(OSError), os.scandir(directory) as entries:
            for entry in entries:
                large = entry.stat(follow_symlinks=False).st_size >= 2 * _HUGE
                if large and SEGMENT.fullmatch(entry.name):
                    return os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    return None


def _mount(at: Surroundings) -> str:
    if at.has_systemd and at.root == DEFAULT_ROOT and unit(MOUNT_UNIT).get("LoadState") == "loaded":
        return f"sudo systemctl start {MOUNT_UNIT}"
    return f"sudo mount -t tmpfs -o {_OPTIONS} tetris {at.root}"
