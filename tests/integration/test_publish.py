"""Publish, by path and by stream: the same model, once, whatever goes wrong on the way."""

from __future__ import annotations

import mmap
import os
import signal
import socket as socket_module
import subprocess
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import bundle_writer
import tetris
from support.daemon import PYTHON, Daemon, files_under, run_python, wait_until
from support.models import data_file, floats, let_through, random_model, write_model
from support.tmpfs import can_mount, tmpfs
from tetris import errors
from tetris.client import Client
from tetris.formats import locate
from tetris.formats.dtypes import BY_NAME
from tetris.formats.slices import encode_key
from tetris.model import Model
from tetris.rpc import Rpc
from tetris.shm import claimed, crc32c, is_referenced
from tetris.upload import upload
from tetris.v1 import tetris_pb2 as pb
from tetrisd.service import MAX_PUBLISHES


def publish_path(daemon, path):
    return Rpc(daemon.socket).call("PublishPath", pb.PublishPathRequest(path=str(path)))


def publish_stream(daemon, messages):
    with Rpc(daemon.socket).stub() as stub:
        return stub.Publish(iter(messages))


def header(*tensors, fingerprint=b"f" * 32, name="m"):
    return pb.PublishRequest(
        header=pb.PublishHeader(fingerprint=fingerprint, name=name, tensors=tensors)
    )


def claim(name="t", dtype="uint8", shape=(4,), nbytes=4, **more):
    return pb.TensorClaim(name=name, dtype=dtype, shape=shape, nbytes=nbytes, **more)


def data(body):
    return pb.PublishRequest(data=body)


def stats(daemon):
    return Rpc(daemon.socket).call("GetStats", pb.GetStatsRequest())


def test_path_and_stream_give_the_same_manifest(daemon, tmp_path):
    inside = random_model(tmp_path / "models" / "m")
    by_path = publish_path(daemon, inside)
    assert by_path.published
    with Daemon(tmp_path / "second", root=daemon.root.parent / "second") as other:
        by_stream = publish_stream(other, upload(locate(str(inside))))
    assert by_stream.published
    assert by_stream.manifest.fingerprint == by_path.manifest.fingerprint
    assert list(by_stream.manifest.tensors) == list(by_path.manifest.tensors)


def test_what_the_daemon_may_not_read_is_sent(daemon, tmp_path):
    outside = random_model(tmp_path / "elsewhere" / "m")
    manifest = tetris.publish(outside, socket=daemon.socket)
    assert "published" in daemon.log
    with tetris.attach(outside, socket=daemon.socket) as model:
        assert model["t0"].tobytes() == data_file(outside).read_bytes()[: 64 * 1024]
    assert tetris.publish(outside, socket=daemon.socket) == manifest


def test_a_stream_sends_equal_tensors_once(tmp_path, daemon):
    body = os.urandom(1 << 16)
    path = write_model(tmp_path / "out" / "m", dict.fromkeys(("a", "b", "c"), ((1 << 14,), body)))
    messages = list(upload(locate(str(path))))
    assert sum(len(m.data) for m in messages) == 1 << 16
    manifest = publish_stream(daemon, messages).manifest
    assert len({t.digest for t in manifest.tensors}) == 1
    assert stats(daemon).bytes_resident == 1 << 16


def test_a_partitioned_variable_is_one_tensor(tmp_path, daemon):
    """Slices along axis 1 interleave: what is published is the whole, not the pieces."""
    left, right = floats(0, 1, 4, 5), floats(2, 3, 6, 7)
    parts = [((0, 2), left), ((2, 2), right)]
    prefix = tmp_path / "models" / "part" / "ckpt"
    prefix.parent.mkdir()
    pairs, body = [], b""
    boxes = []
    for (start, length), piece in parts:
        extents = ((0, -1), (start, length))
        key = encode_key(b"w", extents)
        crc = bundle_writer.mask(crc32c(piece))
        pairs.append((key, bundle_writer.entry((2, 2), offset=len(body), crc32c=crc)))
        boxes.append(bundle_writer.box(None, (start, length)))
        body += piece
    pairs.sort()
    full = bundle_writer.entry((2, 4), size=0, slices=boxes)
    prefix.with_name("ckpt.data-00000-of-00001").write_bytes(body)
    prefix.with_name("ckpt.index").write_bytes(bundle_writer.index(*pairs, ("w", full)))
    with tetris.attach(prefix, socket=daemon.socket) as model:
        assert model["w"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with Daemon(tmp_path / "second", root=daemon.root.parent / "second") as other:
        again = publish_stream(other, upload(locate(str(prefix)))).manifest
    assert again.tensors[0].digest == tetris.digest(floats(*range(8)))


def test_all_dtypes_arrive(daemon):
    """Every dtype of the table, bit by bit; those that numpy and ml_dtypes lack say so."""
    kinds = [kind for kind in BY_NAME.values() if kind.itemsize]
    body = bytes(range(3 * 16))
    claims = [claim(k.name, k.name, (3,), 3 * k.itemsize) for k in kinds]
    claims.append(pb.TensorClaim(name="text", dtype="string", shape=[2], strings=[b"a", b"\0b"]))
    parts = [body[: 3 * k.itemsize] for k in kinds]
    publish_stream(daemon, [header(*claims), data(b"".join(parts))])
    with Model(Client(daemon.socket).attach(b"f" * 32), lambda _: None) as model:
        for kind, part in zip(kinds, parts, strict=True):
            if hasattr(ml_dtypes, kind.numpy) or kind.numpy in np.sctypeDict:
                assert model[kind.name].tobytes() == part
                assert model[kind.name].dtype.name == kind.numpy
            else:
                with pytest.raises(errors.InvalidModelError, match="newer ml_dtypes"):
                    model[kind.name]
        assert model["text"].tolist() == [b"a", b"\0b"]


def test_a_tensor_over_4_gib_arrives(daemon, tmp_path):
    """Sparse on disk, so that only the store pays for it; both CRC32C and size go past 32 bits."""
    nbytes = (4 << 30) + 4096
    fs = os.statvfs(daemon.root)
    if fs.f_bavail * fs.f_frsize < nbytes + (64 << 20):
        pytest.skip("needs 4 GiB of room on the tmpfs")
    prefix = tmp_path / "models" / "big"
    shard = prefix.with_name("big.data-00000-of-00001")
    with shard.open("wb") as file:
        file.truncate(nbytes)
        file.seek(nbytes - 1)
        file.write(b"\x07")
    with shard.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        crc = crc32c(view)
    entry = bundle_writer.entry((nbytes,), dtype=4, size=nbytes, crc32c=bundle_writer.mask(crc))
    prefix.with_name("big.index").write_bytes(bundle_writer.index(("t", entry)))
    with tetris.attach(prefix, socket=daemon.socket) as model:
        tensor = model["t"]
        assert tensor.nbytes == nbytes
        assert tensor[-1] == 7
        assert tensor[0] == 0


@pytest.mark.parametrize(
    ("messages", "error", "words"),
    [
        ([], errors.InvalidModelError, "header"),
        ([data(b"1234")], errors.InvalidModelError, "header"),
        ([header(claim()), header(claim())], errors.InvalidModelError, "only data"),
        ([header(claim()), data(b"123")], errors.InvalidModelError, "'t'.*3 of 4"),
        ([header(claim()), data(b"12345")], errors.InvalidModelError, "more data"),
        ([header(claim(crc32c=1)), data(b"1234")], errors.CorruptDataError, "'t'"),
        ([header(claim(nbytes=5)), data(b"12345")], errors.InvalidModelError, "do not make"),
        ([header(claim(shape=(-4,), nbytes=-4))], errors.InvalidModelError, "impossible"),
        ([header(claim(shape=(1 << 62,), nbytes=1 << 62))], errors.InvalidModelError, "impossible"),
        ([header(claim(shape=(1 << 50,), nbytes=1 << 50))], errors.NoSpaceError, "free"),
        ([header(claim(dtype="float99"))], errors.InvalidModelError, "unknown dtype"),
        ([header(claim("a\0b"))], errors.InvalidModelError, "NUL"),
        ([header(claim(), claim()), data(b"12341234")], errors.InvalidModelError, "twice"),
        ([header(claim(), fingerprint=b"short"), data(b"1234")], errors.InvalidModelError, "32"),
        ([header(claim(), name="a\nb"), data(b"1234")], errors.InvalidModelError, "model name"),
    ],
)
def test_a_stream_that_lies_is_one_sentence(daemon, messages, error, words):
    before = files_under(daemon.root)
    with pytest.raises(error, match=words) as caught:
        publish_stream(daemon, messages)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert files_under(daemon.root) == before
    assert stats(daemon).models == 0


def test_names_with_slashes_and_dots_are_keys_and_not_paths(daemon):
    before = files_under(daemon.root)
    claims = [claim(n) for n in ("../../escape", "/etc/passwd", ".", "a//b")]
    publish_stream(daemon, [header(*claims), data(b"1234" * 4)])
    new = files_under(daemon.root) - before
    assert all(n.split("/")[0] in ("objects", "tenants", "models") for n in new)
    assert len(new) == 3


def test_concurrent_publishers_of_one_model_cooperate(daemon, tmp_path):
    path = random_model(tmp_path / "models" / "m", tensors=20, kib=1024)
    answers = []

    def publish() -> None:
        answers.append(publish_path(daemon, path))

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(a.published for a in answers) == [False] * 7 + [True]
    assert len({a.manifest.SerializeToString() for a in answers}) == 1
    assert daemon.log.count("published m") == 1


def test_publishers_of_different_models_share_what_is_equal(daemon, tmp_path):
    common = os.urandom(1 << 20)
    paths = [
        write_model(
            tmp_path / "models" / f"m{i}",
            {"base": ((1 << 18,), common), "head": ((16,), os.urandom(64))},
        )
        for i in range(6)
    ]
    threads = [threading.Thread(target=publish_path, args=(daemon, p)) for p in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = stats(daemon)
    assert (found.models, found.segments) == (6, 7)
    assert found.bytes_resident == (1 << 20) + 6 * 64
    assert len(os.listdir(daemon.root / "objects/_shared")) == 7


PUBLISHER = """
import sys, tetris
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb
from tetrisd.service import MAX_PUBLISHES
def messages():
    yield pb.PublishRequest(header=pb.PublishHeader(fingerprint=b"f" * 32, name="m", tensors=[
        pb.TensorClaim(name="t", dtype="uint8", shape=[8], nbytes=8)]))
    yield pb.PublishRequest(data=b"1234")
    print("half", flush=True)
    sys.stdin.readline()
    yield pb.PublishRequest(data=b"5678")
with Rpc(sys.argv[1]).stub() as stub:
    print(stub.Publish(messages()).published)
"""


def wait_until_half_is_there(daemon):
    """gRPC takes messages from a publisher before it sends them."""
    wait_until(
        lambda: any(n.startswith(".") for n in os.listdir(daemon.root / "objects/_shared")),
        what="the first half's arrival",
    )


@pytest.fixture
def half_publisher(daemon):
    child = subprocess.Popen(
        [*PYTHON, "-c", PUBLISHER, str(daemon.socket)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"half\n"
    wait_until_half_is_there(daemon)
    yield child
    child.kill()
    child.communicate()


def test_a_publisher_that_vanishes_leaves_nothing(daemon, half_publisher):
    half_publisher.kill()
    wait_until(lambda: files_under(daemon.root) == set(), what="the clean-up")
    answer = publish_stream(daemon, [header(claim(shape=(8,), nbytes=8)), data(b"12345678")])
    assert answer.published
    assert "Traceback" not in daemon.log


def test_a_leader_that_hangs_is_cut_off_and_a_waiter_goes_on(tmp_path, memory):
    with Daemon(tmp_path, "--idle-seconds=1", root=memory / "root") as daemon:
        child = subprocess.Popen(
            [*PYTHON, "-c", PUBLISHER, str(daemon.socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            assert child.stdout.readline() == b"half\n"
            wait_until_half_is_there(daemon)
            child.send_signal(signal.SIGSTOP)
            answer = publish_stream(
                daemon, [header(claim(shape=(8,), nbytes=8)), data(b"12345678")]
            )
            assert answer.published
            child.send_signal(signal.SIGCONT)
            _, complaint = child.communicate(b"\n", timeout=30)
            assert child.returncode == 1
            assert b"UnavailableError" in complaint or b"ConflictError" in complaint
            assert len(os.listdir(daemon.root / "objects/_shared")) == 1
        finally:
            child.kill()
            child.communicate()


def test_stalled_publishers_starve_nobody(tmp_path, memory):
    """More of them than there are threads, silent before or after their header."""
    flags = [f"--model-root={tmp_path}", "--idle-seconds=3"]
    with Daemon(tmp_path, *flags, root=memory / "root") as daemon:
        go, refused, cut = threading.Event(), [], []

        def stall(number):
            def messages():
                if number % 2:
                    yield header(claim(), fingerprint=number.to_bytes(32, "big"))
                go.wait(60)

            try:
                publish_stream(daemon, messages())
            except errors.ConflictError:
                refused.append(number)
            except errors.UnavailableError:
                cut.append(number)

        threads = [threading.Thread(target=stall, args=(n,)) for n in range(70)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(refused) >= 70 - MAX_PUBLISHES, what="the refusals")
        assert stats(daemon).models == 0
        path = random_model(tmp_path / "m")
        with tetris.attach(path, socket=daemon.socket) as model:  # once the stalled are cut off
            assert len(model) == 3
        wait_until(lambda: len(cut) == MAX_PUBLISHES, what="the cutting off")
        go.set()
        for thread in threads:
            thread.join(60)
        assert len(cut) == MAX_PUBLISHES
        assert len(refused) == 70 - MAX_PUBLISHES
        assert stats(daemon).models == 1


def test_waiters_whose_clients_are_gone_give_their_places_back(daemon, tmp_path):
    """Else a crash loop of clients that wait for one slow publish keeps all others from theirs."""
    path, other = (random_model(tmp_path / "models" / name) for name in ("m", "other"))
    go, waiting = threading.Event(), []

    def slow():
        yield header(claim(), fingerprint=locate(str(path)).fingerprint)
        go.wait(60)

    def lead():
        with pytest.raises(errors.InvalidModelError):
            publish_stream(daemon, slow())

    def wait():
        request = pb.PublishPathRequest(path=str(path))
        with pytest.raises(errors.TetrisError):
            Rpc(daemon.socket).call("PublishPath", request, timeout=1)
        waiting.append(1)

    threads = [threading.Thread(target=lead)]
    threads[0].start()
    try:
        wait_until(lambda: objects(daemon), what="the leader's draft")
        threads += [threading.Thread(target=wait) for _ in range(MAX_PUBLISHES - 1)]
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: len(waiting) == MAX_PUBLISHES - 1, what="the waiters' giving up")
        wait_until(lambda: publishes(daemon, other), what="another model's publish")
    finally:
        go.set()
        for thread in threads:
            thread.join(60)


def objects(daemon):
    return [p for p in (daemon.root / "objects").rglob("*") if p.is_file()]


def publishes(daemon, path):
    try:
        return publish_path(daemon, path).published
    except errors.ConflictError:
        return False


def test_strings_have_a_limit_together(daemon):
    big = bytes(12 << 20)
    claims = [pb.TensorClaim(name=n, dtype="string", shape=[1], strings=[big]) for n in "ab"]
    with pytest.raises(errors.InvalidModelError, match="bytes of strings"):
        publish_stream(daemon, [header(*claims)])


def test_strings_beyond_the_limit_are_left_to_tensorflow(daemon, tmp_path):
    prefix = tmp_path / "models" / "text"
    body, pairs = b"", []
    for name in ("a", "b", "c"):
        data_of, crc = bundle_writer.strings(name.encode() * (7 << 20))
        place = {"offset": len(body), "size": len(data_of), "crc32c": bundle_writer.mask(crc)}
        pairs.append((name, bundle_writer.entry((1,), dtype=bundle_writer.STRING, **place)))
        body += data_of
    prefix.with_name("text.data-00000-of-00001").write_bytes(body)
    prefix.with_name("text.index").write_bytes(bundle_writer.index(*pairs))
    assert [t.name for t in publish_path(daemon, prefix).manifest.tensors] == ["a", "b"]


def test_a_header_with_too_many_tensors_is_refused_cheaply(daemon):
    before = private_bytes(daemon)
    empty = pb.TensorClaim()
    with pytest.raises(errors.InvalidModelError, match="at most 50000"):
        publish_stream(daemon, [header(*[empty] * 1_000_000)])
    assert private_bytes(daemon) < before + (200 << 20)
    assert stats(daemon).models == 0


def private_bytes(daemon):
    rollup = Path(f"/proc/{daemon.process.pid}/smaps_rollup").read_text()
    return int(rollup.partition("Private_Dirty:")[2].split()[0]) * 1024


def test_a_stop_in_mid_publish_leaves_nothing(daemon):
    """The root is given up only when the last thread has undone its work."""
    claims = [claim(f"t{i}") for i in range(200)]
    go = threading.Event()

    def messages():
        yield header(*claims)
        for i in range(150):
            yield data(i.to_bytes(4, "big"))
        go.wait(60)

    def publish():
        with pytest.raises(errors.TetrisError):
            publish_stream(daemon, messages())

    thread = threading.Thread(target=publish)
    thread.start()
    wait_until(lambda: len(os.listdir(daemon.root / "objects/_shared")) >= 150, what="the segments")
    assert daemon.stop() == 0
    go.set()
    thread.join(30)
    assert files_under(daemon.root) == set()
    assert "Traceback" not in daemon.log


def test_a_daemon_killed_in_mid_publish_leaves_nothing_after_its_restart(daemon, half_publisher):
    daemon.kill()
    daemon.start()
    assert files_under(daemon.root) == set()
    assert stats(daemon).segments == 0


def test_what_a_publish_relies_on_cannot_be_removed_before_its_manifest(daemon):
    """An equal resident segment is held by the publisher until the manifest is committed."""
    publish_stream(daemon, [header(claim(), fingerprint=b"g" * 32, name="g"), data(b"same")])
    name = tetris.digest(b"same").hex()
    fd = os.open(daemon.root / "objects/_shared", os.O_RDONLY)
    messages = [
        header(claim("a"), claim("b"), fingerprint=b"h" * 32, name="h"),
        data(b"same"),
    ]
    held, finish = threading.Event(), threading.Event()

    def slow():
        yield from messages
        held.set()
        finish.wait(30)
        yield data(b"rest")

    thread = threading.Thread(target=publish_stream, args=(daemon, slow()))
    thread.start()
    held.wait(30)
    wait_until(lambda: is_referenced(fd, name), what="the publisher's hold")
    with pytest.raises(errors.ConflictError), claimed(fd, name):
        pytest.fail("it was removable")
    finish.set()
    thread.join(30)
    os.close(fd)
    assert stats(daemon).models == 2


@pytest.mark.parametrize("how", ["path", "stream"])
def test_a_full_tmpfs_is_one_sentence_and_leaves_nothing(tmp_path, how):
    with tmpfs("size=4m") as small:
        if not can_mount():
            pytest.skip("needs leave to mount a small tmpfs")
        flags = [f"--model-root={tmp_path}"] if how == "path" else []
        with Daemon(tmp_path, *flags, root=small / "root") as daemon:
            fits = random_model(tmp_path / "fits", tensors=2, kib=512)
            tetris.publish(fits, socket=daemon.socket)
            before = files_under(daemon.root)
            big = random_model(tmp_path / "big", tensors=8, kib=1024)
            with pytest.raises(errors.NoSpaceError, match=r"big needs \d+ bytes"):
                tetris.publish(big, socket=daemon.socket)
            assert files_under(daemon.root) == before
            with tetris.attach(fits, socket=daemon.socket) as model:
                assert len(model["t0"]) == 512 * 256


def test_a_tmpfs_that_fills_in_mid_publish_leaves_nothing(tmp_path):
    with tmpfs("size=4m") as small:
        if not can_mount():
            pytest.skip("needs leave to mount a small tmpfs")
        with Daemon(tmp_path, root=small / "root") as daemon:
            before = files_under(daemon.root)
            claims = [claim(f"t{i}", shape=(1 << 20,), nbytes=1 << 20) for i in range(3)]

            def messages():
                yield header(*claims)
                yield data(os.urandom(1 << 20))
                # gRPC takes messages before it sends them: the daemon has to be past admission.
                wait_until(
                    lambda: len(list((small / "root/objects/_shared").iterdir())) > 0,
                    what="a start",
                )
                with pytest.raises(OSError, match="No space left"):
                    (small / "somebody else's").write_bytes(bytes(4 << 20))
                for _ in range(2):
                    yield data(os.urandom(1 << 20))

            with pytest.raises(errors.NoSpaceError, match="full"):
                publish_stream(daemon, messages())
            assert files_under(daemon.root) == before
            assert stats(daemon).segments == 0


def break_index(path):
    index = path / "variables" / "variables.index"
    index.write_bytes(index.read_bytes()[:-20])


def flip_index(path):
    index = path / "variables" / "variables.index"
    body = bytearray(index.read_bytes())
    body[5] ^= 64
    index.write_bytes(body)


def cut_data(path):
    os.truncate(data_file(path), 1000)


def lose_shard(path):
    data_file(path).unlink()


def flip_data(path):
    body = bytearray(data_file(path).read_bytes())
    body[70_000] ^= 1
    data_file(path).write_bytes(body)


def swap_data_for_pipe(path):
    data_file(path).unlink()
    os.mkfifo(data_file(path))


def swap_data_for_directory(path):
    data_file(path).unlink()
    data_file(path).mkdir()


@pytest.mark.parametrize("place", ["models", "elsewhere"])
@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (break_index, errors.InvalidModelError, "index"),
        (flip_index, errors.InvalidModelError, "index"),
        (cut_data, errors.InvalidModelError, "t2"),
        (lose_shard, errors.NotFoundError, "data-00000-of-00001"),
        (flip_data, errors.CorruptDataError, "t1"),
        (swap_data_for_pipe, errors.InvalidModelError, "regular file"),
        (swap_data_for_directory, errors.InvalidModelError, "regular file"),
    ],
)
def test_damaged_files_are_one_sentence(daemon, tmp_path, place, damage, error, words):
    """Whether the daemon reads them or is sent them."""
    path = random_model(tmp_path / place / "m")
    damage(path)
    for _ in range(2):
        with pytest.raises(error, match=words) as caught:
            tetris.publish(path, socket=daemon.socket)
        assert "\n" not in str(caught.value)
        wait_until(lambda: files_under(daemon.root) == set(), what="the clean-up")
    assert "Traceback" not in daemon.log


def test_a_model_that_changes_after_its_fingerprint_was_taken_is_refused(daemon, tmp_path):
    path = random_model(tmp_path / "elsewhere" / "m")
    files = locate(str(path))
    random_model(path)
    with pytest.raises(errors.CorruptDataError, match="t0"):
        Client(daemon.socket).publish(files)
    assert files_under(daemon.root) == set()


def test_a_model_that_changed_under_an_allowed_path_is_not_taken_for_the_old_one(daemon, tmp_path):
    path = random_model(tmp_path / "models" / "m")
    files = locate(str(path))
    random_model(path)
    with pytest.raises(errors.CorruptDataError):
        Client(daemon.socket).publish(files)
    with pytest.raises(errors.NotFoundError):
        Client(daemon.socket).attach(files.fingerprint)


def test_a_symlink_out_of_the_allowed_root_is_not_followed(daemon, tmp_path):
    outside = random_model(tmp_path / "elsewhere" / "m")
    (tmp_path / "models" / "link").symlink_to(outside)
    with pytest.raises(errors.NotAllowedError, match="leads out"):
        publish_path(daemon, tmp_path / "models" / "link")
    inside = random_model(tmp_path / "models" / "real")
    data_file(inside).unlink()
    data_file(inside).symlink_to(data_file(outside))
    with pytest.raises(errors.NotAllowedError):
        publish_path(daemon, inside)
    assert files_under(daemon.root) == set()


def test_a_symlink_that_stays_inside_is_followed(daemon, tmp_path):
    random_model(tmp_path / "models" / "real")
    (tmp_path / "models" / "link").symlink_to("real")
    assert publish_path(daemon, tmp_path / "models" / "link").published


@pytest.mark.parametrize("path", ["/etc", "/", "", "relative", "{models}/../elsewhere", "/x\0y"])
def test_paths_outside_the_allowed_roots_are_refused(daemon, tmp_path, path):
    with pytest.raises((errors.NotAllowedError, errors.InvalidModelError)) as caught:
        publish_path(daemon, path.format(models=tmp_path / "models"))
    assert "\n" not in str(caught.value)


def test_an_unreadable_model_is_one_sentence(tmp_path, memory):
    """The client runs as nobody, for whom modes count; so does the daemon in test_daemon."""
    if os.geteuid() != 0:
        pytest.skip("needs leave to become another user")
    path = random_model(tmp_path / "models" / "m")
    os.chmod(path / "variables", 0o700)
    code = """
import os, sys
import tetris.client, tetris.formats.model, tetris.upload
os.setgid(65534); os.setuid(65534)
try:
    tetris.publish(sys.argv[1], socket=sys.argv[2])
except tetris.errors.NotAllowedError as refused:
    print(refused)
"""
    with Daemon(tmp_path, "--socket-mode=666", root=memory / "root") as daemon:
        let_through(path, tmp_path / "run")
        path.chmod(0o755)
        (tmp_path / "run").chmod(0o755)
        seen = run_python(code, str(path), str(daemon.socket))
    assert "permission denied" in seen.stdout.lower(), seen.stderr


def test_a_daemon_that_dies_under_a_publisher_is_one_sentence(daemon, half_publisher):
    daemon.kill()
    half_publisher.wait(60)
    assert half_publisher.returncode == 1


def test_garbage_on_the_socket_hurts_nobody(daemon, tmp_path):
    for body in (b"", b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", os.urandom(10_000)):
        with socket_module.socket(socket_module.AF_UNIX) as raw:
            raw.connect(str(daemon.socket))
            raw.sendall(body)
    assert publish_path(daemon, random_model(tmp_path / "models" / "m")).published
