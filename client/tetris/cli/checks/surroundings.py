"""Where the doctor looks: found out once, when a check first asks."""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from tetris.cli.resident import DEFAULT_ROOT, Resident
from tetris.errors import NotFoundError, TetrisError
from tetris.mount import Mount, mount_of, mounts
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

UNIT = "tetrisd.service"
MOUNT_UNIT = "dev-shm-tetris.mount"
# What a call, a connection or a helper program may take.
SECONDS = 3.0
_ENGINES = (("/run/.containerenv", "podman"), ("/.dockerenv", "docker"))
_IN_CONTAINER = re.compile(r"docker|libpod|kubepods|containerd|/lxc|crio")


@cache
def unit(name: str) -> dict[str, str]:
    """What systemd says of a unit; nothing when it does not answer."""
    names = "LoadState,ActiveState,UnitFileState,RuntimeDirectory,RuntimeDirectoryPreserve,MainPID"
    try:
        done = subprocess.run(  # noqa: S603
            ["systemctl", "show", name, f"--property={names}"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(re.findall(r"^(\w+)=(.*)$", done.stdout, re.M))


class Largest(NamedTuple):
    """The most that any published model asks of a process."""

    segments: int
    nbytes: int


class Surroundings:
    """The daemon's socket and root, and what this process is in.

    Args:
        socket: the tenant's.
        root: the daemon's.
    """

    def __init__(self, socket: Path, root: Path) -> None:
        self.socket = socket
        self.root = root

    @cached_property
    def container(self) -> str:
        """The engine of the container that this process is in; empty outside of one."""
        for file, engine in _ENGINES:
            if Path(file).exists():
                return engine
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            return "kubernetes"
        with suppress(OSError):
            return Path("/run/systemd/container").read_text().strip()
        with suppress(OSError):
            if _IN_CONTAINER.search(Path("/proc/1/cgroup").read_text()):
                return "container"
        return ""

    @cached_property
    def guest(self) -> bool:
        """Whether this process is in a container, and the daemon is not."""
        return bool(self.container) and not self.daemon_pid and not (self.root / "objects").is_dir()

    @property
    def one_mount(self) -> str:
        """How a container gets the socket and the view: the view has a socket too."""
        view = DEFAULT_ROOT / "tenants" / "default"
        return f"{self.engine} run -v {view}:{self.socket.absolute().parent}:ro …"

    @property
    def engine(self) -> str:
        """The command that starts containers."""
        return self.container if self.container in ("podman", "docker") else "podman"

    @cached_property
    def has_systemd(self) -> bool:
        """Whether systemd runs this host."""
        return Path("/run/systemd/system").is_dir()

    @cached_property
    def mounts(self) -> list[Mount]:
        """Every mount that this process sees."""
        return mounts()

    @cached_property
    def mount(self) -> Mount | None:
        """That of the root; None without one, and in a container: it is the host's affair."""
        if self.guest:
            return None
        try:
            return mount_of(os.stat(self.root).st_dev, str(self.root))
        except (OSError, NotFoundError):
            return None

    @cached_property
    def view(self) -> Path:
        """The tenant's view, where :func:`tetris.settings.view_path` will look for it."""
        if named := os.environ.get("TETRIS_VIEW"):
            return Path(named)
        beside = self.socket.absolute().parent
        here = [mount for mount in self.mounts if mount.point == str(beside)]
        is_view = here and here[-1].kind == "tmpfs" and "/tenants/" in here[-1].root
        return beside if is_view or self.guest else self.root / "tenants" / "default"

    @cached_property
    def resident(self) -> Resident | None:
        """What the root's files say; None without a root."""
        try:
            return Resident(self.root, os.stat(self.root).st_dev).read()
        except OSError:
            return None

    @cached_property
    def daemon_pid(self) -> int:
        """Who listens on the socket; 0 when nobody does, or it is none of our processes."""
        with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
            asking.settimeout(SECONDS)
            asking.connect(str(self.socket))
            peer = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid: int = struct.unpack("3i", peer)[0]
            return pid
        return 0

    @cached_property
    def stats(self) -> pb.GetStatsResponse | TetrisError:
        """The daemon's answer, or why there is none."""
        try:
            answer = Rpc(self.socket).call("GetStats", pb.GetStatsRequest(), timeout=SECONDS)
        except TetrisError as failed:
            return failed
        assert isinstance(answer, pb.GetStatsResponse)
        return answer

    @cached_property
    def largest(self) -> Largest | None:
        """Of the published models that this user can learn of; None when there are none."""
        manifests = self.resident.manifests.values() if self.resident else []
        sizes = [(len(m.segments), m.nbytes) for m in manifests]
        if not sizes and isinstance(self.stats, pb.GetStatsResponse):
            with suppress(TetrisError):
                sizes = Rpc(self.socket).collect(
                    "ListModels", pb.ListModelsRequest(), lambda m: (m.tensors, m.nbytes)
                )
        if not sizes:
            return None
        return Largest(max(s for s, _ in sizes), max(n for _, n in sizes))
