"""A container engine of a test run's own: nothing of the user's podman is touched, nothing is left.

``python -m support.podman COMMAND …`` gives a command such an engine, in a process and a mount
namespace that end with it, whatever becomes of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
NEEDED = ("podman", "runc", "conmon", "unshare")
# What container engines set on a host, for good.
_SYSCTLS = (
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "net/ipv4/ip_forward",
)

# runc, since crun refuses hybrid control groups; files for locks, since those in shared memory are
# common to all engines of a host; limits that may be had without CAP_SYS_RESOURCE.
_ENGINE = """
[containers]
cgroups = "enabled"
default_ulimits = ["nofile=20000:20000", "nproc=32768:32768"]
log_driver = "k8s-file"
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
image_default_transport = "oci-archive:"
lock_type = "file"
runtime = "runc"
static_dir = "{top}/libpod"
tmp_dir = "{top}/tmp"
volume_path = "{top}/volumes"
[network]
network_config_dir = "{top}/networks"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{top}/storage"
runroot = "{top}/run"
"""


def missing() -> str:
    """What keeps this machine from running containers; empty when nothing does."""
    if os.geteuid():
        return "needs root"
    absent = [name for name in NEEDED if not shutil.which(name)]
    return f"needs {', '.join(absent)}: see tools/system-packages" if absent else ""


class Podman:
    """An engine whose files are all below ``top``.

    Attributes:
        environment: makes a plain ``podman`` use it.
        parent: control group, below which its containers are.
    """

    def __init__(self, top: Path) -> None:
        self.top = top
        self.parent = f"/{top.name}"
        (top / "containers.conf").write_text(_ENGINE.format(top=top))
        (top / "storage.conf").write_text(_STORAGE.format(top=top))
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(top / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(top / "storage.conf"),
            "TMPDIR": str(top),
        }

    def __call__(
        self, *arguments: object, check: bool = True, timeout: float = 600, text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["podman", *map(str, arguments)],
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.environment,
            cwd=self.top,  # conmon leaves a file `oom` there when a container is killed
        )
        assert not check or done.returncode == 0, f"podman {arguments[0]}: {done.stderr[-3000:]}"
        return done

    def inspect(self, container: str) -> dict:
        """What the engine knows of a container."""
        return json.loads(self("inspect", "--type=container", container).stdout)[0]

    def pid(self, container: str) -> int:
        """Of the container's first process."""
        return self.inspect(container)["State"]["Pid"]

    def close(self) -> None:
        """Remove containers, images and control groups."""
        self("rm", "--force", "--all", "--time=0", check=False)
        self("rmi", "--force", "--all", check=False)
        for parent in (self.parent, "/libpod_parent"):  # the second is where podman has its own
            for group in sorted(CGROUPS.glob(f"*{parent}/**/"), reverse=True):
                with suppress(OSError):  # somebody else's is in use
                    group.rmdir()


@contextmanager
def engine() -> Iterator[Podman]:
    """An engine, gone at the end with all that it made or set."""
    before = {name: Path("/proc/sys", name).read_text() for name in _SYSCTLS}
    top = Path(tempfile.mkdtemp(prefix="tetris-containers-"))
    podman = Podman(top)
    try:
        yield podman
    finally:
        podman.close()
        shutil.rmtree(top, ignore_errors=True)
        for name, value in before.items():
            if Path("/proc/sys", name).read_text() != value:
                Path("/proc/sys", name).write_text(value)


def main(command: list[str]) -> int:
    """Run ``command`` with an engine of its own."""
    if why := missing():
        sys.stderr.write(f"{why}\n")
        return 1
    if os.getpid() != 1:
        # With this process ends the namespace, and with that every container.
        spaces = ("--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        os.execvp("unshare", ["unshare", *spaces, sys.executable, "-m", "support.podman", *command])
    with engine() as podman:
        return subprocess.run(command, env=podman.environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
