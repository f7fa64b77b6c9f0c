"""``tetrisctl doctor`` in a container: what must be mounted, and is not, or is wrongly."""

from __future__ import annotations

import os
import re

import pytest

from integration.test_doctor import PREPARE, as_root, doctor
from support.models import random_model
from tetris.cli.main import main

__all__ = ["doctor"]

CONTAINER = {
    "right": ("mount --bind $run $run; mount --bind -o ro $view /run/view;", "ok", "ok"),
    "no view": ("mount --bind $run $run; rmdir /run/view;", "ok", "no view at"),
    "image's view": ("mount --bind $run $run; ln -s $image /run/view/v;", "ok", "not the mounted"),
    "writable view": ("mount --bind $run $run; mount --bind $view /run/view;", "ok", "writable"),
    "another's view": ("mount --bind $run $run; mount -t tmpfs -o ro x /run/view;", "ok", "lacks"),
    "socket alone": (
        "mount --bind $run/tetrisd.sock $run/tetrisd.sock; mount --bind -o ro $view /run/view;",
        "itself is mounted",
        "ok",
    ),
    "one mount": ("mount --bind -o ro $view $run;", "ok", "ok"),
    "one mount, writable": ("mount --bind $view $run;", "ok", "writable"),
    "no socket": ("mount --bind -o ro $view /run/view;", "is not mounted", "ok"),
}


@as_root
@pytest.mark.parametrize("case", CONTAINER)
def test_in_a_container_the_mounts_are_looked_at(daemon, doctor, tmp_path, case):
    path = random_model(tmp_path / "models" / "m")
    assert main(["publish", str(path), f"--socket={daemon.socket}"]) == 0
    mounts, socket, view = CONTAINER[case]
    (tmp_path / "image").mkdir()
    prepare = (
        f"run={daemon.socket.parent}; view={daemon.root}/tenants/default; "
        f"image={tmp_path}/image; {PREPARE}"
        "mkdir /run/view; touch /run/.containerenv; "
        f"{mounts} mount -t tmpfs none {daemon.root}; "
        'exec "$@"'
    )
    shell = ("unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-c", prepare, "sh")
    where = {"TETRIS_VIEW": "/run/view/v" if "$image" in mounts else "/run/view"}
    found = doctor(*shell, **({} if "one mount" in case else where))
    for check, words in (("socket-mount", socket), ("view", view)):
        if words == "ok":
            assert found[check]["level"] == "ok", found
        else:
            assert words in found[check]["sentence"], found
            assert re.match(r"podman (run -v|restart) ", found[check]["fix"])


@as_root
def test_a_socket_directory_that_a_restart_replaced_is_told(daemon, doctor, tmp_path):
    """The container's mount still is the old directory: only a restart of the container helps."""
    gone = tmp_path / "gone"
    prepare = (
        f"{PREPARE} touch /run/.containerenv; mkdir {gone} {tmp_path}/seen; "
        f'mount --bind {gone} {tmp_path}/seen; rmdir {gone}; exec "$@"'
    )
    shell = ("unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child", "sh", "-c", prepare, "sh")
    found = doctor(*shell, socket=tmp_path / "seen" / "tetrisd.sock", root=tmp_path / "no")
    assert "directory that is gone" in found["socket-mount"]["sentence"]
    assert found["socket-mount"]["fix"] == f"podman restart {os.uname().nodename}"
