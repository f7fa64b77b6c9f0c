"""A clean Debian with a systemd of its own, in a container, and nothing left of it afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.daemon import wait_until

REPOSITORY = Path(__file__).parents[2]
# An engine of the run's own: no store, no network and no configuration of this machine's. Locks in
# files, since those in shared memory are common to all engines of a host, and stay.
_CONFIGURATION = """
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
"""
# Services of a boot that set what the whole host shares: not for a machine in a container.
_NOT_STARTED = ("systemd-sysctl", "systemd-binfmt", "systemd-modules-load")
# Sysctls that change by themselves, or mean nothing when they are read.
_LIVELY = ("compact_memory", "drop_caches", "ns_last_pid", "random", "printk")
# What a systemd needs to have services, mounts and sandboxes of its own. Of the control groups only
# two: with all of them writable inside, systemd would make the host's read-only.
_LIKE_A_HOST = (
    "--network=none",
    "--systemd=always",
    "--cap-add=SYS_ADMIN,NET_ADMIN,SYS_PTRACE,MKNOD",
    "--security-opt=seccomp=unconfined",
    "--security-opt=unmask=ALL",
    "--cgroupns=host",
    "--volume=/sys/fs/cgroup/memory:/sys/fs/cgroup/memory:rw",
    "--volume=/sys/fs/cgroup/pids:/sys/fs/cgroup/pids:rw",
    *(f"--volume=/dev/null:/usr/lib/systemd/system/{s}.service:ro" for s in _NOT_STARTED),
)


class Engine:
    """A podman whose images and containers are in one directory."""

    def __init__(self, directory: Path) -> None:
        self._flags = tuple(
            f"--{what}={directory}/{where}"
            for what, where in (("root", "store"), ("runroot", "run"), ("tmpdir", "tmp"))
        )
        settings = directory / "containers.conf"
        settings.write_text(_CONFIGURATION)
        self.containers: list[str] = []
        self._environment = {**os.environ, "CONTAINERS_CONF": str(settings)}

    def __call__(self, *words: str, check: bool = True, seconds: float = 120) -> str:
        done = self.run(*words, seconds=seconds)
        assert not check or done.returncode == 0, f"podman {' '.join(words)}: {done.stderr}"
        return done.stdout

    def run(
        self, *words: str, seconds: float = 120, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["podman", *self._flags, *words],
            env=self._environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def popen(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["podman", *self._flags, *words],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


@contextmanager
def engine() -> Iterator[Engine]:
    """One for the run; its containers, images, control groups and what it set end with it."""
    before = _sysctls()
    used_before = set(Path("/sys/fs/cgroup").glob("*/libpod_parent"))
    directory = Path(tempfile.mkdtemp(prefix="tetris-podman-"))
    podman = Engine(directory)
    try:
        yield podman
    finally:
        podman("rm", "--all", "--force", "--time=2", check=False)
        podman("rmi", "--all", "--force", check=False)
        # podman keeps its store mounted on itself.
        subprocess.run(["umount", "-l", directory / "store/overlay"], capture_output=True)
        shutil.rmtree(directory)
        for file, value in _sysctls().items() - before.items():
            print(f"{file} became {value.strip()}: set back")
            file.write_text(before[file])
        for group in _control_groups(podman.containers):
            wait_until(lambda group=group: _removed(group), what=f"the end of {group}")
        for parent in set(Path("/sys/fs/cgroup").glob("*/libpod_parent")) - used_before:
            _removed(parent / "conmon")
            _removed(parent)  # unless somebody else uses it by now


def _sysctls() -> dict[Path, str]:
    """Those that container engines set, and whatever else a boot might."""
    return {
        file: file.read_text()
        for area in ("vm", "kernel", "fs", "net/ipv4")
        for file in Path("/proc/sys", area).iterdir()
        if file.is_file() and file.stat().st_mode & 0o600 == 0o600 and file.name not in _LIVELY
    }


def _control_groups(containers: list[str]) -> list[Path]:
    """Those of these containers, deepest first."""
    found = [Path(directory) for directory, _, _ in os.walk("/sys/fs/cgroup")]
    return sorted((g for g in found if any(c in str(g) for c in containers)), reverse=True)


def _removed(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        pass
    except OSError:  # its last process is about to end
        return False
    return True


class Machine:
    """One container that has booted."""

    def __init__(self, podman: Engine, image: str, *volumes: str) -> None:
        self._podman = podman
        mounts = [f"--volume={volume}" for volume in volumes]
        self._id = podman("run", "-d", *_LIKE_A_HOST, *mounts, image).strip()
        podman.containers.append(self._id)
        self.wait_for_boot()

    def wait_for_boot(self) -> None:
        """Until everything that a boot starts has started, or failed."""
        self.wait_until("systemctl is-system-running | grep -E 'running|degraded'", "the boot")

    def sh(self, script: str, *, user: str = "root", check: bool = True) -> str:
        """What a shell prints; with ``check`` it has to succeed."""
        done = self.try_sh(script, user=user)
        assert not check or done.returncode == 0, f"{script}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def try_sh(self, script: str, *, user: str = "root") -> subprocess.CompletedProcess[str]:
        return self._podman.run("exec", f"--user={user}", self._id, "sh", "-c", script)

    def start(self, *command: str, user: str = "root") -> subprocess.Popen[str]:
        """A process inside, with pipes; it ends with its input, or with the machine."""
        return self._podman.popen("exec", "-i", f"--user={user}", self._id, *command)

    def put(self, path: str, text: str) -> None:
        done = self._podman.run("exec", "-i", self._id, "sh", "-c", f"cat >{path}", text=text)
        assert done.returncode == 0, done.stderr

    def wait_until(self, script: str, what: str, seconds: float = 60) -> str:
        """Poll a command until it succeeds."""
        deadline = time.monotonic() + seconds
        while (done := self.try_sh(script)).returncode:
            assert time.monotonic() < deadline, f"{what}: {script}: {done.stdout}{done.stderr}"
            time.sleep(0.05)
        return done.stdout.strip()

    def reboot(self) -> None:
        """Stop everything and boot again: what is in memory is gone, the file system stays."""
        self._podman("restart", "--time=30", self._id)
        self.wait_for_boot()

    def traces(self) -> set[str]:
        """What a service may leave: files, mounts, users, groups and units."""
        # Not ours: systemd's own notes, backups of the password files, what a booted system writes.
        files = self.sh(
            "find / /run /dev/shm -xdev -not -path '/proc*' -not -path '/run/systemd*'"
            " -not -path '/var/log/*' -not -path '/tmp/*' -not -path '/var/tmp/*'"
            " -not -path '/etc/*-' -not -path '/etc/.pwd.lock'"
        )
        others = self.sh("cat /etc/passwd /etc/group /proc/mounts; systemctl list-unit-files -q")
        return {*files.splitlines(), *others.splitlines()}

    def stop_and_keep(self, image: str) -> None:
        """Make an image of what is on its file system now."""
        self._podman("stop", "--time=30", self._id)
        self._podman("commit", "-q", self._id, image)
        self.remove()

    def remove(self) -> None:
        self._podman("rm", "--force", "--time=5", self._id)
