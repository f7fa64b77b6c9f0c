"""What Prometheus scrapes: right, bounded, and no way to hold the daemon up."""

from __future__ import annotations

import platform
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

import tetris
from support.daemon import PYTHON, Daemon, wait_until
from support.models import data_file, random_model
from support.scraping import Scraped, free_port
from tetris.client import Client
from tetris.errors import CorruptDataError, NoSpaceError, TetrisError
from tetris.rpc import AdminRpc
from tetris.v1 import admin_pb2

EVICT = "Evict"
LABELS = {"tenant", "result", "reason", "how", "version", "python"}


@pytest.fixture
def sockets(tmp_path):
    return {name: tmp_path / name / "tetrisd.sock" for name in ("red", "blue")}


@pytest.fixture
def where(tmp_path):
    return str(tmp_path / "metrics" / "s")


@pytest.fixture
def config(sockets, where):
    return f'metrics = "{where}"\n' + "\n".join(
        f'[tenants.{name}]\nsocket = "{socket}"\nquota = "1MiB"\nmax_leases = 2'
        for name, socket in sockets.items()
    )


@pytest.fixture
def daemon(memory, tmp_path, config):
    with Daemon(tmp_path, root=memory / "root", config=config) as running:
        yield running


class World:
    """What the actions below work on."""

    def __init__(self, daemon: Daemon, socket: Path, directory: Path) -> None:
        self.daemon = daemon
        self.socket = socket
        self.directory = directory

    def model(self, name: str = "m", **sizes: int) -> Path:
        """A model on disk."""
        return random_model(self.directory / name, **sizes)

    def published(self) -> Path:
        """The same, published."""
        path = self.model()
        tetris.publish(path, socket=self.socket)
        return path

    def evict(self, method: str = EVICT) -> None:
        """Remove it."""
        request = (
            admin_pb2.ModelRequest(tenant="red", model="m")
            if method == EVICT
            else admin_pb2.CollectGarbageRequest()
        )
        self.daemon.admin(method, request)


# One event of each kind; what it moves, and by how much.


def publish(world):
    world.published()


def publish_too_much(world):
    with pytest.raises(NoSpaceError):
        tetris.publish(world.model(kib=1024), socket=world.socket)


def publish_damage(world):
    path = world.model()
    body = bytearray(data_file(path).read_bytes())
    body[-1] ^= 1
    data_file(path).write_bytes(body)
    with pytest.raises(CorruptDataError):
        tetris.publish(path, socket=world.socket)


def attach(world):
    tetris.attach(world.published(), socket=world.socket).release()


def attach_what_is_not_there(world):
    with pytest.raises(TetrisError):
        Client(world.socket).attach(bytes(32))


def attach_too_often(world):
    path = world.published()
    with (
        tetris.attach(path, socket=world.socket),
        tetris.attach(path, socket=world.socket),
        pytest.raises(NoSpaceError),
    ):
        tetris.attach(path, socket=world.socket)


def die(world):
    code = (
        "import os, sys, tetris\n"
        "model = tetris.attach(sys.argv[1], socket=sys.argv[2])\n"
        "os.kill(os.getpid(), 9)"
    )
    path = world.published()
    subprocess.run([*PYTHON, "-c", code, path, world.socket], timeout=60)


def evict(world):
    world.published()
    world.evict()


def collect(world):
    world.published()
    world.evict("CollectGarbage")


def make_room(world):
    tetris.publish(world.model("old", kib=300), socket=world.socket)
    tetris.publish(world.model("new", kib=300), socket=world.socket)


def expire(world):
    world.published()
    request = admin_pb2.SetKeepAliveRequest(tenant="red", model="m", seconds=0)
    world.daemon.admin("SetKeepAlive", request)


def fall_back(world):
    Client(world.socket).tell_of_fallback("/srv/m", CorruptDataError("it is"))


def damage(world):
    manifest = tetris.publish(world.model(), socket=world.socket)
    file = world.daemon.root / "objects/_shared" / manifest.tensors[0].segment
    file.chmod(0o644)
    file.write_bytes(bytes(manifest.tensors[0].nbytes))
    AdminRpc(world.daemon.admin_socket).collect("Verify", admin_pb2.VerifyRequest(), str)


SIZE = 3 * 65536
CASES = [
    (publish, "tetris_publishes_total", {"result": "published"}, 1),
    (publish, "tetris_published_bytes_total", {}, SIZE),
    (publish, "tetris_publish_seconds_count", {}, 1),
    (publish_too_much, "tetris_publishes_total", {"result": "no_space"}, 1),
    (publish_damage, "tetris_publishes_total", {"result": "corrupt_data"}, 1),
    (attach, "tetris_attaches_total", {"result": "attached"}, 1),
    (attach, "tetris_attach_seconds_count", {}, 1),
    (attach, "tetris_leases_ended_total", {"how": "released"}, 1),
    (attach_what_is_not_there, "tetris_attaches_total", {"result": "not_found"}, 1),
    (attach_too_often, "tetris_attaches_total", {"result": "no_space"}, 1),
    (die, "tetris_leases_ended_total", {"how": "died"}, 1),
    (evict, "tetris_evictions_total", {"reason": "asked"}, 1),
    (evict, "tetris_evicted_bytes_total", {}, SIZE),
    (collect, "tetris_evictions_total", {"reason": "collected"}, 1),
    (make_room, "tetris_evictions_total", {"reason": "room"}, 1),
    (expire, "tetris_evictions_total", {"reason": "expired"}, 1),
    (fall_back, "tetris_fallbacks_total", {"reason": "corrupt"}, 1),
    (damage, "tetris_damaged_models_total", {}, 1),
]


@pytest.mark.parametrize(
    ("act", "name", "labels", "by"), CASES, ids=[f"{c[0].__name__}-{c[1]}" for c in CASES]
)
def test_a_counter_moves_with_its_event_and_for_its_tenant(
    daemon, sockets, where, tmp_path, act, name, labels, by
):
    before = Scraped(where)
    act(World(daemon, sockets["red"], tmp_path))
    moved = before(name, tenant="red", **labels) + by
    wait_until(lambda: Scraped(where)(name, tenant="red", **labels) == moved, what="the count")
    assert Scraped(where)(name, tenant="blue", **labels) == 0


def test_every_counter_of_events_is_in_the_table(daemon, where):
    """So that a new one is tested, too."""
    counted = {
        name
        for name in Scraped(where).names()
        if name.startswith("tetris_") and name.endswith(("_total", "_count"))
    }
    tested = {name for _, name, _, _ in CASES}
    assert counted - tested == {"tetris_scrub_findings_total", "tetris_scrub_read_bytes_total"}


def test_the_gauges_say_what_the_administrators_calls_say(daemon, sockets, where, tmp_path):
    path = random_model(tmp_path / "m")
    with (
        tetris.attach(path, socket=sockets["red"]) as model,
        tetris.attach(path, socket=sockets["blue"]),
    ):
        mapped = model["t0"]
        host = daemon.admin("GetHostStats", admin_pb2.GetHostStatsRequest())
        wait_until(lambda: Scraped(where)("tetris_leases") == 2, what="the gauges")
        found = Scraped(where)
        assert mapped.nbytes
    for name, value in {
        "models": host.models,
        "leases": host.leases,
        "segments": host.segments,
        "referenced_segments": host.references,
        "quarantined_segments": host.segments_quarantined,
        "resident_bytes": host.bytes_resident,
        "asked_bytes": host.bytes_asked,
        "saved_bytes": host.bytes_saved,
        "charged_bytes": host.bytes_charged,
        "huge_pages_enabled": host.huge_pages,
    }.items():
        assert (name, found(f"tetris_{name}")) == (name, value)
    assert (host.models, host.bytes_resident, host.references) == (2, SIZE, 1)
    assert found("tetris_limit_bytes") > 0
    runs = {"version": tetris.__version__, "python": platform.python_version()}
    assert found("tetris_build_info", **runs) == 1
    for tenant in AdminRpc(daemon.admin_socket).collect(
        "ListTenants", admin_pb2.ListTenantsRequest(), lambda t: t
    ):
        for name, value in {
            "models": 1,
            "resident_bytes": tenant.bytes_resident,
            "charged_bytes": tenant.bytes_charged,
            "quota_bytes": tenant.bytes_quota,
            "fair_share_bytes": SIZE // 2,
        }.items():
            assert found(f"tetris_tenant_{name}", tenant=tenant.name) == value
        assert tenant.bytes_fair_share == SIZE // 2


def test_labels_are_few_and_no_client_chooses_them(daemon, sockets, where, tmp_path):
    world = World(daemon, sockets["red"], tmp_path)
    make_room(world)
    publish_damage(world)
    fall_back(world)
    manifest = tetris.publish(random_model(tmp_path / "secret-name"), socket=world.socket)
    found = Scraped(where)
    assert {name for name, _ in found.labels()} == LABELS
    assert {value for name, value in found.labels() if name == "tenant"} == {"red", "blue"}
    for word in ("secret-name", manifest.fingerprint.hex()[:8], "t0"):
        assert word not in found.text


def test_a_scrub_shows(memory, tmp_path, where, config):
    flags = ["--scrub-every=1", "--scrub-rate=1GiB"]
    with Daemon(tmp_path, *flags, root=memory / "root", config=config) as daemon:
        begin = time.time()
        damage(World(daemon, tmp_path / "red" / "tetrisd.sock", tmp_path))
        wait_until(
            lambda: Scraped(where)("tetris_scrub_last_completed_timestamp_seconds") >= begin - 1,
            what="a scrub",
        )
        found = Scraped(where)
        assert found("tetris_scrub_interval_seconds") == 1
        assert found("tetris_quarantined_segments") == 1
        wait_until(
            lambda: Scraped(where)("tetris_last_look_timestamp_seconds") >= begin, what="a look"
        )
        found = Scraped(where)
        assert found("tetris_look_duration_seconds") > 0


def test_a_reload_shows(daemon, where, tmp_path, config):
    started = Scraped(where)
    assert started("tetris_config_last_reload_successful") == 1
    (tmp_path / "tetrisd.toml").write_text("a = = b")
    with pytest.raises(TetrisError):
        daemon.admin("Reload", admin_pb2.ReloadRequest())
    refused = Scraped(where)
    assert refused("tetris_config_last_reload_successful") == 0
    when = "tetris_config_last_reload_success_timestamp_seconds"
    assert refused(when) == started(when)
    green = f'\n[tenants.green]\nsocket = "{tmp_path}/green/s"'
    (tmp_path / "tetrisd.toml").write_text(config + green)
    daemon.admin("Reload", admin_pb2.ReloadRequest())
    wait_until(lambda: ("tenant", "green") in Scraped(where).labels(), what="the new tenant")
    read = Scraped(where)
    assert read("tetris_config_last_reload_successful") == 1
    assert read(when) > started(when)
    assert read("tetris_publishes_total", tenant="green", result="published") == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_loopback_answers(memory, tmp_path, host):
    where = f"{host}:{free_port()}"
    with Daemon(tmp_path, f"--metrics={where}", root=memory / "root") as daemon:
        assert Scraped(where)("tetris_models") == 0
        assert daemon.stop() == 0
    with pytest.raises(OSError):
        Scraped(where)


def test_the_socket_is_for_the_daemons_user_and_group(daemon, where):
    assert stat.S_IMODE(Path(where).stat().st_mode) == 0o660
    assert stat.S_IMODE(Path(where).parent.stat().st_mode) == 0o700
    daemon.stop()
    assert not Path(where).exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_next_daemon_takes_it_over(daemon, where, how):
    daemon.stop(how)
    daemon.start()
    assert Scraped(where)("tetris_models") == 0


def test_a_place_that_is_taken_is_one_sentence(daemon, memory, tmp_path, where):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for place, words in ((f"127.0.0.1:{port}", "Address already in use"), (where, "in use")):
            other = Daemon(tmp_path / "other", f"--metrics={place}", root=memory / "other")
            other.start(wait=False)
            assert other.process.wait(30) == 1
            assert words in other.log.splitlines()[-1]
            assert "Traceback" not in other.log
