"""Attach: one call, read-only arrays over the segments, a lease that the kernel keeps."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tetris
from support.daemon import die_with_parent, run_python, wait_until
from support.models import data_file, floats, random_model, write_model
from tetris import errors
from tetris.client import Client
from tetris.formats.model import locate
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb


@pytest.fixture
def model_path(tmp_path, daemon):
    return write_model(
        tmp_path / "models" / "m" / "1",
        {
            "layer/kernel": ((2, 3), floats(0, 1, 2, 3, 4, 5)),
            "layer/bias": ((), floats(7)),
            "layer/none": ((0, 5), b""),
        },
    )


@pytest.fixture
def attached(daemon, model_path):
    with tetris.attach(model_path, socket=daemon.socket) as model:
        yield model


def leases(daemon):
    return Rpc(daemon.socket).collect("ListLeases", pb.ListLeasesRequest(), lambda x: x)


def referenced(daemon):
    rows = Rpc(daemon.socket).collect("ListSegments", pb.ListSegmentsRequest(), lambda x: x)
    return sum(row.referenced for row in rows)


def test_arrays_are_read_only_aligned_and_right(attached):
    kernel = attached["layer/kernel"]
    assert kernel.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert kernel.ctypes.data % 64 == 0
    assert not kernel.flags.writeable
    assert attached["layer/bias"].shape == ()
    assert attached["layer/bias"] == 7
    assert attached["layer/none"].shape == (0, 5)
    assert np.from_dlpack(attached["layer/none"]).shape == (0, 5)
    assert set(attached) == {"layer/kernel", "layer/bias", "layer/none"}
    assert attached.manifest.name == "m/1"


def test_an_unknown_tensor_is_named(attached):
    with pytest.raises(KeyError):
        attached["nope"]
    with pytest.raises(errors.NotFoundError, match="'nope'"):
        attached.tensor("nope")


def test_a_writable_array_is_private(attached, daemon, model_path):
    mine = attached.tensor("layer/kernel", writable=True)
    mine[:] = -1
    assert attached["layer/kernel"].sum() == 15
    seen = run_python(
        "import sys, tetris; m = tetris.attach(sys.argv[1]); print(m['layer/kernel'].sum())",
        str(model_path),
        TETRIS_SOCKET=str(daemon.socket),
    )
    assert seen.stdout.strip() == "15.0", seen.stderr
    assert np.from_dlpack(mine).sum() == -6
    assert np.from_dlpack(attached["layer/kernel"]).sum() == 15


def test_a_write_through_a_read_only_array_faults(attached):
    """Even one that goes around numpy: the pages themselves are read-only."""
    address = attached["layer/kernel"].ctypes.data
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        ctypes.memset(address, 1, 4)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGSEGV


def test_arrays_outlive_the_release(daemon, model_path):
    with tetris.attach(model_path, socket=daemon.socket) as model:
        kernel = model["layer/kernel"]
    assert leases(daemon) == []
    assert referenced(daemon) == 1
    assert kernel.sum() == 15
    with pytest.raises(errors.NotFoundError, match="released"):
        model["layer/kernel"]
    del kernel, model
    gc.collect()
    assert referenced(daemon) == 0


def test_a_lease_says_who(attached, daemon):
    (lease,) = leases(daemon)
    assert lease.holder.pid == os.getpid()
    assert lease.model == "m/1"
    assert not lease.pending


def test_the_lease_of_a_killed_client_ends(daemon, model_path):
    child = os.fork()
    if child == 0:
        die_with_parent()
        model = tetris.attach(model_path, socket=daemon.socket)
        model["layer/kernel"]
        signal.pause()
    wait_until(lambda: referenced(daemon) == 1, what="the child's attach")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert referenced(daemon) == 0
    assert leases(daemon) == []


def test_a_fork_shares_the_lease_and_takes_its_own_when_it_attaches(daemon, model_path):
    model = tetris.attach(model_path, socket=daemon.socket)
    kernel = model["layer/kernel"]
    ready, go = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(ready[1], b"1")
            os.read(go[0], 1)
            assert kernel.sum() == 15
            with tetris.attach(model_path, socket=daemon.socket) as own:
                assert own["layer/kernel"].sum() == 15
                os.write(ready[1], b"2")
                os.read(go[0], 1)
            status = 0
        finally:
            os._exit(status)
    os.read(ready[0], 1)
    model.release()
    del model, kernel
    gc.collect()
    assert len(leases(daemon)) == 1, "the child still holds its parent's lease"
    assert referenced(daemon) == 1
    os.write(go[1], b"x")
    os.read(ready[0], 1)
    assert len(leases(daemon)) == 2
    os.write(go[1], b"x")
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert leases(daemon) == []
    assert referenced(daemon) == 0


def test_many_threads_may_use_one_model(attached):
    wrong: list[object] = []

    def use() -> None:
        for _ in range(200):
            if attached["layer/kernel"].sum() != 15:
                wrong.append(1)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_threads_may_attach_at_once(daemon, model_path):
    failures: list[BaseException] = []

    def use() -> None:
        try:
            with tetris.attach(model_path, socket=daemon.socket) as model:
                assert model["layer/kernel"].sum() == 15
        except BaseException as failed:
            failures.append(failed)

    threads = [threading.Thread(target=use) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert leases(daemon) == []


def exit_code(child):
    """Of a forked child; one that hangs is killed."""
    found = []

    def ended():
        pid, status = os.waitpid(child, os.WNOHANG)
        found.append(status)
        return pid == child

    try:
        wait_until(ended, what="the child's end")
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    return os.waitstatus_to_exitcode(found[-1])


FORK_AFTER_A_CALL = """
import os, sys, time
import grpc

def threads():
    return [int(task) for task in os.listdir("/proc/self/task") if int(task) != os.getpid()]

# Hooks run in the reverse order: this one after that of tetris, before that of gRPC.
os.register_at_fork(before=lambda: print(len(threads())))
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

# What idles gets nothing of a processor that is busy for a while.
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for _ in range(3):
    os.posix_spawn(sys.executable, [sys.executable, "-c", SPIN], {})
time.sleep(0.3)
with Rpc(sys.argv[1]).stub() as stub:
    stub.GetStats(pb.GetStatsRequest())
    for thread in threads():
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
child = os.fork()
if not child:
    os._exit(0)
os.waitpid(child, 0)
"""
SPIN = "import time; end = time.monotonic() + 2\nwhile time.monotonic() < end: pass"


def test_a_fork_right_after_a_call_waits_for_the_threads_of_grpc(daemon):
    """However long they take to end; a tenth of a second is not enough on a busy host."""
    found = run_python(f"SPIN = {SPIN!r}\n{FORK_AFTER_A_CALL}", str(daemon.socket))
    assert found.stdout.split() == ["0"], found.stderr


def test_a_fork_while_other_threads_attach_and_map_is_safe(daemon, model_path):
    """The child may use the model it inherits, and attach its own."""
    model = tetris.attach(model_path, socket=daemon.socket)
    stop = threading.Event()

    def attach() -> None:
        while not stop.is_set():
            with tetris.attach(model_path, socket=daemon.socket) as other:
                assert other["layer/kernel"].sum() == 15

    def map_all() -> None:
        while not stop.is_set():
            model.tensor("layer/kernel", writable=True)

    threads = [threading.Thread(target=work) for work in (attach, attach, map_all)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert model["layer/kernel"].sum() == 15
                with tetris.attach(model_path, socket=daemon.socket) as own:
                    assert own["layer/kernel"].sum() == 15
                status = 0
            finally:
                os._exit(status)
        codes.append(exit_code(child))
    stop.set()
    for thread in threads:
        thread.join()
    model.release()
    assert codes == [0] * 20


def test_an_attach_is_one_call_whatever_the_number_of_tensors(daemon, tmp_path, monkeypatch):
    path = random_model(tmp_path / "models" / "many", tensors=500, kib=1)
    tetris.publish(path, socket=daemon.socket)
    calls = []
    call = Rpc.call

    def counted(self, method, *arguments, **options):
        calls.append(method)
        return call(self, method, *arguments, **options)

    monkeypatch.setattr(Rpc, "call", counted)
    with tetris.attach(path, socket=daemon.socket) as model:
        assert len(list(model.values())) == 500
        assert calls == ["Attach"]
    assert calls == ["Attach", "Release"]


def test_a_lease_that_ended_before_it_was_taken_is_asked_for_again(daemon, model_path, monkeypatch):
    """As when this process was stopped for longer than a lease waits."""
    tetris.publish(model_path, socket=daemon.socket)
    call, gone = Rpc.call, []

    def losing(self, method, *arguments, **options):
        answer = call(self, method, *arguments, **options)
        if method == "Attach" and not gone:
            gone.append(answer.lease)
            call(self, "Release", pb.ReleaseRequest(lease=answer.lease))
        return answer

    monkeypatch.setattr(Rpc, "call", losing)
    with tetris.attach(model_path, socket=daemon.socket) as model:
        assert model["layer/kernel"].sum() == 15
    assert len(gone) == 1


def test_a_view_of_another_daemon_is_one_sentence(daemon, model_path, monkeypatch, tmp_path):
    """And closes nothing twice: the descriptor it had may be somebody else's by then."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.setenv("TETRIS_VIEW", str(empty))
    for _ in range(5):
        with pytest.raises(errors.NotAllowedError, match="TETRIS_VIEW"):
            tetris.attach(model_path, socket=daemon.socket)
    gc.collect()


def test_looks_at_the_leases_never_take_one_that_is_being_made(daemon, model_path):
    tetris.publish(model_path, socket=daemon.socket)
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            leases(daemon)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in lookers:
        thread.start()
    try:
        for _ in range(150):
            tetris.attach(model_path, socket=daemon.socket).release()
    finally:
        stop.set()
        for thread in lookers:
            thread.join()


def test_a_model_is_itself_and_knows_its_names_without_mapping(daemon, attached):
    assert attached == attached
    assert attached in {attached}
    assert "layer/kernel" in attached
    assert "nope" not in attached
    assert referenced(daemon) == 0


def test_no_thread_is_left_behind(daemon, model_path):
    code = (
        "import sys, os, threading, tetris\n"
        "m = tetris.attach(sys.argv[1]); m['layer/kernel']; m.release()\n"
        "import time; time.sleep(1)\n"
        "print([t for t in threading.enumerate() if t is not threading.main_thread()],"
        " len(os.listdir('/proc/self/task')))"
    )
    seen = run_python(code, str(model_path), TETRIS_SOCKET=str(daemon.socket))
    assert seen.stdout.startswith("[] "), seen.stdout + seen.stderr


def test_clients_never_notice_a_daemon_that_dies_and_comes_back(daemon, model_path):
    model = tetris.attach(model_path, socket=daemon.socket)
    kernel = model["layer/kernel"]
    daemon.kill()
    assert kernel.sum() == 15
    assert model["layer/bias"] == 7, "a tensor that was not mapped before"
    daemon.start()
    (lease,) = leases(daemon)
    assert lease.holder.pid == os.getpid()
    with tetris.attach(model_path, socket=daemon.socket) as again:
        assert again["layer/kernel"].sum() == 15
    model.release()
    assert leases(daemon) == []


def test_an_overwritten_checkpoint_is_another_model(daemon, model_path):
    """The index is fingerprinted at every attach, so old weights cannot come back by path."""
    with tetris.attach(model_path, socket=daemon.socket) as model:
        old = model["layer/kernel"]
        write_model(model_path, {"layer/kernel": ((2, 3), floats(9, 9, 9, 9, 9, 9))})
        with tetris.attach(model_path, socket=daemon.socket) as new:
            assert new["layer/kernel"].sum() == 54
        assert old.sum() == 15


def test_a_daemon_that_is_not_there_is_one_sentence(tmp_path, model_path):
    with pytest.raises(errors.UnavailableError, match=r"no daemon at .*/nowhere"):
        tetris.attach(model_path, socket=tmp_path / "nowhere")


def test_a_stale_socket_is_one_sentence_and_soon(daemon, model_path):
    daemon.kill()
    started = time.monotonic()
    with pytest.raises(errors.UnavailableError, match="does not answer"):
        tetris.attach(model_path, socket=daemon.socket)
    assert time.monotonic() - started < 30, "it must not wait for its deadline of 60 s"
    daemon.start()
    tetris.attach(model_path, socket=daemon.socket).release()


def test_a_view_that_is_not_mounted_is_one_sentence(daemon, model_path, monkeypatch, tmp_path):
    monkeypatch.setenv("TETRIS_VIEW", str(tmp_path / "unmounted"))
    tetris.publish(model_path, socket=daemon.socket)
    with pytest.raises(errors.NotAllowedError, match="TETRIS_VIEW"):
        tetris.attach(model_path, socket=daemon.socket)


def test_the_view_may_be_mounted_elsewhere(daemon, model_path, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(daemon.root / "tenants" / "default")
    monkeypatch.setenv("TETRIS_VIEW", str(elsewhere))
    with tetris.attach(model_path, socket=daemon.socket) as model:
        assert model["layer/kernel"].sum() == 15


def test_a_segment_of_another_size_is_not_mapped(daemon, tmp_path):
    path = random_model(tmp_path / "models" / "r", tensors=1)
    with tetris.attach(path, socket=daemon.socket) as model:
        segment = daemon.root / "objects/_shared" / model.manifest.tensors[0].segment
        os.truncate(segment, 100)
        with pytest.raises(errors.InvalidModelError, match="expected size"):
            model["t0"]


def test_damaged_data_is_never_served(daemon, tmp_path):
    path = random_model(tmp_path / "models" / "r")
    body = bytearray(data_file(path).read_bytes())
    body[100_000] ^= 1
    data_file(path).write_bytes(body)
    for _ in range(2):  # the second try must not find what the first one left
        with pytest.raises(errors.CorruptDataError, match="'t1'"):
            tetris.attach(path, socket=daemon.socket)


def test_an_attach_waits_for_a_daemon_that_is_being_restarted(daemon, model_path, monkeypatch):
    """Restarted within a second: who attaches meanwhile is served, and nothing is loaded twice."""
    monkeypatch.setattr("tetris.client._RESTART", 60)  # a start may take long here
    tetris.publish(model_path, socket=daemon.socket)
    daemon.kill()
    with ThreadPoolExecutor(1) as others:
        attaching = others.submit(tetris.attach, model_path, socket=daemon.socket)
        time.sleep(0.3)
        daemon.start()  # not in a thread: what a thread starts ends with it
        with attaching.result() as model:
            assert len(model) > 0


def test_one_that_stays_away_is_waited_for_once(daemon, model_path, monkeypatch):
    """Whoever asks: `tetris.attach` makes a client for each call."""
    daemon.kill()
    fingerprint = locate(str(model_path)).fingerprint
    calls = []
    call = Rpc.call
    monkeypatch.setattr(Rpc, "call", lambda *args: calls.append(args) or call(*args))
    with pytest.raises(errors.UnavailableError):
        Client(daemon.socket).attach(fingerprint)
    tries = len(calls)
    with pytest.raises(errors.UnavailableError):
        Client(daemon.socket).attach(fingerprint)
    assert tries > 1
    assert len(calls) == tries + 1
