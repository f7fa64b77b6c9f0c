"""``tetrisctl install`` and ``uninstall`` into a tree of any kind: files only, no systemd."""

from __future__ import annotations

import pytest

from tetris.cli.main import main

UNITS = "usr/local/lib/systemd/system"


@pytest.fixture
def place(tmp_path, capsys):
    """Runs a command on a tree; its exit status and what it complains of."""

    def run(command, *flags):
        status = main([command, "--root", str(tmp_path / "tree"), *flags])
        return status, capsys.readouterr().err

    return run


def test_what_a_link_leads_to_is_neither_written_nor_opened_up(place, tmp_path):
    """A masked unit is a link to /dev/null, which belongs to the whole host."""
    other = tmp_path / "other"
    other.write_text("not ours")
    other.chmod(0o600)
    units = tmp_path / "tree" / UNITS
    units.mkdir(parents=True)
    (units / "tetrisd.service").symlink_to(other)
    assert place("install") == (0, "")
    assert (other.read_text(), other.stat().st_mode & 0o777) == ("not ours", 0o600)
    assert "[Service]" in (units / "tetrisd.service").read_text()


def test_settings_behind_a_link_do_not_stop_a_purge(place, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/tetris").symlink_to(data)
    assert place("install") == (0, "")
    assert place("uninstall", "--purge") == (0, "")
    assert not (tmp_path / "tree/etc/tetris").is_symlink()
    assert data.is_dir()


def test_what_cannot_be_removed_is_told_in_a_sentence(place, tmp_path):
    place("install")
    link = tmp_path / "tree" / UNITS / "tetrisd.service"
    link.unlink()
    link.parent.rename(tmp_path / "units")
    link.parent.symlink_to(link.parent.name)
    status, said = place("uninstall")
    assert (status, said.count("\n")) == (1, 1)
    assert "cannot be removed: Too many levels of symbolic links" in said


def test_a_tree_that_is_none_has_nothing_installed(place, tmp_path):
    (tmp_path / "tree").write_text("")
    assert place("uninstall") == (0, "")


@pytest.mark.parametrize("path", ["/srv/my env/bin", "/srv/a%b/bin", "/srv/'b'/bin"])
def test_a_place_that_a_unit_cannot_name_is_refused(place, path, tmp_path):
    status, said = place("install", "--bindir", path)
    assert (status, said.count("\n")) == (1, 1)
    assert "a unit cannot name it" in said
    assert not (tmp_path / "tree").exists()
