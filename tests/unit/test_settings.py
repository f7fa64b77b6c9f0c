"""A flag wins over the environment, and that over the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from tetrisd.settings import Settings, parse


def test_defaults():
    assert parse([], {}) == Settings()


def test_flags_win_over_the_environment():
    found = parse(["--root", "/a"], {"TETRISD_ROOT": "/b", "TETRISD_SOCKET": "/c"})
    assert (found.root, found.tenants[0].socket) == (Path("/a"), Path("/c"))


def test_a_list_is_repeated_as_flags_and_has_colons_in_the_environment():
    for found in (
        parse(["--model-root", "/a", "--model-root", "/b"], {}),
        parse([], {"TETRISD_MODEL_ROOT": "/a:/b"}),
    ):
        assert found.tenants[0].model_root == (Path("/a"), Path("/b"))


def test_an_empty_list_allows_nothing():
    """Least of all the working directory."""
    for text in ("", ":", "::"):
        assert parse([], {"TETRISD_MODEL_ROOT": text}).tenants[0].model_root == ()


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (["--model-root", "relative"], {}),
        ([], {"TETRISD_MODEL_ROOT": "/good:relative"}),
        (["--idle-seconds", "-1"], {}),
        (["--socket-mode", "rw"], {}),
        ([], {"TETRISD_IDLE_SECONDS": "soon"}),
        (["--nonsense"], {}),
        (["--capacity", "much"], {}),
        (["--quota", "-1GiB"], {}),
        (["--keep-alive", "soon"], {}),
        (["--sharing", "perhaps"], {}),
        (["--max-leases", "²"], {}),
        (["--config", "/does/not/exist"], {}),
    ],
)
def test_what_cannot_be_read_ends_with_usage(flags, environment, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(flags, environment)
    assert caught.value.code == 2
    assert "tetrisd" in capsys.readouterr().err


def test_help_names_every_setting_and_default(capsys):
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    text = " ".join(capsys.readouterr().out.split())
    for name in ("--root", "--socket", "--model-root", "--idle-seconds", "default 660"):
        assert name in text


FILE = """
capacity = "12GiB"
keep_alive = "1h"
admin_socket = "/run/tetris/admin/tetrisd.sock"

[tenants.blue]
socket = "/run/tetris/blue/tetrisd.sock"
socket_mode = "600"
quota = "4GiB"
sharing = "tenant"
model_root = ["/srv/blue", "/srv/more"]

[tenants.red]
socket = "/run/tetris/red/tetrisd.sock"
max_leases = 7
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "tetrisd.toml"
        file.write_text(text)
        return ["--config", str(file)]

    return write


def test_a_file_describes_the_tenants(written):
    found = parse([*written(FILE), "--keep-alive", "5"], {"TETRISD_CAPACITY": "1GiB"})
    assert (found.capacity, found.keep_alive) == (1 << 30, 5.0)
    blue, red = found.tenants
    assert (blue.name, blue.socket_mode, blue.quota) == ("blue", 0o600, 4 << 30)
    assert (blue.sharing, blue.model_root) == ("tenant", (Path("/srv/blue"), Path("/srv/more")))
    assert (red.name, red.socket_mode, red.max_leases) == ("red", 0o660, 7)


def test_a_file_without_tenants_describes_the_one(written):
    found = parse(written('socket = "/a/b"\nidle_seconds = 3'), {})
    assert [(t.name, t.socket) for t in found.tenants] == [("default", Path("/a/b"))]
    assert found.idle_seconds == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("capactiy = 1", "no setting 'capactiy'"),
        ("[tenants.blue]\nsokcet = 1", "tenant blue: there is no setting 'sokcet'"),
        ("[tenants.blue]\nquota = 1", "tenant blue: it needs a socket"),
        ('[tenants."a/b"]\nsocket = "/a/b"', "tenant 'a/b': a name is"),
        ('[tenants.Blue]\nsocket = "/a/b"', "tenant 'Blue': a name is"),
        ("tenants = 3", "describe each in a table"),
        ("socket_mode = 0o660", "socket-mode: 432 is no octal mode"),
        ("model_root = '/srv'", "model-root: '/srv' is no absolute directory"),
        ("a = = b", "settings"),
        (
            '[tenants.a]\nsocket = "/x/1"\n[tenants.b]\nsocket = "/x/2"',
            "two sockets are in /x",
        ),
        (
            'admin_socket = "/x/1"\nsocket = "/x/2"',
            "two sockets are in /x",
        ),
        (
            'root = "/r"\nadmin_socket = "/r/tenants/default/1"\nsocket = "/x/2"',
            "socket /r/tenants/default/1 is in the view of another tenant",
        ),
        (
            'root = "/r"\n[tenants.a]\nsocket = "/r/tenants/b/1"\n[tenants.b]\nsocket = "/x/2"',
            "socket /r/tenants/b/1 is in the view of another tenant",
        ),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_one_sentence(written, text, sentence, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(written(text), {})
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_tenants_flag_beside_a_file_that_describes_them_is_refused(written, capsys):
    with pytest.raises(SystemExit):
        parse([*written(FILE), "--quota", "1GiB"], {})
    assert "describes the tenants" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["127.0.0.1:9464", "127.7.7.7:1", "[::1]:9464", "/run/m/s", ""])
def test_metrics_are_on_the_loopback_or_a_path(where):
    assert parse(["--metrics", where], {}).metrics == where


@pytest.mark.parametrize(
    "where",
    [
        *("0.0.0.0:9464", "192.0.2.1:9464", ":9464", "9464", "[::]:9464", "localhost:9464"),
        *("127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "run/m/s", "/run/\0/s"),
    ],
)
def test_metrics_are_nowhere_else(where, capsys):
    """Who scrapes sees every tenant's name, and asks the daemon for work."""
    with pytest.raises(SystemExit):
        parse(["--metrics", where], {})
    assert "metrics: " in capsys.readouterr().err


def test_a_metrics_socket_is_in_no_directory_that_containers_mount(written, capsys):
    with pytest.raises(SystemExit):
        parse(written('metrics = "/x/m"\n[tenants.a]\nsocket = "/x/s"'), {})
    assert "two sockets are in /x" in capsys.readouterr().err
