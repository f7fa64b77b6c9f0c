"""``tetrisctl doctor``: each check finds its fault, made for real, and its command mends it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from integration.test_control_group import group
from integration.test_ps import BECOME_NOBODY
from support.daemon import PYTHON, run_python
from support.models import let_through, random_model
from support.tmpfs import can_mount, tmpfs
from tetris import supported
from tetris.cli import doctor as module
from tetris.cli.main import main

__all__ = ["group"]
as_root = pytest.mark.skipif(not can_mount(), reason="needs leave to mount")
PREPARE = "set -e; mount -t tmpfs none /run; "


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    """What it found, by check; the status is checked to say the same."""
    found = {f["check"]: f for f in json.loads(done.stdout)}
    bad = [f for f in found.values() if f["level"] in ("warning", "failure")]
    assert done.returncode == (7 if bad else 0), done.stderr
    assert all(f["fix"] for f in bad), bad
    return found


@pytest.fixture
def doctor(daemon):
    """It, behind ``prefix``, about the daemon or whatever else the flags name."""

    def look(*prefix, root=None, socket=None, **environment):
        done = subprocess.run(
            [
                *map(str, prefix),
                *(*PYTHON, "-m", "tetris.cli", "doctor", "--json"),
                f"--root={root or daemon.root}",
                f"--socket={socket or daemon.socket}",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **environment},
        )
        return findings(done)

    return look


def mend(finding: dict[str, str]) -> None:
    """Run the command that it names."""
    command = finding["fix"].replace("sudo ", "")
    subprocess.run(["sh", "-c", command], check=True, timeout=30, capture_output=True)


def instead(tmp_path: Path, file: str, text: str) -> tuple[str, ...]:
    """A prefix: a program that finds ``text`` in ``file``, and nobody else does."""
    made = tmp_path / "instead"
    made.write_text(text)
    return ("unshare", "-m", "sh", "-c", f'mount --bind "{made}" {file} && exec "$@"', "sh")


def test_a_healthy_daemon_has_nothing_to_fix(daemon, doctor, tmp_path):
    random_model(tmp_path / "models" / "m", kib=8192)
    assert main(["publish", str(tmp_path / "models" / "m"), f"--socket={daemon.socket}"]) == 0
    found = doctor()
    ours = {"daemon", "view", "tmpfs", "room", "inodes", "kernel", "tensorflow", "python"}
    assert {name: f["sentence"] for name, f in found.items() if name in ours and f["fix"]} == {}
    assert "1 model," in found["daemon"]["sentence"]
    if can_mount():
        assert "100% of a large segment" in found["huge-pages"]["sentence"]


def test_no_socket_is_a_failure_with_the_command_that_starts_one(doctor, tmp_path):
    found = doctor(socket=tmp_path / "none")["daemon"]
    assert found["level"] == "failure"
    assert str(tmp_path / "none") in found["sentence"] + found["fix"]


def test_a_socket_that_a_killed_daemon_left_is_told_from_one_that_is_answered(daemon, doctor):
    assert doctor()["daemon"]["level"] == "ok"
    daemon.kill()
    found = doctor()["daemon"]
    assert found["level"] == "failure"
    assert "its daemon has died" in found["sentence"]


def test_a_daemon_that_stands_still_does_not_hold_up_the_doctor(daemon, doctor):
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        found = doctor()
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert found["daemon"]["level"] == "failure"
    assert f"kill -KILL {daemon.process.pid}" in found["daemon"]["fix"]
    assert "kernel" in found, "the other checks still tell"


def test_a_file_in_the_place_of_the_socket_is_told(doctor, tmp_path):
    (tmp_path / "file").touch()
    assert "is no socket" in doctor(socket=tmp_path / "file")["daemon"]["sentence"]


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
@pytest.mark.parametrize(("mode", "word"), [(0o700, "may not enter"), (0o711, "may not open")])
def test_a_user_whom_the_socket_shuts_out_is_told_how_to_get_in(daemon, tmp_path, mode, word):
    let_through(tmp_path, daemon.root.parent)
    daemon.socket.parent.chmod(mode)
    look = f"{BECOME_NOBODY}\nsys.exit(tetris.cli.main.main(sys.argv[2:]))"
    flags = ("doctor", "--json", f"--root={daemon.root}", f"--socket={daemon.socket}")
    found = findings(run_python(look, "nobody", *flags))["daemon"]
    assert found["level"] == "failure"
    assert word in found["sentence"]
    assert re.search(r"usermod -aG root nobody|chmod g\+rwX", found["fix"])


def test_no_root_and_a_root_that_is_no_shared_memory_are_failures(doctor, tmp_path):
    if can_mount():
        found = doctor(root=tmp_path / "none")["tmpfs"]
        assert found["level"] == "failure"
        assert "mount -t tmpfs" in found["fix"]
    (tmp_path / "objects").mkdir()
    assert "not in shared memory" in doctor(root=tmp_path)["tmpfs"]["sentence"]


@as_root
@pytest.mark.parametrize(
    ("options", "check", "level"),
    [
        ("huge=never", "huge-pages", "warning"),
        ("huge=within_size,size=8m", "room", "warning"),
        ("huge=within_size,size=1g,nr_inodes=200", "inodes", "warning"),
    ],
)
def test_a_tmpfs_that_is_mounted_wrongly_is_told_and_mended(
    tmp_path, doctor, options, check, level
):
    with tmpfs(options) as place:
        (place / "objects").mkdir()
        found = doctor(root=place)[check]
        assert found["level"] == level, found
        mend(found)
        if check == "room":  # 16 MiB are little still
            assert os.statvfs(place).f_blocks * 4096 == 16 << 20
        else:
            assert doctor(root=place)[check]["level"] == "ok"


@as_root
def test_a_tmpfs_without_nosuid_is_told_and_mended(doctor):
    with tmpfs() as place:
        subprocess.run(["mount", "-o", "remount,suid,dev", place], check=True)
        found = doctor(root=place)["mount-options"]
        assert "without nosuid and nodev" in found["sentence"]
        mend(found)
        assert doctor(root=place)["mount-options"]["level"] == "ok"


@as_root
def test_swap_that_weights_may_go_to_is_told(doctor, tmp_path):
    lines = "Filename Type Size Used Priority\n/dev/sda2 partition 100 0 -2\n"
    with tmpfs("huge=within_size,uid=7,gid=7,size=8m") as place:
        found = doctor(*instead(tmp_path, "/proc/swaps", lines), root=place)["swap"]
    assert found["level"] == "note"
    known = "this kernel has no noswap" not in found["sentence"]
    # The next mount is the same in all else: a daemon refuses a root that is not its own.
    for option in ("noswap", "nofail", "uid=7", "gid=7", "size=8192k", "huge=within_size"):
        assert (option in re.split("[ ,]", found["fix"])) == known, found


@as_root
def test_nobody_is_told_to_mount_over_segments(doctor, daemon):
    command = 'mount --bind "$0" /dev/shm && exec "$@"'
    prefix = ("unshare", "-m", "sh", "-c", command, daemon.root.parent)
    found = doctor(*prefix, root=f"/dev/shm/{daemon.root.name}")["tmpfs"]
    assert "shares the tmpfs" in found["sentence"]
    assert found["fix"] == ""


@as_root
def test_a_host_that_denies_huge_pages_is_told(doctor, tmp_path):
    switch = "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
    found = doctor(*instead(tmp_path, switch, "always never [deny] force\n"))["huge-pages"]
    assert found["level"] == "warning"
    assert "the host denies them" in found["sentence"]
    assert found["fix"].endswith(switch)


@as_root
@pytest.mark.parametrize(
    ("file", "value", "check"),
    [("max_map_count", "1000", "max-map-count"), ("overcommit_memory", "2", "overcommit")],
)
def test_a_setting_of_the_kernel_that_is_in_the_way_is_told(doctor, tmp_path, file, value, check):
    found = doctor(*instead(tmp_path, f"/proc/sys/vm/{file}", f"{value}\n"))[check]
    assert found["level"] == "warning"
    assert found["fix"].startswith(f"sudo sysctl -w vm.{file}=")


def test_the_largest_published_model_decides_how_many_mappings_are_needed(daemon, doctor, tmp_path):
    path = random_model(tmp_path / "models" / "many", tensors=200, kib=4)
    assert main(["publish", str(path), f"--socket={daemon.socket}"]) == 0
    assert "200 segments" in doctor()["max-map-count"]["sentence"]


@pytest.mark.parametrize(
    ("limit", "check", "words"),
    [
        ("--nofile=512:", "open-files", "ulimit -Sn 1024"),
        ("--nofile=512:512", "open-files", "prlimit --pid $$ --nofile="),
        ("--data=900000000:", "data-limit", "ulimit -d unlimited"),
        ("--as=1000000000:1000000000", "data-limit", "prlimit --pid $$ --as=unlimited"),
    ],
)
def test_a_low_limit_of_the_shell_is_told(doctor, limit, check, words):
    found = doctor("prlimit", limit, "--")[check]
    assert found["level"] == "warning"
    assert words in found["fix"]


@pytest.mark.skipif(os.geteuid() != 0, reason="changes another process's limits")
def test_a_daemon_that_may_open_few_files_is_told(daemon, doctor):
    subprocess.run(["prlimit", "--pid", str(daemon.process.pid), "--nofile=900:900"], check=True)
    found = doctor()["daemon-files"]
    assert (found["level"], "900 files" in found["sentence"]) == ("warning", True)
    assert found["fix"].startswith(f"sudo prlimit --pid {daemon.process.pid} --nofile=")


def test_a_memory_limit_that_leaves_the_daemon_little_is_told(daemon, doctor, group):
    (group / "cgroup.procs").write_text(str(daemon.process.pid))
    try:
        found = doctor()["memory-limit"]
    finally:
        daemon.stop()
    assert found["level"] == "warning"
    assert "memory limit leaves" in found["sentence"]


@as_root
def test_segments_that_a_logout_would_remove_are_told_and_mended(doctor):
    """Those of a user who is none of the system's, unless logind is told not to."""
    with tmpfs() as shm:
        root = Path("/dev/shm") / f"tetris-doctor-{os.getpid()}"
        (shm / "objects").mkdir()
        prepare = (
            f"{PREPARE} mount -t tmpfs none /dev/shm; mkdir -p {root} /run/systemd/system; "
            f"mount --bind {shm} {root}; mkdir -p /etc/systemd; mount -t tmpfs none /etc/systemd; "
        )

        def look(more: str) -> dict[str, str]:
            shell = ("unshare", "-m", "sh", "-c", f'{prepare}{more} exec "$@"', "sh")
            return doctor(*shell, root=root)["remove-ipc"]

        assert "system user" in look("")["sentence"]
        os.chown(shm, 1000, 1000)
        found = look("")
        assert found["level"] == "warning"
        fix = found["fix"].replace("sudo ", "").rpartition("&&")[0]  # no logind to restart here
        assert look(f"({fix}) >/dev/null;")["level"] == "ok"
        said = "echo '[Login]\nRemoveIPC=no' > /etc/systemd/logind.conf; "
        assert look(said)["level"] == "ok"
        place = "/run/systemd/logind.conf.d"
        drop_in = f"mkdir {place}; echo RemoveIPC=yes > {place}/a.conf;"
        assert look(said + drop_in)["level"] == "warning", "a drop-in comes after the main file"
        os.chown(shm, 0, 0)


@as_root
def test_a_systemd_host_without_the_unit_is_told(doctor):
    prepare = f'{PREPARE} mkdir -p /run/systemd/system; exec "$@"'
    found = doctor("unshare", "-m", "sh", "-c", prepare, "sh")["service"]
    assert (found["level"], found["fix"]) == ("note", "tetrisctl install")


UNIT = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "RuntimeDirectory": "tetris",
    "RuntimeDirectoryPreserve": "yes",
}


@as_root
@pytest.mark.parametrize(
    ("said", "level", "words"),
    [
        ({}, "ok", ""),
        ({"ActiveState": "failed"}, "failure", "systemctl restart tetrisd.service"),
        ({"UnitFileState": "disabled"}, "warning", "systemctl enable tetrisd.service"),
        ({"RuntimeDirectoryPreserve": "no"}, "warning", "RuntimeDirectoryPreserve=yes"),
    ],
)
def test_what_systemd_says_of_the_unit_is_judged(doctor, tmp_path, said, level, words):
    """Its answer is given by a stand-in: this machine is not run by systemd."""
    lines = "\n".join(f"{name}={value}" for name, value in {**UNIT, **said}.items())
    stand_in = tmp_path / "bin" / "systemctl"
    stand_in.parent.mkdir()
    stand_in.write_text(f"#!/bin/sh\ncat <<END\n{lines}\nEND\n")
    stand_in.chmod(0o755)
    prepare = f'{PREPARE} mkdir -p /run/systemd/system; exec "$@"'
    path = f"{stand_in.parent}:{os.environ['PATH']}"
    found = doctor("unshare", "-m", "sh", "-c", prepare, "sh", PATH=path)["service"]
    assert (found["level"], words in found["fix"]) == (level, True)


# Lets the kernel answer a system call with ENOSYS, as an old one, or a container's filter, does.
WITHOUT_CALL = """
import ctypes, struct, sys
number = int(sys.argv[1])
program = b"".join(struct.pack("HBBI", *step) for step in (
    (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)))
held = ctypes.create_string_buffer(program)
prog = struct.pack("HxxxxxxP", 4, ctypes.addressof(held))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.c_char_p(prog)) == 0
from tetris.cli.main import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize(("number", "name"), [(437, "openat2"), (316, "renameat2")])
def test_a_system_call_that_is_filtered_is_named(tmp_path, number, name):
    flags = (f"--root={tmp_path}", f"--socket={tmp_path}/s")
    found = findings(run_python(WITHOUT_CALL, str(number), "doctor", "--json", *flags))["kernel"]
    assert found["level"] == "failure"
    assert f"lacks {name}" in found["sentence"]


@pytest.mark.parametrize(("version", "level"), [("2.15.1", "warning"), ("2.16.2", "ok")])
def test_a_tensorflow_that_is_not_served_is_told_without_importing_it(
    doctor, tmp_path, version, level
):
    package = tmp_path / "site" / "tensorflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    about = tmp_path / "site" / f"tensorflow_cpu-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: tensorflow-cpu\nVersion: {version}\n"
    )
    path = os.pathsep.join([str(package.parent), *sys.path])
    found = doctor(PYTHONPATH=path)["tensorflow"]
    assert (found["level"], version in found["sentence"]) == (level, True)


def test_the_range_of_tensorflow_is_what_pip_is_told():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'tensorflow = ["{supported.REQUIREMENT}"]' in project
    assert [v for v in ("2.15.9", "2.16.0", "2.21.3", "2.22.0") if supported.serves(v)] == [
        "2.16.0",
        "2.21.3",
    ]


def test_a_check_that_hangs_or_fails_leaves_the_others_alone(monkeypatch, tmp_path, capsys):
    def fails(at):
        raise OSError("broken")

    monkeypatch.setattr(module, "_SECONDS", 0.1)
    monkeypatch.setitem(module.CHECKS, "room", lambda at: time.sleep(1000))
    monkeypatch.setitem(module.CHECKS, "inodes", fails)
    assert main(["doctor", f"--root={tmp_path}", f"--socket={tmp_path}/s", "--json"]) == 7
    found = {f["check"]: f["sentence"] for f in json.loads(capsys.readouterr().out)}
    assert found["room"].startswith("no answer")
    assert found["inodes"] == "could not be checked: broken"
    assert "Python" in found["python"]


def test_for_people_it_fits_80_columns_and_commands_are_whole(tmp_path, capsys):
    flags = ["doctor", f"--root={tmp_path}/{'long' * 30}", f"--socket={tmp_path}/{'s' * 90}"]
    assert main(flags) == 7
    table, _, commands = capsys.readouterr().out.partition("\nTo change that:\n")
    assert max(map(len, table.splitlines())) <= 80
    main([*flags, "--json"])
    fixes = [f for f in json.loads(capsys.readouterr().out) if f["fix"]]
    assert commands.splitlines() == [f"  {f['check']}: {f['fix']}" for f in fixes]
    assert max(len(f["fix"]) for f in fixes) > 80
