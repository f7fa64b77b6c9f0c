"""Attacks on the bytes and the attributes of a segment that the view shows."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from pathlib import Path

from support.hostile import syscalls
from support.hostile.syscalls import call

SIZE = 1 << 16
EVIL = b"EVIL" * 1024
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16
MADV_DONTNEED, MADV_REMOVE, MADV_FREE = 4, 9, 8
MADV_POPULATE_WRITE, MADV_HWPOISON = 23, 100
SPLICE_F_GIFT, SPLICE_F_MOVE = 8, 1
AT_FDCWD = -100
CLONE_NEWUSER, CLONE_NEWNS = 0x10000000, 0x20000
MS_BIND, MS_REMOUNT = 0x1000, 0x20
FS_IOC_SETFLAGS, FS_IMMUTABLE = 0x40086602, 0x10
FICLONE = 0x40049409
PR_SET_DUMPABLE = 4
UFFD_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
UFFD_USER_MODE_ONLY = 1
UFFDIO_API, UFFDIO_REGISTER = 0xC018AA3F, 0xC020AA00
SYS_USERFAULTFD = {"x86_64": 323, "aarch64": 282}


def _open(view: str, segment: str) -> int:
    return os.open(f"{view}/{segment}", os.O_RDONLY)


def _map(view: str, segment: str, kind: int = mmap.MAP_SHARED) -> int:
    fd = _open(view, segment)
    address = syscalls.mmap(fd, SIZE, mmap.PROT_READ, kind)
    os.close(fd)
    return address


# Opening.


def open_for_writing(view: str, run: str, segment: str) -> None:
    os.open(f"{view}/{segment}", os.O_WRONLY)


def open_for_both(view: str, run: str, segment: str) -> None:
    os.open(f"{view}/{segment}", os.O_RDWR)


def open_and_truncate(view: str, run: str, segment: str) -> None:
    os.open(f"{view}/{segment}", os.O_RDONLY | os.O_TRUNC)


def reopen_through_proc(view: str, run: str, segment: str) -> None:
    os.open(f"/proc/self/fd/{_open(view, segment)}", os.O_RDWR)


def reopen_through_map_files(view: str, run: str, segment: str) -> None:
    address = _map(view, segment)
    name = f"{address:x}-{address + SIZE:x}"
    os.open(f"/proc/self/map_files/{name}", os.O_RDWR)


def open_in_a_user_namespace(view: str, run: str, segment: str) -> None:
    """Its creator has every capability in it, over what belongs to it."""
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    call("prctl", PR_SET_DUMPABLE, 1)
    for name, text in (("uid_map", f"0 {uid} 1"), ("setgroups", "deny"), ("gid_map", f"0 {gid} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    os.open(f"{view}/{segment}", os.O_RDWR)


def remount_in_a_user_namespace(view: str, run: str, segment: str) -> None:
    """A mount that came from outside keeps its flags in it."""
    call("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    call("mount", None, view.encode(), None, MS_REMOUNT | MS_BIND, None)


def remount(view: str, run: str, segment: str) -> None:
    call("mount", None, view.encode(), None, MS_REMOUNT | MS_BIND, None)


# Writing and cutting.


def write(view: str, run: str, segment: str) -> None:
    os.write(_open(view, segment), EVIL)


def truncate(view: str, run: str, segment: str) -> None:
    os.truncate(f"{view}/{segment}", 0)


def ftruncate(view: str, run: str, segment: str) -> None:
    os.ftruncate(_open(view, segment), 0)


def grow(view: str, run: str, segment: str) -> None:
    call("fallocate", _open(view, segment), 0, SIZE, SIZE)


def punch_a_hole(view: str, run: str, segment: str) -> None:
    call("fallocate", _open(view, segment), FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 0, SIZE)


def zero_a_range(view: str, run: str, segment: str) -> None:
    call("fallocate", _open(view, segment), FALLOC_ZERO_RANGE, 0, SIZE)


def copy_file_range(view: str, run: str, segment: str) -> None:
    source = os.memfd_create("evil")
    os.write(source, EVIL)
    os.copy_file_range(source, _open(view, segment), len(EVIL), 0, 0)


def sendfile(view: str, run: str, segment: str) -> None:
    source = os.memfd_create("evil")
    os.write(source, EVIL)
    os.sendfile(_open(view, segment), source, 0, len(EVIL))


def splice(view: str, run: str, segment: str) -> None:
    reader, writer = os.pipe()
    os.write(writer, EVIL)
    os.splice(reader, _open(view, segment), len(EVIL), offset_dst=0)


def clone_a_file_onto_it(view: str, run: str, segment: str) -> None:
    """Of the same file system: here that is a segment, too."""
    fcntl.ioctl(_open(view, segment), FICLONE, _open(view, segment))


def write_into_its_page_in_a_pipe(view: str, run: str, segment: str) -> None:
    """A write must not go on in a page that was spliced in (CVE-2022-0847)."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, SIZE)  # F_SETPIPE_SZ
    os.write(writer, bytes(SIZE))
    os.read(reader, SIZE)
    os.splice(_open(view, segment), writer, 1, offset_src=0)
    os.write(writer, EVIL)


def give_away_its_pages(view: str, run: str, segment: str) -> None:
    """``vmsplice`` with ``SPLICE_F_GIFT`` lets the kernel move pages; into a file, for one."""
    reader, writer = os.pipe()
    vector = struct.pack("QQ", _map(view, segment), 4096)
    call("vmsplice", writer, vector, 1, SPLICE_F_GIFT)
    target = os.memfd_create("thief")
    os.splice(reader, target, 4096, flags=SPLICE_F_MOVE)
    os.pwrite(target, EVIL, 0)


def seal(view: str, run: str, segment: str) -> None:
    fcntl.fcntl(_open(view, segment), fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


# Through a mapping.


def map_writable(view: str, run: str, segment: str) -> None:
    syscalls.mmap(_open(view, segment), SIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED)


def make_a_mapping_writable(view: str, run: str, segment: str) -> None:
    address = _map(view, segment)
    call("mprotect", address, SIZE, mmap.PROT_READ | mmap.PROT_WRITE)


def write_through_a_mapping(view: str, run: str, segment: str) -> None:
    syscalls.write_memory(_map(view, segment), EVIL)


def write_through_proc_mem(view: str, run: str, segment: str) -> None:
    """``/proc/self/mem`` ignores the protection of a mapping, where it is private."""
    address = _map(view, segment)
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        os.pwrite(memory.fileno(), EVIL, address)


def write_to_a_private_mapping_through_proc_mem(view: str, run: str, segment: str) -> bool:
    """It may work, and must copy the page then."""
    address = _map(view, segment, mmap.MAP_PRIVATE)
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        os.pwrite(memory.fileno(), EVIL, address)
    return syscalls.read_memory(address, len(EVIL)) == EVIL


def remove_pages(view: str, run: str, segment: str) -> None:
    call("madvise", _map(view, segment), SIZE, MADV_REMOVE)


def free_pages(view: str, run: str, segment: str) -> None:
    call("madvise", _map(view, segment), SIZE, MADV_FREE)


def populate_for_writing(view: str, run: str, segment: str) -> None:
    call("madvise", _map(view, segment), SIZE, MADV_POPULATE_WRITE)


def poison_pages(view: str, run: str, segment: str) -> None:
    call("madvise", _map(view, segment), SIZE, MADV_HWPOISON)


def forget_pages(view: str, run: str, segment: str) -> None:
    """Allowed: it unmaps them here, and the file keeps them."""
    call("madvise", _map(view, segment), SIZE, MADV_DONTNEED)


def lock_pages(view: str, run: str, segment: str) -> None:
    """Allowed within RLIMIT_MEMLOCK: they are in memory anyway."""
    call("mlock", _map(view, segment), 4096)


def fill_by_userfaultfd(view: str, run: str, segment: str) -> None:
    """Who answers faults could fill holes: registering needs a mapping that may be writable."""
    number = SYS_USERFAULTFD.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "userfaultfd")
    fd = call("syscall", number, UFFD_NONBLOCK_CLOEXEC | UFFD_USER_MODE_ONLY)
    fcntl.ioctl(fd, UFFDIO_API, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))
    request = struct.pack("QQQQ", _map(view, segment), SIZE, 1, 0)
    fcntl.ioctl(fd, UFFDIO_REGISTER, bytearray(request))


# Its attributes.


def chmod(view: str, run: str, segment: str) -> None:
    os.chmod(f"{view}/{segment}", 0o666)


def fchmod(view: str, run: str, segment: str) -> None:
    os.fchmod(_open(view, segment), 0o666)


def chown(view: str, run: str, segment: str) -> None:
    os.chown(f"{view}/{segment}", 65534, 65534)


def set_times(view: str, run: str, segment: str) -> None:
    os.utime(f"{view}/{segment}", ns=(0, 0))


def set_attribute(view: str, run: str, segment: str) -> None:
    os.setxattr(f"{view}/{segment}", "user.evil", b"1")


def make_immutable(view: str, run: str, segment: str) -> None:
    """The daemon could not remove it any more."""
    fcntl.ioctl(_open(view, segment), FS_IOC_SETFLAGS, struct.pack("l", FS_IMMUTABLE))


def open_by_a_guessed_handle(view: str, run: str, segment: str) -> int:
    """``CAP_DAC_READ_SEARCH`` opens by handle what no path leads to; how many it hit.

    A handle on a tmpfs has the inode number and 32 random bits, and works only for a file of which
    somebody has asked the handle before.
    """
    mount = os.open(view, os.O_RDONLY)
    inode = os.stat(f"{view}/{segment}").st_ino
    hits = 0
    for number in range(max(1, inode - 64), inode + 64):
        for generation in (0, 1, number):
            handle = struct.pack("IiIII", 12, 1, generation, number, 0)
            try:
                os.close(call("open_by_handle_at", mount, handle, os.O_RDONLY))
                hits += 1
            except OSError as refused:
                if refused.errno != errno.ESTALE:
                    raise
    return hits


def open_by_handle_for_writing(view: str, run: str, segment: str) -> None:
    """The handle of a file that it sees; the mount is still read-only."""
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    mount_id = ctypes.byref(ctypes.c_int())
    path = f"{view}/{segment}".encode()
    call("name_to_handle_at", AT_FDCWD, path, handle, mount_id, 0)
    call("open_by_handle_at", os.open(view, os.O_RDONLY), handle, os.O_RDWR)
