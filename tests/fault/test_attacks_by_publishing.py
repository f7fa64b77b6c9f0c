"""What a hostile publisher may try: bytes get the digest that they have, or are refused whole."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import tetris
from support.hostile import on_directories
from support.models import data_file, random_model
from tetris import errors
from tetris.shm import crc32c
from tetris.v1 import tetris_pb2 as pb

MIB = 1 << 20


def publish_path(target, path):
    return target.call("PublishPath", pb.PublishPathRequest(path=str(path)))


def header(*claims, fingerprint):
    return pb.PublishRequest(
        header=pb.PublishHeader(fingerprint=fingerprint, name="evil", tensors=claims)
    )


def claim(nbytes, name="t", **more):
    return pb.TensorClaim(name=name, dtype="uint8", shape=[nbytes], nbytes=nbytes, **more)


def stored(target, digest: bytes) -> bytes:
    """The bytes that the store serves under a digest."""
    return (target.view / digest.hex()).read_bytes()


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do something over and over in another thread."""
    done = threading.Event()

    def loop() -> None:
        while not done.is_set():
            work()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def forge_fingerprint(target, fingerprint: bytes, body: bytes) -> pb.PublishResponse:
    """Publish other bytes under the fingerprint of somebody's model."""
    first = header(claim(len(body)), fingerprint=fingerprint)
    return target.publish([first, pb.PublishRequest(data=body)])


def test_a_fingerprint_belongs_to_its_first_publisher(target):
    """Within a tenant it is that tenant's claim: who comes second gets what the first has sent."""
    with target.unharmed():
        answer = forge_fingerprint(target, target.model.manifest.fingerprint, os.urandom(64))
        assert not answer.published
        assert [t.digest.hex() for t in answer.manifest.tensors] == target.segments


def test_a_claim_cannot_name_a_digest():
    """A tensor's digest is computed by the daemon: there is no field in which to claim one."""
    claims = {f.name for f in pb.TensorClaim.DESCRIPTOR.fields}
    assert claims == {"name", "dtype", "shape", "nbytes", "crc32c", "strings", "same_as"}
    messages = {f.name for f in pb.PublishHeader.DESCRIPTOR.fields}
    assert messages == {"fingerprint", "name", "tensors", "keep_alive_seconds"}


@pytest.mark.parametrize("twin", [1, 2, 7, 0xFFFFFFFF])
def test_a_claim_refers_to_earlier_tensors_alone(target, twin):
    """Never to itself, a later one or one of another model."""
    claims = [claim(8, "a"), claim(8, "b", same_as=twin), claim(8, "c")]
    with target.unharmed(), pytest.raises(errors.InvalidModelError, match="no earlier one"):
        target.publish([header(*claims, fingerprint=b"s" * 32), pb.PublishRequest(data=bytes(16))])


def test_the_size_and_crc_of_a_segment_do_not_give_it_away(target):
    """Who knows both of somebody's tensor still has to send its bytes."""
    (known, _) = target.model.manifest.tensors
    forged = header(claim(known.nbytes, crc32c=known.crc32c), fingerprint=b"c" * 32)
    with target.unharmed():
        for body in (b"", bytes(known.nbytes - 1), bytes(known.nbytes)):
            with pytest.raises(errors.InvalidModelError):
                target.publish([forged, pb.PublishRequest(data=body)])


def test_a_stream_from_a_buffer_that_changes_gets_the_digest_of_what_is_stored(target):
    """The sender's buffer is rewritten all the time; no checksum is claimed."""
    buffer = bytearray(MIB)
    fingerprint = os.urandom(32)

    def messages() -> Iterator[pb.PublishRequest]:
        yield header(claim(8 * MIB), fingerprint=fingerprint)
        for _ in range(8):
            yield pb.PublishRequest(data=bytes(buffer))

    with meanwhile(lambda: buffer.__setitem__(slice(0, 4096), os.urandom(4096))):
        (tensor,) = target.publish(messages()).manifest.tensors
    body = stored(target, tensor.digest)
    assert tetris.digest(body) == tensor.digest
    assert crc32c(body) == tensor.crc32c
    target.works_for_others()


def damaged(path: Path) -> bytes:
    """What a data file holds, but for its last byte: it is never right, whenever it is read."""
    body = data_file(path).read_bytes()
    return body[:-1] + bytes([body[-1] ^ 1])


def always_refused(target, path: Path) -> None:
    for _ in range(20):
        with pytest.raises(errors.InvalidModelError) as refused:
            publish_path(target, path)
        assert "\n" not in str(refused.value)


def test_a_file_that_changes_while_it_is_read_is_refused(target):
    """Between its contents there are mixtures, none of them with the checksum of the index."""
    path = random_model(target.models / "changing", tensors=1, kib=4096)
    body = damaged(path)
    fd = os.open(data_file(path), os.O_WRONLY)

    def change() -> None:
        os.pwrite(fd, bytes(len(body)), 0)
        os.pwrite(fd, body, 0)

    with target.unharmed(), meanwhile(change):
        always_refused(target, path)
    os.close(fd)


def test_a_file_that_is_cut_while_it_is_read_is_refused(target):
    """It is read, never mapped: a cut is the end of the file and no SIGBUS."""
    path = random_model(target.models / "cut", tensors=1, kib=4096)
    body = damaged(path)
    fd = os.open(data_file(path), os.O_RDWR)

    def cut() -> None:
        os.pwrite(fd, body, 0)
        os.ftruncate(fd, 0)

    with target.unharmed(), meanwhile(cut):
        always_refused(target, path)
    os.close(fd)


@pytest.mark.parametrize("part", ["data", "index", "saved_model.pb"])
@pytest.mark.parametrize(
    "kind",
    [
        "/dev/zero",
        "/proc/self/environ",
        "/proc/self/mem",
        "/proc/self/fd/0",
        "../../../outside",
        "device",
        "socket",
    ],
)
def test_a_source_is_a_regular_file_below_the_model_root(target, tmp_path, kind, part):
    """No link leads out of it, into /proc for one, and no device or socket is read."""
    path = random_model(target.models / f"special-{part}-{Path(kind).name}")
    names = {"data": data_file(path), "index": path / "variables" / "variables.index"}
    victim = names.get(part, path / part)
    victim.unlink()
    if kind == "device":
        if os.geteuid() != 0:
            pytest.skip("needs leave to make a device")
        os.mknod(victim, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            here = os.getcwd()
            os.chdir(victim.parent)
            try:
                listener.bind(victim.name)
            finally:
                os.chdir(here)
    else:
        victim.symlink_to(kind)
    with target.unharmed():
        with pytest.raises((errors.NotAllowedError, errors.InvalidModelError)) as refused:
            publish_path(target, path)
        assert "\n" not in str(refused.value)


def test_a_link_that_is_swapped_for_the_file_never_leads_out(target, tmp_path):
    """The right bytes lie outside, others inside: a success would mean that it went outside."""
    path = random_model(target.models / "swapped", tensors=1, kib=4)
    data = data_file(path)
    outside = tmp_path / "secret"
    data.rename(outside)
    data.write_bytes(bytes(outside.stat().st_size))
    link = data.with_name("link")
    link.symlink_to(outside)
    spare = data.with_name("spare")

    def swap() -> None:
        os.rename(data, spare)
        os.rename(link, data)
        os.rename(data, link)
        os.rename(spare, data)

    seen = set()
    with target.unharmed():
        with meanwhile(swap):
            for _ in range(300):
                with pytest.raises(errors.TetrisError) as refused:
                    publish_path(target, path)
                seen.add(type(refused.value))
        assert errors.NotAllowedError in seen, "it met the link"
        assert errors.CorruptDataError in seen, "and the file"


def test_another_user_cannot_link_a_secret_below_the_model_root(target, place, tmp_path):
    """A hard link would pass for a file of the model: fs.protected_hardlinks refuses to make it."""
    if Path("/proc/sys/fs/protected_hardlinks").read_text() != "1\n" and place == "nobody":
        pytest.skip("this host lets anybody link anything")
    theirs = target.models / f"theirs-{place}"
    theirs.mkdir()
    theirs.chmod(0o777)
    secret = target.models / "secret"
    secret.write_bytes(b"root's alone")
    secret.chmod(0o600)
    outcome = target.hostile.tries(
        place, on_directories.link, str(secret), str(theirs / "variables.data-00000-of-00001")
    )
    assert outcome == ("EPERM" if place == "nobody" else "ENOENT")
