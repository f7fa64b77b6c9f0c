"""``tetrisctl install`` and ``uninstall`` on a clean machine."""

from __future__ import annotations

import json

from systemd.test_service import CONFIG, Holder, shown

TETRISCTL = "/opt/tetris/bin/tetrisctl"


def test_uninstall_leaves_nothing(clean):
    """But for the settings, which go with ``--purge``; a process keeps the model that it maps."""
    before = clean.traces()
    clean.sh(f"{TETRISCTL} install")
    assert clean.traces() > before
    holder = Holder(clean)
    clean.sh(f"{TETRISCTL} uninstall")
    assert holder.is_undisturbed()
    left = clean.traces() - before
    assert CONFIG in left
    assert not [name for name in left if "tetris" not in name.split(":")[0]], left
    clean.sh(f"{TETRISCTL} uninstall --purge")
    assert holder.is_undisturbed()
    holder.end()
    assert clean.traces() == before


def test_a_second_install_keeps_the_settings_and_disturbs_nobody(machine):
    holder = Holder(machine)
    machine.sh(f"""echo 'quota = "3GiB"' >>{CONFIG}""")
    said = machine.sh(f"{TETRISCTL} install")
    assert f"kept {CONFIG}" in said
    assert json.loads(machine.sh("tetrisctl tenants --json"))[0]["bytes_quota"] == 3 << 30
    assert holder.is_undisturbed()
    holder.end()


def test_install_without_a_start_only_writes(clean):
    assert "systemctl enable --now" in clean.sh(f"{TETRISCTL} install --no-start")
    assert shown(clean, "ActiveState") == "inactive"
    clean.sh("systemctl enable --now tetrisd")
    assert shown(clean, "ActiveState") == "active"


def test_an_environment_that_the_service_cannot_see_is_refused(clean):
    clean.sh(
        "cp -a /opt/tetris /root/tetris && sed -i s:/opt/tetris:/root/tetris: /root/tetris/bin/*"
    )
    refused = clean.try_sh("/root/tetris/bin/tetrisctl install")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "python3 -m venv /opt/tetris" in refused.stderr


def test_an_environment_that_its_user_cannot_enter_is_refused(clean):
    clean.sh("chmod 700 /opt/tetris")
    refused = clean.try_sh(f"{TETRISCTL} install")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "chmod o+rx /opt/tetris" in refused.stderr


def test_whoever_is_not_root_is_told_in_one_sentence(clean):
    for command in ("install", "uninstall"):
        refused = clean.try_sh(f"{TETRISCTL} {command}", user="stranger")
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "root" in refused.stderr


def test_segments_outside_a_mount_are_not_mounted_over(clean):
    clean.sh("mkdir -p /dev/shm/tetris/objects")
    refused = clean.try_sh(f"{TETRISCTL} install")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "/dev/shm/tetris" in refused.stderr


def test_a_service_that_does_not_start_says_why(clean):
    clean.sh("mkdir /etc/tetris")
    clean.put(CONFIG, "quota = 'much'\n")
    refused = clean.try_sh(f"{TETRISCTL} install")
    assert refused.returncode == 3
    assert "'much' is no bytes" in refused.stderr
