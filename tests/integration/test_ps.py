"""``tetrisctl ps``: which processes map a model, from the kernel alone."""

from __future__ import annotations

import json
import os
import pwd
import subprocess

import numpy
import pytest

from support.daemon import PYTHON, run_python, wait_until
from support.models import floats, let_through, random_model, write_model
from support.tmpfs import can_mount
from tetris.cli import proc
from tetris.cli.main import main

KIB = 1024

# Attaches a model, maps what it is told to, and stays until it is told to go on.
BECOME_NOBODY = """
import ctypes, os, sys, numpy, tetris.cli.main, tetris.client, tetris.model, tetris.formats.model
if "nobody" in sys.argv:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1)  # PR_SET_DUMPABLE: as a process that always was nobody's
"""
HOLDER = f"""{BECOME_NOBODY}
path, what = sys.argv[1], sys.argv[2:]
model = tetris.attach(path)
names = ["common"] if "common" in what else list(model)
arrays = [model.tensor(name, writable="write" in what) for name in names]
touched = sum(int(a.view("u1").sum()) for a in arrays)
if "write" in what:
    arrays[0][0] = 1
if "close" in what:
    model.release()
if "fork" in what:
    child = os.fork()
    print(child or os.getpid(), flush=True)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold(daemon):
    """Starts a process that holds a model."""
    children = []

    def start(path, what="read", prefix=(), **environment):
        child = subprocess.Popen(
            [*map(str, prefix), *PYTHON, "-c", HOLDER, str(path), *what.split()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TETRIS_SOCKET": str(daemon.socket), **environment},
        )
        children.append(child)
        assert child.stdout.readline(), "it holds the model"
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def ps(daemon, capsys):
    """Its rows, by pid."""

    def call(*arguments):
        code = main(["ps", "--json", f"--root={daemon.root}", *arguments])
        out = capsys.readouterr()
        assert code == 0, out.err
        rows = json.loads(out.out)["processes"]
        return {row["pid"]: row for row in rows if row["pid"] != os.getpid()}

    return call


@pytest.fixture
def model(tmp_path, daemon):
    return random_model(tmp_path / "models" / "m" / "1", tensors=3, kib=64)


def test_two_processes_that_map_a_model_share_its_pages(model, hold, ps):
    pids = {hold(model).pid for _ in range(2)}
    rows = ps()
    assert set(rows) == pids
    for row in rows.values():
        assert row["model"] == "m/1"
        assert row["bytes_mapped"] == 3 * 64 * KIB
        assert row["bytes_proportional"] == 3 * 64 * KIB // 2
        assert row["bytes_copied"] == row["bytes_unlinked"] == 0
        assert row["user"] == pwd.getpwuid(os.geteuid()).pw_name
        assert str(model) in row["command"]
        assert row["process_private"] > 0


def test_it_is_the_same_when_the_daemon_is_dead(model, hold, ps, daemon):
    pid = hold(model).pid
    before = ps()[pid]
    daemon.kill()
    assert ps()[pid]["bytes_mapped"] == before["bytes_mapped"] == 3 * 64 * KIB
    assert ps()[pid]["model"] == "m/1"


def test_pages_that_a_process_has_written_to_are_its_own(model, hold, ps):
    pid = hold(model, "write").pid
    assert 0 < ps()[pid]["bytes_copied"] < 64 * KIB


def test_a_forked_child_is_a_process_of_its_own(model, hold, ps):
    child = hold(model, "fork")
    rows = ps()
    assert len(rows) == 2
    assert child.pid in rows
    assert {row["bytes_mapped"] for row in rows.values()} == {3 * 64 * KIB}


def test_a_killed_process_is_gone_at_once(model, hold, ps):
    child = hold(model)
    assert child.pid in ps()
    child.kill()
    child.wait()
    assert ps() == {}


@pytest.mark.skipif(not can_mount(), reason="needs leave to mount")
def test_a_process_that_sees_the_view_under_another_path_is_found(model, hold, ps, daemon):
    """Files are told by their numbers: a container shows a path of its own."""
    mount = 'mkdir "$1" && mount --bind "$2" "$1" && mount -t tmpfs none "$3" && shift 3'
    where = model.parent / "view"
    view = daemon.root / "tenants" / "default"
    shell = ["unshare", "-m", "sh", "-c", mount + ' && exec "$@"', "sh", where, view, daemon.root]
    pid = hold(model, prefix=shell, TETRIS_VIEW=str(where)).pid
    maps = proc.PROC.joinpath(str(pid), "maps").read_text()
    assert f"{where}/" in maps
    assert str(daemon.root) not in maps
    assert ps()[pid]["bytes_mapped"] == 3 * 64 * KIB


def test_segments_that_lost_their_names_are_shown_and_told(model, hold, ps, daemon, capsys):
    pid = hold(model).pid
    daemon.kill()
    for place in ("objects/_shared", "tenants/default"):
        for file in (daemon.root / place).iterdir():
            file.unlink()
    row = ps()[pid]
    assert row["bytes_unlinked"] == row["bytes_mapped"] == 3 * 64 * KIB
    assert row["model"] == "m/1"
    main(["ps", f"--root={daemon.root}"])
    assert "192.0 KiB of this has no name any more" in capsys.readouterr().out


def test_a_shared_segment_counts_for_the_models_that_the_process_attached(
    tmp_path, daemon, hold, ps
):
    """Who maps only what versions 1 and 2 share is a user of the one that it has attached."""
    common = ((4096,), floats(*range(4096)))
    paths = [
        write_model(
            tmp_path / "models" / "v" / str(version),
            {"common": common, "own": ((4096,), floats(*([version] * 4096)))},
        )
        for version in (1, 2)
    ]
    first, second = (hold(path, "common").pid for path in paths)
    assert {pid: row["model"] for pid, row in ps().items()} == {first: "v/1", second: "v/2"}
    assert set(ps("v/2")) == {second}


def test_what_outlives_its_lease_counts_for_the_model_that_explains_it(model, hold, ps, daemon):
    pid = hold(model, "close").pid
    wait_until(lambda: not list((daemon.root / "leases/default").iterdir()), what="the release")
    assert ps()[pid]["model"] == "m/1"
    assert ps()[pid]["bytes_mapped"] == 3 * 64 * KIB


def test_a_view_is_enough_to_tell_the_model(model, hold, daemon, capsys):
    """A container has no root and no manifests: what it holds a lease of is what it maps."""
    pid = hold(model).pid
    view = daemon.root / "tenants" / "default"
    assert main(["ps", "--json", f"--root={view}"]) == 0
    rows = json.loads(capsys.readouterr().out)["processes"]
    assert [(r["pid"], r["model"], r["bytes_mapped"]) for r in rows] == [(pid, "m/1", 192 * KIB)]


def test_the_largest_share_comes_first(tmp_path, model, hold, daemon, capsys):
    large = random_model(tmp_path / "models" / "large", tensors=1, kib=1024)
    pids = [hold(model).pid, hold(large).pid]
    assert main(["ps", f"--root={daemon.root}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = [int(line.split()[0]) for line in lines[1:]]
    assert [pid for pid in shown if pid in pids] == pids[::-1]


def test_a_model_that_nobody_published_has_its_own_code(daemon, model, hold, capsys):
    hold(model)
    assert main(["ps", "nope", f"--root={daemon.root}"]) == 4
    assert "no model 'nope'" in capsys.readouterr().err


def test_no_root_is_one_sentence(tmp_path, capsys):
    assert main(["ps", f"--root={tmp_path}/none"]) == 4
    assert "with --root" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_user_is_told_of_what_it_may_not_read(model, hold, daemon, tmp_path):
    """It sees its own processes' models and the number of the others; nothing fails."""
    daemon.stop()
    daemon.flags += ("--socket-mode=666",)
    let_through(tmp_path, model, daemon.root.parent, daemon.socket.parent)
    for path in (model, *model.rglob("*")):
        path.chmod(0o755)
    daemon.start()
    hold(model)
    own = hold(model, "read nobody").pid
    look = f"{BECOME_NOBODY}\nsys.exit(tetris.cli.main.main(sys.argv[2:]))"
    done = run_python(look, "nobody", "ps", "--json", f"--root={daemon.root}")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(r["pid"], r["model"]) for r in found["processes"]] == [(own, "m/1")]
    assert found["unreadable"] > 0


@pytest.mark.parametrize("kind", ["a pipe", "without an end"])
def test_what_is_no_manifest_is_not_waited_for_and_takes_no_memory(kind, memory, capsys):
    """Whoever is named a root by somebody else finds there what that one wants."""
    file = memory / "models/default" / ("ab" * 32)
    file.parent.mkdir(parents=True)
    if kind == "a pipe":
        os.mkfifo(file)
        end = os.open(file, os.O_RDWR)
    else:
        end = os.open(file, os.O_RDWR | os.O_CREAT)
        os.truncate(end, 1 << 50)
    try:
        assert main(["ps", "--json", f"--root={memory}"]) == 0
        assert json.loads(capsys.readouterr().out)["processes"] == []
    finally:
        os.close(end)


def test_a_lease_that_is_nested_without_an_end_is_one_of_no_model(memory, capsys):
    segment, lease = memory / ("ab" * 32), memory / ("cd" * 8)
    segment.write_bytes(bytes(4096))
    lease.write_bytes(b"[" * 4096)
    held = [numpy.memmap(path, mode="r") for path in (segment, lease)]
    assert main(["ps", "--json", f"--root={memory}"]) == 0
    rows = json.loads(capsys.readouterr().out)["processes"]
    assert [(row["pid"], row["model"]) for row in rows] == [(os.getpid(), "?")]
    del held


def test_a_view_that_this_user_cannot_reach_is_no_root(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    look = f"{BECOME_NOBODY}\nsys.exit(tetris.cli.main.main(['ps']))"
    done = run_python(look, "nobody", TETRIS_VIEW=str(closed / "view"), TETRIS_ROOT="")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 4)  # there may be a root where it is by default


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (f"0::/system.slice/docker-{'ab' * 32}.scope\n", "docker abababababab"),
        (f"12:memory:/docker/{'cd' * 32}\n0::/\n", "docker cdcdcdcdcdcd"),
        (f"0::/machine.slice/libpod-{'12' * 32}.scope/container\n", "podman 121212121212"),
        (f"4:memory:/libpod_parent/libpod-{'12' * 32}\n", "podman 121212121212"),
        (
            f"0::/kubepods.slice/x.slice/cri-containerd-{'0f' * 32}.scope\n",
            "containerd 0f0f0f0f0f0f",
        ),
        (f"9:pids:/kubepods/besteffort/pod1/{'0e' * 32}\n", "0e0e0e0e0e0e"),
        ("0::/machine.slice/machine-deb.scope/payload\n", "machine deb"),
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("0::/user.slice/user-1.slice/session-3.scope\n", "session-3.scope"),
        ("3:cpu:/\n1:name=systemd:/system.slice/cron.service\n", "cron.service"),
        ("0::/\n", "-"),
        ("", "-"),
    ],
)
def test_a_control_group_is_told_in_short(text, short):
    assert proc.place_of(text) == short
