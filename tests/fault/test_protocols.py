"""What the daemon promises about its protocols where only a real one can break the promise."""

from __future__ import annotations

import mmap
import os
import signal
from pathlib import Path

import pytest

import tetris
import tetrisd
from support.daemon import Daemon, files_under, wait_until
from support.models import random_model
from support.tmpfs import can_mount, tmpfs
from tetris import errors
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

MIB = 1 << 20


def stats(socket):
    return Rpc(socket).call("GetStats", pb.GetStatsRequest())


def objects(daemon):
    """Sizes of the segments, and the drafts among them by name."""
    found = [p for p in (daemon.root / "objects").rglob("*") if p.is_file()]
    return [p.stat().st_size for p in found], {p.name for p in found if p.name.startswith(".")}


def test_of_equal_tensors_one_at_most_is_held_twice(daemon):
    """A stream can be read only once: an equal tensor is written, found out and dropped."""
    body = os.urandom(MIB)
    claim = {"dtype": "uint8", "shape": [MIB], "nbytes": MIB}
    claims = [pb.TensorClaim(name=f"t{i}", **claim) for i in range(4)]
    header = pb.PublishHeader(fingerprint=b"f" * 32, name="m", tensors=claims)
    seen: set[str] = set()

    def messages():
        yield pb.PublishRequest(header=header)
        for number in range(len(claims)):
            yield pb.PublishRequest(data=body[:1000])
            wait_until(lambda: objects(daemon)[1] - seen, what="the next draft")
            sizes, drafts = objects(daemon)
            assert len(drafts) == 1
            assert sizes == [MIB] * min(2, number + 1)
            seen.update(drafts)
            yield pb.PublishRequest(data=body[1000:])

    with Rpc(daemon.socket).stub() as stub:
        stub.Publish(messages())
    assert objects(daemon) == ([MIB], set())
    assert len(seen) == 4


def test_the_daemon_never_reads_the_table_of_locks():
    """With many locks that takes a quarter of a second, and slows down everybody's locking."""
    for file in Path(tetrisd.__path__[0]).glob("*.py"):
        assert "/proc/locks" not in file.read_text(), file


def test_room_that_a_mapped_file_without_a_name_takes_is_not_promised(tmp_path):
    """No listing shows its bytes: only the file system knows."""
    with tmpfs("size=8m") as small:
        if not can_mount():
            pytest.skip("needs leave to mount a small tmpfs")
        with Daemon(tmp_path, f"--model-root={tmp_path}", root=small / "root") as daemon:
            with (small / "unnamed").open("w+b") as file:
                os.posix_fallocate(file.fileno(), 0, 6 * MIB)
                taken = mmap.mmap(file.fileno(), 6 * MIB)
                (small / "unnamed").unlink()
            before = files_under(daemon.root)
            big = random_model(tmp_path / "big", tensors=3, kib=1024)
            with pytest.raises(errors.NoSpaceError, match=r"^model big needs \d+ bytes"):
                tetris.publish(big, socket=daemon.socket)
            assert files_under(daemon.root) == before
            taken.close()
            tetris.publish(big, socket=daemon.socket)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_who_mounted_the_sockets_directory_meets_the_next_daemon(daemon, how):
    """A container mounts the directory: a descriptor of it is the same, and needs no privilege."""
    inside = os.open(daemon.socket.parent, os.O_PATH | os.O_DIRECTORY)
    socket = Path(f"/proc/{os.getpid()}/fd/{inside}") / daemon.socket.name
    try:
        assert stats(socket).models == 0
        daemon.stop(how)
        with pytest.raises(errors.UnavailableError):
            stats(socket)
        daemon.start()
        assert stats(socket).models == 0
    finally:
        os.close(inside)


def test_what_is_resident_is_told_by_the_file_system(daemon, tmp_path):
    """Memory stays charged to the control group of the daemon that wrote it, and that is gone."""
    tetris.publish(random_model(tmp_path / "models" / "m"), socket=daemon.socket)
    before = stats(daemon.socket).bytes_resident
    daemon.kill()
    daemon.start()
    assert stats(daemon.socket).bytes_resident == before == sum(objects(daemon)[0])
