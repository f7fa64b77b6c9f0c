"""A flag wins over the environment, and that over the default."""

from __future__ import annotations

from pathlib import Path

import pytest

from tetrisd.settings import Settings, parse


def test_defaults():
    assert parse([], {}) == Settings()


def test_flags_win_over_the_environment():
    found = parse(["--root", "/a"], {"TETRISD_ROOT": "/b", "TETRISD_SOCKET": "/c"})
    assert (found.root, found.socket) == (Path("/a"), Path("/c"))


def test_a_list_is_repeated_as_flags_and_has_colons_in_the_environment():
    assert parse(["--model-root", "/a", "--model-root", "/b"], {}).model_root == (
        Path("/a"),
        Path("/b"),
    )
    assert parse([], {"TETRISD_MODEL_ROOT": "/a:/b"}).model_root == (Path("/a"), Path("/b"))


def test_an_empty_list_allows_nothing():
    """Least of all the working directory."""
    for text in ("", ":", "::"):
        assert parse([], {"TETRISD_MODEL_ROOT": text}).model_root == ()


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (["--model-root", "relative"], {}),
        ([], {"TETRISD_MODEL_ROOT": "/good:relative"}),
        (["--idle-seconds", "-1"], {}),
        (["--socket-mode", "rw"], {}),
        ([], {"TETRISD_IDLE_SECONDS": "soon"}),
        (["--nonsense"], {}),
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
