"""A real Prometheus scrapes a real daemon: rules and dashboard ask for what is there."""

from __future__ import annotations

import json
import re
import shutil

import pytest

import tetris
from support.daemon import Daemon, wait_until
from support.models import random_model
from support.prometheus import DEPLOY, Prometheus, promtool
from support.scraping import free_port, samples, scrape
from tetris.client import Client
from tetris.errors import CorruptDataError, NoSpaceError, TetrisError
from tetris.rpc import AdminRpc
from tetris.v1 import admin_pb2

METRIC = re.compile(r"\b(?:tetris|process)_[a-z_]+\b(?!\s*\()")
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*", "$tenant": ".*"}


def dashboard():
    return json.loads((DEPLOY / "tetris-dashboard.json").read_text())


def panels():
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions():
    """Every one of the dashboard, with its panel, as Grafana would send it."""
    found = []
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            assert "$" not in expression
            found.append((panel["title"], expression))
    return found


@pytest.fixture(scope="module")
def scene(shared_memory, tmp_path_factory):
    """A daemon with something of everything on it, and a Prometheus that scrapes it."""
    directory = tmp_path_factory.mktemp("scene")
    where = f"127.0.0.1:{free_port()}"
    root = shared_memory / "observed"
    config = (
        f'metrics = "{where}"\nscrub_rate = "1GiB"\nscrub_every = "2s"\n'
        f'[tenants.red]\nsocket = "{directory}/red/s"\nquota = "1MiB"\n'
        f'[tenants.blue]\nsocket = "{directory}/blue/s"\n'
    )
    daemon = Daemon(directory / "d", root=root, config=config)
    with daemon:
        prometheus = Prometheus(directory / "prometheus", where)
        try:
            wait_until(lambda: prometheus.query("tetris_models"), 30, what="a first scrape")
            path = random_model(directory / "m")
            with (
                tetris.attach(path, socket=directory / "red" / "s"),
                tetris.attach(path, socket=directory / "blue" / "s"),
            ):
                yield daemon, prometheus, where, directory
        finally:
            prometheus.stop()
    shutil.rmtree(root, ignore_errors=True)


def test_the_real_answer_is_what_promtool_calls_clean(scene):
    checked = promtool("check", "metrics", text=scrape(scene[2]))
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize(
    "words",
    [
        ("check", "rules", "--lint-fatal", "tetris-alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "tetris-alerts.test.yml"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_promtool_calls_what_we_ship_right(words):
    checked = promtool(*words)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_alert_is_in_the_unit_tests(scene):
    tested = (DEPLOY / "tetris-alerts.test.yml").read_text()
    for rule in scene[1].rules():
        assert f'alertname="{rule["name"]}"' in tested


def test_every_alert_says_what_to_do(scene):
    for rule in scene[1].rules():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule["name"]
        for text in ("summary", "description", "runbook"):
            assert rule["annotations"][text].strip(), rule["name"]


def test_every_metric_that_is_asked_for_is_there(scene):
    """In the rules and on the dashboard; and every one that is there is asked for."""
    _, prometheus, where, _ = scene
    there = {name for name, _ in samples(scrape(where))}
    asked = {
        name
        for text in [rule["query"] for rule in prometheus.rules()] + [e for _, e in expressions()]
        for name in METRIC.findall(text)
    }
    assert asked - there == set()
    by_other_means = {"tetris_models", "tetris_leases", "tetris_tenant_resident_bytes"}
    by_other_means |= {"tetris_tenant_asked_bytes", "tetris_tenant_saved_bytes"}
    own = {name for name in there if name.startswith("tetris_")}
    assert {n for n in own - asked if not n.endswith(("_sum", "_count"))} == by_other_means


def test_every_panel_shows_something(scene):
    """Prometheus understands each expression, and has data for it."""
    _, prometheus, _, _ = scene
    for title, expression in expressions():
        wait_until(lambda e=expression: prometheus.query(e), 30, what=f"{title}: {expression}")


def test_the_dashboard_is_one_that_grafana_takes():
    found = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= found.keys()
    numbers = [panel["id"] for panel in found["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken = set()
    for panel in found["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["type"] in ("stat", "timeseries", "heatmap", "bargauge")
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)
        assert panel["datasource"]["uid"] == "${datasource}"
    assert {v["name"] for v in found["templating"]["list"]} == {"datasource", "instance", "tenant"}


def test_alerts_fire_for_what_goes_wrong(scene):
    """Planted: a segment that changes, a refusal, a fallback, and settings that cannot be read."""
    daemon, prometheus, _, directory = scene
    wanted = {"TetrisDamagedSegments", "TetrisRefusals", "TetrisFallbacks"}
    wanted.add("TetrisConfigReloadFailed")
    assert not wanted & prometheus.firing()
    socket = directory / "blue" / "s"
    manifest = tetris.publish(random_model(directory / "damaged"), socket=socket)
    file = daemon.root / "objects/_shared" / manifest.tensors[0].segment
    file.chmod(0o644)
    file.write_bytes(bytes(manifest.tensors[0].nbytes))
    with pytest.raises(NoSpaceError):
        tetris.publish(random_model(directory / "large", kib=1024), socket=directory / "red" / "s")
    Client(socket).tell_of_fallback("/srv/m", CorruptDataError("it is"))
    settings = (directory / "d" / "tetrisd.toml").read_text()
    (directory / "d" / "tetrisd.toml").write_text("a = = b")
    with pytest.raises(TetrisError):
        daemon.admin("Reload", admin_pb2.ReloadRequest())
    wait_until(lambda: wanted <= prometheus.firing(), 60, what="the alerts")
    (directory / "d" / "tetrisd.toml").write_text(settings)
    daemon.admin("Reload", admin_pb2.ReloadRequest())
    AdminRpc(daemon.admin_socket).call("CollectGarbage", admin_pb2.CollectGarbageRequest())
    over = {"TetrisConfigReloadFailed", "TetrisDamagedSegments"}
    wait_until(lambda: not over & prometheus.firing(), 60, what="the end of the alerts")
