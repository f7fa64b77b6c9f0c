"""Settings read again under way: all of what can change, or nothing."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress

import grpc
import pytest

import tetris
from support.daemon import files_under, wait_until
from support.models import random_model
from support.reloading import names, tenant
from support.watching import watching
from tetris.errors import (
    ConflictError,
    InvalidModelError,
    NoSpaceError,
    NotAllowedError,
    NotFoundError,
    TetrisError,
)
from tetris.rpc import AdminRpc, Rpc
from tetris.v1 import admin_pb2
from tetris.v1 import tetris_pb2 as pb

# What each setting does once it is another. Called with the daemon, red's socket and a model.


def quota(daemon, socket, model):
    with pytest.raises(NoSpaceError, match="the quota of red"):
        tetris.publish(model, socket=socket)


def keep_alive(daemon, socket, model):
    tetris.publish(model, socket=socket)
    rpc = Rpc(socket)
    assert rpc.collect("ListModels", pb.ListModelsRequest(), lambda m: m.keep_alive_seconds) == [7]


def capacity(daemon, socket, model):
    assert daemon.admin("GetHostStats", admin_pb2.GetHostStatsRequest()).bytes_limit == 4096


def no_headroom(daemon, socket, model):
    with pytest.raises(NoSpaceError):
        tetris.publish(model, socket=socket)


def scrub(daemon, socket, model):
    with watching(AdminRpc(daemon.admin_socket), "WatchHost") as host:
        host.wait_for(pb.Event.SCRUB_ENDED, 2)


def log_level(daemon, socket, model):
    tetris.attach(model, socket=socket).release()
    assert f"pid {os.getpid()} attached m of red" in daemon.log


def model_root(daemon, socket, model):
    Rpc(socket).call("PublishPath", pb.PublishPathRequest(path=str(model)))


def max_leases(daemon, socket, model):
    with pytest.raises(NoSpaceError, match="1 leases"), tetris.attach(model, socket=socket):
        tetris.attach(model, socket=socket)


def idle_seconds(daemon, socket, model):
    header = pb.PublishHeader(
        fingerprint=bytes(32),
        name="half",
        tensors=[pb.TensorClaim(name="a", dtype="uint8", shape=[9], nbytes=9)],
    )
    ends = threading.Event()

    def messages():
        yield pb.PublishRequest(header=header)
        ends.wait(60)

    with Rpc(socket).stub() as stub:
        call = stub.Publish.future(messages())
        assert call.code() == grpc.StatusCode.CANCELLED  # waits
        ends.set()


HOST, TENANT = "host", "tenant"
CASES = [
    (TENANT, "quota", '"4KiB"', "0 -> 4096", quota),
    (HOST, "keep_alive", "7", "600.0 -> 7.0", keep_alive),
    (HOST, "capacity", '"4KiB"', "0 -> 4096", capacity),
    (HOST, "headroom", '"100TiB"', "268435456 -> 109951162777600", no_headroom),
    (HOST, "scrub_every", "0.1", "21600.0 -> 0.1", scrub),
    (HOST, "log_level", '"DEBUG"', "INFO -> DEBUG", log_level),
    (TENANT, "model_root", '["{models}"]', "none -> {models}", model_root),
    (TENANT, "max_leases", "1", "10000 -> 1", max_leases),
    (HOST, "idle_seconds", "0.3", "30.0 -> 0.3", idle_seconds),
]


@pytest.mark.parametrize(("where", "name", "value", "said", "takes_effect"), CASES)
def test_a_setting_takes_effect_at_once(
    start, tmp_path, red, where, name, value, said, takes_effect
):
    model = random_model(tmp_path / "models" / "m", tensors=2)
    line = f"{name} = {value.format(models=tmp_path / 'models')}"
    daemon = start(tenant(tmp_path, "red"))
    if where == HOST:
        answer = daemon.reload(line + "\n" + tenant(tmp_path, "red"))
    else:
        answer = daemon.reload(tenant(tmp_path, "red", line))
    of = "" if where == HOST else "tenant red, "
    shown = f"{of}{name.replace('_', '-')}: {said.format(models=tmp_path / 'models')}"
    assert (list(answer.changed), list(answer.needs_restart)) == ([shown], [])
    takes_effect(daemon, red, model)


def test_the_scrub_stops_and_begins_again(start, tmp_path):
    text = 'scrub_every = "1s"\n{}\n' + tenant(tmp_path, "red")
    daemon = start(text.format(""))
    with watching(AdminRpc(daemon.admin_socket), "WatchHost") as host:
        host.wait_for(pb.Event.SCRUB_ENDED)
        assert list(daemon.reload(text.format("scrub_rate = 0")).changed) == [
            "scrub-rate: 33554432 -> 0"
        ]
        reloaded = host.kinds().count(pb.Event.SCRUB_ENDED)
        with pytest.raises(AssertionError, match="did not happen"):
            wait_until(lambda: host.kinds().count(pb.Event.SCRUB_ENDED) > reloaded + 1, 2.5)
        daemon.reload(text.format(""))
        host.wait_for(pb.Event.SCRUB_ENDED, reloaded + 2)


def test_a_signal_does_the_same_as_the_call(start, tmp_path, red):
    daemon = start(tenant(tmp_path, "red"))
    said = daemon.hang_up(tenant(tmp_path, "red", 'quota = "4KiB"'))
    assert said.endswith("settings read again: tenant red, quota: 0 -> 4096")
    assert daemon.hang_up(daemon.file.read_text()).endswith("read again: nothing is different")
    quota(daemon, red, random_model(tmp_path / "m"))


def test_a_quota_that_was_set_by_hand_ends_with_a_reload(start, tmp_path):
    """The file is what counts from then on."""
    daemon = start(tenant(tmp_path, "red", "quota = 5"))
    daemon.admin("SetQuota", admin_pb2.SetQuotaRequest(tenant="red", bytes=7))
    said = daemon.reload(daemon.file.read_text())
    assert list(said.changed) == ["tenant red, quota: 7 -> 5"]
    rpc = AdminRpc(daemon.admin_socket)
    assert rpc.collect("ListTenants", admin_pb2.ListTenantsRequest(), lambda t: t.bytes_quota) == [
        5
    ]


def test_what_only_a_start_can_change_is_said_and_stays(start, tmp_path, red):
    daemon = start(tenant(tmp_path, "red"))
    text = (
        f'root = "{tmp_path}/elsewhere"\nmetrics = "127.0.0.1:9464"\nlog_format = "json"\n'
        + tenant(
            tmp_path,
            "red",
            'socket_mode = "600"',
            'group = "0"',
            'sharing = "tenant"',
            socket=tmp_path / "elsewhere" / "s",
        )
    )
    answer = daemon.reload(text)
    assert list(answer.changed) == []
    # Root and admin socket are given as flags, which win over the file.
    assert list(answer.needs_restart) == [
        "metrics:  -> 127.0.0.1:9464",
        "log-format: auto -> json",
        f"tenant red, socket: {red} -> {tmp_path}/elsewhere/s",
        "tenant red, socket-mode: 660 -> 600",
        "tenant red, group:  -> 0",
        "tenant red, sharing: host -> tenant",
    ]
    tetris.publish(random_model(tmp_path / "m"), socket=red)
    assert not (tmp_path / "elsewhere").exists()


BROKEN = [
    ("a = = b", InvalidModelError, "settings .*tetrisd.toml"),
    ("keep_alive = 'soon'", InvalidModelError, "keep-alive: 'soon' is no"),
    ("[tenants.red]", InvalidModelError, "tenant red: it needs a socket"),
    (b"\xff\xfe", InvalidModelError, "settings"),
    (None, NotFoundError, "No such file"),
    ("{red}[tenants.blue]\nsocket = '{tmp}/red/t'", InvalidModelError, "two sockets are in"),
    ("{red}{green}[tenants.blue]\nsocket = '{tmp}/no/such/s'", NotFoundError, "No such file"),
    ("{red}{green}[tenants.blue]\nsocket = '{tmp}/open/s'", NotAllowedError, "may not write"),
    (
        '{red}{green}[tenants.blue]\nsocket = "{tmp}/a\\u0000b/s"',
        InvalidModelError,
        "is no unix socket",
    ),
    (
        "{red}{green}[tenants.blue]\nsocket = '{tmp}/b/s'\ngroup = 'no-such-group'",
        NotFoundError,
        "group 'no-such-group' does not exist",
    ),
    (
        "[tenants.blue]\nsocket = '{tmp}/red/s'",
        ConflictError,
        "tenant red is in .* needs a restart",
    ),
    ("[tenants.blue]\nsocket = '{tmp}/d/admin/s'", InvalidModelError, "two sockets are in"),
]


@pytest.mark.parametrize(("text", "error", "sentence"), BROKEN)
def test_a_file_that_is_wrong_changes_nothing_and_is_one_sentence(
    start, tmp_path, red, text, error, sentence
):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    daemon = start(tenant(tmp_path, "red", "quota = '1MiB'"))
    tetris.publish(random_model(tmp_path / "m"), socket=red)
    daemon.admin("SetQuota", admin_pb2.SetQuotaRequest(tenant="red", bytes=123_456))
    before = state(daemon, tmp_path)
    if text is None:
        daemon.file.unlink()
    elif isinstance(text, bytes):
        daemon.file.write_bytes(text)
    else:
        daemon.write(
            "keep_alive = 5\n" * ("{red}" in text)
            + text.format(
                red=tenant(tmp_path, "red"), green=tenant(tmp_path, "green"), tmp=tmp_path
            )
        )
    with pytest.raises(error, match=sentence) as refused:
        daemon.admin("Reload", admin_pb2.ReloadRequest())
    assert "\n" not in str(refused.value)
    assert "Traceback" not in daemon.log
    wait_until(lambda: state(daemon, tmp_path) == before, what="what was before")
    assert daemon.log.count("ERROR") == daemon.log.count("the settings are not read again: ") == 1


def state(daemon, directory):
    """All that a reload could change."""
    rpc = AdminRpc(daemon.admin_socket)
    tenants = rpc.collect("ListTenants", admin_pb2.ListTenantsRequest(), str)
    models = rpc.collect("ListTenantModels", admin_pb2.ListTenantModelsRequest(), model_of)
    sockets = {str(p) for p in directory.glob("*/s")}
    return tenants, models, sockets, files_under(daemon.root), os.listdir(daemon.root / "tenants")


def model_of(row):
    return row.tenant, row.model.name, row.model.keep_alive_seconds


def test_a_signal_with_a_broken_file_ends_nothing(start, tmp_path, red):
    daemon = start(tenant(tmp_path, "red"))
    assert daemon.hang_up("a = = b").split("not read again: ")[1].startswith("settings ")
    tetris.publish(random_model(tmp_path / "m"), socket=red)


def test_many_reloads_at_once_are_one_after_the_other(start, tmp_path):
    daemon = start(tenant(tmp_path, "red"))
    every = [f"t{number}" for number in range(6)]
    failures = []

    def again(number):
        chosen = every[number % 3 :: 2]
        try:
            daemon.file.with_suffix(f".{number}").write_text(
                tenant(tmp_path, "red") + "".join(tenant(tmp_path, name) for name in chosen)
            )
            for _ in range(4):
                os.replace(_copy(daemon.file.with_suffix(f".{number}")), daemon.file)
                daemon.process.send_signal(signal.SIGHUP)
                daemon.admin("Reload", admin_pb2.ReloadRequest())
        except Exception as failed:
            failures.append(failed)

    threads = [threading.Thread(target=again, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    daemon.reload(tenant(tmp_path, "red") + tenant(tmp_path, "t1"))
    wait_until(lambda: sorted(names(daemon)) == ["red", "t1"], what="the end of the others")
    assert {str(p) for p in tmp_path.glob("*/s")} == {f"{tmp_path}/red/s", f"{tmp_path}/t1/s"}
    assert "Traceback" not in daemon.log
    assert daemon.stop() == 0


def _copy(file):
    copy = file.with_name(f"{file.name}.{threading.get_ident()}")
    copy.write_bytes(file.read_bytes())
    return copy


def test_under_load_no_call_is_lost(start, tmp_path, red):
    text = "keep_alive = {}\n" + tenant(tmp_path, "red", "quota = {}") + "{}"
    daemon = start(text.format(600, 0, ""))
    path = random_model(tmp_path / "m")
    tetris.publish(path, socket=red)
    done, failures, ends = [0] * 3, [], threading.Event()

    def work(number):
        while not ends.is_set():
            try:
                with tetris.attach(path, socket=red) as model:
                    assert model["t0"].nbytes == 65536
                done[number] += 1
            except Exception as failed:
                failures.append(failed)
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        blue = tenant(tmp_path, "blue") if number % 2 else ""
        daemon.reload(text.format(600 + number, 1 << 30, blue))
    before = list(done)
    wait_until(lambda: all(a > b for a, b in zip(done, before, strict=True)) or failures)
    ends.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_reload_that_meets_the_stop_leaves_nothing_behind(start, tmp_path):
    """A server that began after the others ended would keep the process for ever."""
    daemon = start(tenant(tmp_path, "red"))
    daemon.write(tenant(tmp_path, "red") + tenant(tmp_path, "blue"))

    def reload():
        with suppress(TetrisError):
            daemon.admin("Reload", admin_pb2.ReloadRequest())

    threads = [threading.Thread(target=reload) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert daemon.stop() == 0
    for thread in threads:
        thread.join()
    assert list(tmp_path.glob("*/s")) == []
