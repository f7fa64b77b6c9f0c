"""Faults that systems of this kind have had, each as a test that it is not ours.

The first group are those of the research prototype that had this idea first; the second were
reported of other systems in public, and are named after their reports.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import bundle_writer
import tetris
from support.daemon import PYTHON, Daemon, files_under, wait_until
from support.models import data_file, floats, random_model, write_model
from support.tmpfs import can_mount, tmpfs
from tetris import errors, shm
from tetris.rpc import Rpc
from tetris.v1 import admin_pb2
from tetris.v1 import tetris_pb2 as pb
from tetrisd import files

ROOT = Path(__file__).parents[2]


def stats(daemon):
    return Rpc(daemon.socket).call("GetStats", pb.GetStatsRequest())


def publish(daemon, *messages):
    with Rpc(daemon.socket).stub() as stub:
        return stub.Publish(iter(messages))


def header(*claims, fingerprint=b"f" * 32):
    return pb.PublishRequest(
        header=pb.PublishHeader(fingerprint=fingerprint, name="m", tensors=claims)
    )


def claim(name, nbytes, **more):
    return pb.TensorClaim(name=name, dtype="uint8", shape=[nbytes], nbytes=nbytes, **more)


# Of the prototype.


def test_1_an_identity_is_the_bytes_and_not_a_checksum_that_a_file_claims(daemon):
    """It named tensors by the CRC32C in the index: a forged one took the place of the bytes."""
    crc = shm.crc32c(b"genuine!")
    publish(daemon, header(claim("t", 8, crc32c=crc)), pb.PublishRequest(data=b"genuine!"))
    forged = header(claim("t", 8, crc32c=crc), fingerprint=b"g" * 32)
    with pytest.raises(errors.CorruptDataError):
        publish(daemon, forged, pb.PublishRequest(data=b"evil!!!!"))
    names = {p.name for p in (daemon.root / "objects/_shared").iterdir()}
    assert names == {tetris.digest(b"genuine!").hex()}


PUBLISH_HALF = """
import sys, tetris
from tetris.rpc import Rpc
from tetris.v1 import admin_pb2
from tetris.v1 import tetris_pb2 as pb
def messages():
    yield pb.PublishRequest(header=pb.PublishHeader(fingerprint=b"f" * 32, name="m", tensors=[
        pb.TensorClaim(name="t", dtype="uint8", shape=[1 << 20], nbytes=1 << 20)]))
    yield pb.PublishRequest(data=bytes(1000))
    print("half", flush=True)
    sys.stdin.read()
with Rpc(sys.argv[1]).stub() as stub:
    stub.Publish(messages())
"""


def start_half(daemon):
    """A publisher that stops half-way, with its half in the store."""
    child = subprocess.Popen(
        [*PYTHON, "-c", PUBLISH_HALF, str(daemon.socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdout.readline() == b"half\n"
    wait_until(
        lambda: any(p.name.startswith(".") for p in (daemon.root / "objects/_shared").iterdir()),
        what="the half's arrival",
    )
    return child


def test_2_nobody_sees_a_tensor_that_is_still_being_filled(daemon):
    """Its lock covered creating and sizing a file, not filling it: a second loader served zeros."""
    child = start_half(daemon)
    try:
        assert os.listdir(daemon.root / "tenants/default") == [files.VIEW_SOCKET]
        with pytest.raises(errors.NotFoundError):
            Rpc(daemon.socket).call("Attach", pb.AttachRequest(fingerprint=b"f" * 32))
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("victim", ["publisher", "daemon"])
def test_3_a_crash_between_creating_and_filling_leaves_no_zeros(daemon, victim):
    """It left a segment of zeros for ever, and served it."""
    child = start_half(daemon)
    child.kill()
    child.communicate()
    if victim == "daemon":
        daemon.kill()
        daemon.start()
    wait_until(lambda: files_under(daemon.root) == set(), what="the clean-up")


def test_4_a_corrupt_checkpoint_fails_every_time(daemon, tmp_path):
    """It failed once, and was accepted on the retry."""
    path = random_model(tmp_path / "models" / "m")
    body = bytearray(data_file(path).read_bytes())
    body[-1] ^= 1
    data_file(path).write_bytes(body)
    for _ in range(3):
        with pytest.raises(errors.CorruptDataError):
            tetris.attach(path, socket=daemon.socket)


def test_5_clients_can_change_nothing_that_others_read(daemon, tmp_path):
    """Every client mapped the segments read-write."""
    path = random_model(tmp_path / "models" / "m", tensors=1)
    with tetris.attach(path, socket=daemon.socket) as model:
        array = model["t0"]
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        maps = Path("/proc/self/maps").read_text().splitlines()
        ours = [line for line in maps if str(daemon.root) in line]
        assert ours
        assert all(line.split()[1] == "r--s" for line in ours)
    for file in (daemon.root / "objects/_shared").iterdir():
        assert file.stat().st_mode & 0o222 == 0


def test_6_what_nobody_uses_is_freed_and_nothing_else(daemon, tmp_path):
    """It freed nothing; its collector matched parts of names, and removed live tensors."""
    names = ("vgg", "vgg16", "vgg16-new")
    models = {name: random_model(tmp_path / "models" / name, tensors=1) for name in names}
    with tetris.attach(models["vgg16"], socket=daemon.socket) as used:
        for name in ("vgg", "vgg16-new"):
            tetris.publish(models[name], socket=daemon.socket)
        assert stats(daemon).bytes_resident == 3 * 65536
        evicted = daemon.admin("Evict", admin_pb2.ModelRequest(tenant="default", model="vgg"))
        assert (evicted.removed, evicted.bytes_freed) == (True, 65536)
        daemon.admin("CollectGarbage", admin_pb2.CollectGarbageRequest())
        assert stats(daemon).bytes_resident == 65536
        assert used["t0"].tobytes() == data_file(models["vgg16"]).read_bytes()[:65536]
    wait_until(lambda: stats(daemon).leases == 0, what="the end of the lease")
    daemon.admin("CollectGarbage", admin_pb2.CollectGarbageRequest())
    assert files_under(daemon.root) == set()


@pytest.mark.parametrize("how", ["path", "stream"])
def test_7_a_full_tmpfs_is_an_error_and_not_a_crash(tmp_path, how):
    """It sized files without reserving room: the first write to a full tmpfs was a SIGBUS."""
    with tmpfs("size=2m") as small:
        if not can_mount():
            pytest.skip("needs leave to mount a small tmpfs")
        flags = [f"--model-root={tmp_path}"] if how == "path" else []
        with Daemon(tmp_path, *flags, root=small / "root") as daemon:
            path = random_model(tmp_path / "m", tensors=8, kib=1024)
            with pytest.raises(errors.NoSpaceError):
                tetris.attach(path, socket=daemon.socket)
            assert daemon.process.poll() is None


def test_8_strings_do_not_go_through_shared_memory(daemon, tmp_path):
    """They did, as pointers."""
    prefix = tmp_path / "models" / "text"
    body, crc = bundle_writer.strings(b"one", b"", b"th\0ree" * 1000)
    entry = bundle_writer.entry(
        (3,), dtype=bundle_writer.STRING, size=len(body), crc32c=bundle_writer.mask(crc)
    )
    prefix.with_name("text.data-00000-of-00001").write_bytes(body)
    prefix.with_name("text.index").write_bytes(bundle_writer.index(("t", entry)))
    with tetris.attach(prefix, socket=daemon.socket) as model:
        assert model["t"].tolist() == [b"one", b"", b"th\0ree" * 1000]
    assert stats(daemon).segments == 0


def test_9_what_is_shared_is_counted_once_and_apart(daemon, tmp_path):
    """The first container was charged for everything, so its statistics misled."""
    path = random_model(tmp_path / "models" / "m", tensors=2, kib=64)
    with (
        tetris.attach(path, socket=daemon.socket) as one,
        tetris.attach(path, socket=daemon.socket) as two,
    ):
        assert one["t0"].tobytes() == two["t0"].tobytes()
        found = stats(daemon)
        assert found.bytes_resident == 2 * 64 * 1024
        assert found.bytes_asked == 2 * found.bytes_resident
        assert found.bytes_saved == found.bytes_resident


def test_10_no_path_of_anybodys_home_is_in_the_product():
    """It held the paths of one user's home."""
    homes = re.compile(r"/(home|root|Users)/")
    for package in ("client", "tetrisd", "csrc", "proto"):
        for file in (ROOT / package).rglob("*"):
            if file.suffix in (".py", ".c", ".h", ".proto"):
                assert not homes.search(file.read_text()), file


# Reported of others.


def test_sglang_40723_a_crash_loop_does_not_fill_the_memory(daemon):
    """A process that dies while it loads, again and again, left its part each time."""
    for _ in range(5):
        child = start_half(daemon)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        wait_until(lambda: files_under(daemon.root) == set(), what="the clean-up")
    assert stats(daemon).bytes_resident == 0


def test_triton_cve_2025_23319_no_error_tells_a_name_that_leads_to_memory(daemon, tmp_path):
    """An error message told the name of an internal region, and that name was accepted."""
    random_model(tmp_path / "models" / "m")
    tetris.publish(tmp_path / "models" / "m", socket=daemon.socket)
    segments = {p.name for p in (daemon.root / "objects/_shared").iterdir()}
    said = []
    for method, request in (
        ("Attach", pb.AttachRequest(fingerprint=b"x" * 32)),
        ("Release", pb.ReleaseRequest(lease=next(iter(segments)))),
        ("GetModel", pb.GetModelRequest(model=next(iter(segments))[:12])),
        ("PublishPath", pb.PublishPathRequest(path=str(daemon.root / "objects/_shared"))),
    ):
        with pytest.raises(errors.TetrisError) as refused:
            Rpc(daemon.socket).call(method, request)
        said.append(str(refused.value))
    for name in segments:
        assert sum(name in text for text in said) <= 1, "only what the caller said itself"


def test_ray_1658_every_tensor_is_aligned(daemon, tmp_path):
    """Buffers were not 64-byte aligned, and frameworks copied them or crashed."""
    path = write_model(
        tmp_path / "models" / "m",
        {f"t{n}": ((n,), floats(*range(n))) for n in (1, 3, 7, 1000, 1025)},
    )
    with tetris.attach(path, socket=daemon.socket) as model:
        assert {array.ctypes.data % 64 for array in model.values()} == {0}


def test_serving_2017_a_reload_costs_what_changed(daemon, tmp_path):
    """Loading a new version took the memory of a second whole model."""
    base = os.urandom(1 << 20)
    for version, head in ((1, 1.0), (2, 2.0)):
        path = write_model(
            tmp_path / "models" / "m" / str(version),
            {"base": ((1 << 18,), base), "head": ((4,), floats(*[head] * 4))},
        )
        tetris.publish(path, socket=daemon.socket)
    assert stats(daemon).bytes_resident == (1 << 20) + 2 * 16
