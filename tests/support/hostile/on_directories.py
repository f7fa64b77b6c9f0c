"""Attacks on what the view and the root show: planting, removing, replacing, looking."""

from __future__ import annotations

import os
import socket
import stat

from support.hostile.syscalls import call

AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
RENAME_EXCHANGE = 2
GUESS = "ab" * 32


def create(view: str, run: str, segment: str) -> None:
    """A file of a digest's name, before the daemon has one."""
    os.open(f"{view}/{GUESS}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)


def create_a_hidden_draft(view: str, run: str, segment: str) -> None:
    os.open(f"{view}/.{GUESS}", os.O_WRONLY | os.O_CREAT, 0o644)


def create_a_lease(view: str, run: str, segment: str) -> None:
    os.open(f"{view}/0123456789abcdef.lease", os.O_WRONLY | os.O_CREAT, 0o644)


def create_without_a_name(view: str, run: str, segment: str) -> None:
    os.open(view, os.O_TMPFILE | os.O_RDWR, 0o644)


def mkdir(view: str, run: str, segment: str) -> None:
    os.mkdir(f"{view}/{GUESS}")


def mkfifo(view: str, run: str, segment: str) -> None:
    os.mkfifo(f"{view}/{GUESS}")


def mknod(view: str, run: str, segment: str) -> None:
    os.mknod(f"{view}/{GUESS}", 0o666 | stat.S_IFREG)


def symlink(view: str, run: str, segment: str) -> None:
    os.symlink("/etc/passwd", f"{view}/{GUESS}")


def link_inside(view: str, run: str, segment: str) -> None:
    os.link(f"{view}/{segment}", f"{view}/{GUESS}")


def link_outside(view: str, run: str, segment: str, mine: str) -> None:
    """A link of its own would keep the bytes after the daemon has removed them."""
    os.link(f"{view}/{segment}", f"{mine}/kept")


def link(view: str, run: str, source: str, name: str) -> None:
    os.link(source, name)


def link_outside_by_descriptor(view: str, run: str, segment: str, mine: str) -> None:
    fd = os.open(f"{view}/{segment}", os.O_RDONLY)
    path = f"/proc/self/fd/{fd}".encode()
    call("linkat", AT_FDCWD, path, AT_FDCWD, f"{mine}/kept".encode(), AT_SYMLINK_FOLLOW)


def unlink(view: str, run: str, segment: str) -> None:
    os.unlink(f"{view}/{segment}")


def rename_inside(view: str, run: str, segment: str) -> None:
    os.rename(f"{view}/{segment}", f"{view}/{GUESS}")


def rename_over(view: str, run: str, segment: str, other: str) -> None:
    os.rename(f"{view}/{other}", f"{view}/{segment}")


def exchange(view: str, run: str, segment: str, other: str) -> None:
    one, two = f"{view}/{segment}".encode(), f"{view}/{other}".encode()
    call("renameat2", AT_FDCWD, one, AT_FDCWD, two, RENAME_EXCHANGE)


def chmod_the_view(view: str, run: str, segment: str) -> None:
    os.chmod(view, 0o777)


def write_to_a_lease(view: str, run: str, segment: str) -> None:
    os.open(f"{view}/{_lease(view)}", os.O_WRONLY)


def unlink_a_lease(view: str, run: str, segment: str) -> None:
    os.unlink(f"{view}/{_lease(view)}")


def chmod_a_lease(view: str, run: str, segment: str) -> None:
    os.chmod(f"{view}/{_lease(view)}", 0o666)


def set_times_of_a_lease(view: str, run: str, segment: str) -> None:
    """Its access time tells the daemon whether it was ever taken."""
    os.utime(f"{view}/{_lease(view)}", ns=(0, 0))


def _lease(view: str) -> str:
    return next(name for name in os.listdir(view) if name.endswith(".lease"))


def unlink_the_socket(view: str, run: str, segment: str) -> None:
    os.unlink(f"{run}/{_socket(run)}")


def replace_the_socket(view: str, run: str, segment: str) -> None:
    """Whoever connects next would be answered by the attacker."""
    with socket.socket(socket.AF_UNIX) as mine:
        mine.bind(f"{run}/new")
    os.rename(f"{run}/new", f"{run}/{_socket(run)}")


def chmod_the_socket(view: str, run: str, segment: str) -> None:
    os.chmod(f"{run}/{_socket(run)}", 0o777)


def _socket(run: str) -> str:
    return next(n for n in os.listdir(run) if stat.S_ISSOCK(os.stat(f"{run}/{n}").st_mode))


# Looking where it may not.


def list_directory(view: str, run: str, path: str) -> list[str]:
    return os.listdir(path)


def list_relative(view: str, run: str, *names: str) -> list[str]:
    """From the view upwards, as if the whole root were there."""
    return os.listdir(os.path.join(view, *names))


def open_path(view: str, run: str, path: str) -> None:
    os.open(path, os.O_RDONLY)


def open_as_path_only(view: str, run: str, path: str) -> None:
    os.open(path, os.O_PATH)


def open_relative(view: str, run: str, *names: str) -> None:
    os.open(os.path.join(view, *names), os.O_RDONLY)


def list_view(view: str, run: str) -> list[str]:
    return os.listdir(view)


def connect(view: str, run: str, path: str) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def connect_to_the_tenant(view: str, run: str) -> str:
    """Allowed: the socket is what it may open."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{run}/{_socket(run)}")
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        return client.recv(9)[3:4].hex()


def read_segment(view: str, run: str, segment: str) -> str:
    """Allowed: what the place can do at all."""
    with open(f"{view}/{segment}", "rb") as file:
        return file.read(16).hex()
