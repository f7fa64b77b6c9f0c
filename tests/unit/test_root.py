"""The root: owned by one daemon, writable by nobody else, of a layout that is known."""

from __future__ import annotations

import os
import shutil

import pytest

from tetris.errors import ConflictError, InvalidModelError, NotAllowedError
from tetris.mount import mount_of
from tetrisd.root import Root


@pytest.fixture
def root(memory):
    opened = Root(memory / "root")
    yield opened
    opened.close()


def test_a_second_daemon_is_told_who_has_the_root(root):
    with pytest.raises(ConflictError, match=f"pid {os.getpid()}"):
        Root(root.path)


def test_a_root_of_somebody_else_is_refused(memory):
    if os.geteuid() != 0:
        pytest.skip("needs leave to give a directory away")
    theirs = memory / "theirs"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    victim = memory / "victim"
    victim.write_text("precious")
    (theirs / ".version").symlink_to(victim)
    with pytest.raises(NotAllowedError, match="belongs to user 65534"):
        Root(theirs)
    assert victim.read_text() == "precious"


def test_a_root_that_others_may_write_is_refused(memory):
    (memory / "open").mkdir()
    (memory / "open").chmod(0o777)
    with pytest.raises(NotAllowedError, match="mode 777"):
        Root(memory / "open")


def test_a_symlink_in_the_root_is_not_followed(memory):
    Root(memory / "root").close()
    shutil.rmtree(memory / "root" / "leases")
    (memory / "root" / "leases").symlink_to(memory)
    with pytest.raises(NotAllowedError, match="leases"):
        Root(memory / "root")


@pytest.mark.parametrize(
    ("socket_mode", "view_mode"), [(0o600, 0o700), (0o660, 0o750), (0o666, 0o755)]
)
def test_who_may_not_open_the_socket_may_not_enter_the_view(memory, socket_mode, view_mode):
    root = Root(memory / "root")
    root.tenant("default", socket_mode)
    root.close()
    view = memory / "root" / "tenants" / "default"
    assert view.stat().st_mode & 0o777 == view_mode


def test_a_root_must_be_on_a_tmpfs(tmp_path):
    if mount_of(tmp_path.stat().st_dev, "tmp").kind == "tmpfs":
        pytest.skip("needs a temporary directory that is no tmpfs")
    with pytest.raises(InvalidModelError, match="tmpfs"):
        Root(tmp_path / "root")


def test_a_root_of_a_newer_layout_is_refused(memory):
    Root(memory / "root").close()
    (memory / "root" / "version").write_text("3\n")
    with pytest.raises(InvalidModelError, match="layout 3"):
        Root(memory / "root")
