"""A clean Debian with a systemd of its own, in a container, and nothing left of it afterwards."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from support.podman import Podman

REPOSITORY = Path(__file__).parents[2]
# Services of a boot that set what the whole host shares: not for a machine in a container.
_NOT_STARTED = ("systemd-sysctl", "systemd-binfmt", "systemd-modules-load")
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


class Machine:
    """One container that has booted."""

    def __init__(self, podman: Podman, image: str, *volumes: str) -> None:
        self._podman = podman
        mounts = [f"--volume={volume}" for volume in volumes]
        self._id = podman("run", "-d", *_LIKE_A_HOST, *mounts, image).stdout.strip()
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
        words = ("exec", f"--user={user}", self._id, "sh", "-c", script)
        return self._podman(*words, check=False, timeout=120)

    def start(self, *command: str, user: str = "root") -> subprocess.Popen[str]:
        """A process inside, with pipes; it ends with its input, or with the machine."""
        return subprocess.Popen(
            ["podman", "exec", "-i", f"--user={user}", self._id, *command],
            env=self._podman.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def put(self, path: str, text: str) -> None:
        self._podman("exec", "-i", self._id, "sh", "-c", f"cat >{path}", text=text)

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
