"""What show, tree and stat say of sharing, asked of a real daemon with two tenants."""

from __future__ import annotations

import json

import pytest

import tetris
from support.daemon import Daemon
from support.models import floats, write_model
from tetris.cli.main import main

BACKBONE = {"backbone": ((256,), floats(*range(256)))}  # 1 KiB


@pytest.fixture
def sockets(tmp_path):
    return {name: tmp_path / name / "tetrisd.sock" for name in ("red", "blue")}


@pytest.fixture
def daemon(memory, tmp_path, sockets):
    config = "\n".join(f'[tenants.{name}]\nsocket = "{s}"' for name, s in sockets.items())
    with Daemon(tmp_path, root=memory / "root", config=config) as running:
        yield running


@pytest.fixture
def models(daemon, tmp_path, sockets):
    for i, name in enumerate(("first", "second", "third")):
        head = ((2,), floats(i, i))
        write_model(tmp_path / name, {**BACKBONE, "head": head, "again": head})
        tetris.publish(tmp_path / name, socket=sockets["red"])
    tetris.publish(tmp_path / "first", socket=sockets["blue"])


@pytest.fixture
def ctl(daemon, sockets, capsys):
    def run(*words, tenant="red", form="json"):
        where = ["--socket", str(sockets[tenant]), "--admin-socket", str(daemon.admin_socket)]
        assert main([*words, *where, "-o", form]) == 0
        out = capsys.readouterr().out
        return json.loads(out) if form == "json" else out

    return run


def test_show_names_who_shares_each_tensor(models, ctl):
    shown = ctl("show", "second")
    tensors = {t["name"]: t for t in shown["tensors"]}
    assert tensors["backbone"]["shared_with"] == ["first", "third"]
    assert tensors["head"]["shared_with"] == []
    since = tensors["backbone"]["since_unix_ns"]
    assert 0 < since < shown["published_unix_ns"] == tensors["head"]["since_unix_ns"]
    text = ctl("show", "second", form="table")
    assert "first +1" in text
    assert "itself" in text
    assert "1.0 KiB with first, third" in text
    assert "first, third" in ctl("show", "second", form="wide")


def test_a_tenant_does_not_see_who_else_shares(models, ctl):
    assert {
        n for t in ctl("show", "first", tenant="blue")["tensors"] for n in t["shared_with"]
    } == set()
    assert "third" not in ctl("tree", tenant="blue", form="wide")


def test_the_tree_tells_what_each_has_in_common(models, ctl):
    (root,) = ctl("tree")
    assert (root["model"], root["bytes"], root["bytes_own"]) == ("first", 1032, 8)
    assert [(m["model"], m["bytes_shared"]) for m in root["models"]] == [
        ("second", 1024),
        ("third", 1024),
    ]
    assert "3 models of 3.0 KiB kept in 1.0 KiB" in ctl("tree", form="table")
    (about,) = ctl("tree", "third")
    assert about["model"] == "third"
    assert {m["model"] for m in about["models"]} == {"first", "second"}


def test_an_administrator_sees_it_across_tenants(models, ctl):
    (root,) = ctl("tree", "-A")
    assert (root["tenant"], root["model"], root["bytes_own"]) == ("red", "first", 0)
    assert {(m["tenant"], m["model"]) for m in root["models"]} == {
        ("red", "second"),
        ("red", "third"),
        ("blue", "first"),
    }
    assert "blue: first" in ctl("tree", "-A", form="table")


def test_stat_tells_the_saving_and_the_part_of_each_tenant(models, ctl, sockets, tmp_path):
    with (
        tetris.attach(tmp_path / "first", socket=sockets["red"]),
        tetris.attach(tmp_path / "first", socket=sockets["red"]),
    ):
        own = ctl("stat")
        host = ctl("stat", "--all-tenants")
        text = ctl("stat", "-A", form="table")
    assert (own["bytes_asked"], own["bytes_resident"], own["bytes_saved"]) == (2064, 1048, 1016)
    assert own["version"] == tetris.__version__
    assert {t["name"]: t["bytes_fair_share"] for t in host["tenants"]} == {
        "red": 1032 // 2 + 16,
        "blue": 1032 // 2,
    }
    assert "49% of what was asked for" in text
    assert text.splitlines()[-1].split()[0] == "blue"


def test_segments_of_every_tenant_say_whose_they_are(models, ctl):
    assert len(ctl("segments")) == 4
    assert sorted({s["tenant"] for s in ctl("segments", "-A")}) == ["blue", "red"]
