"""A root on a tmpfs of its own, and the daemons that follow each other on it."""

from __future__ import annotations

import signal
from pathlib import Path

import tetris
from support import invariants
from support.daemon import wait_until
from support.marks import Marks
from support.tmpfs import can_mount
from support.zygote import Child, Zygote
from tetris.errors import TetrisError
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

MODULES = ("tetrisd.main", "support.programs", "support.marks")


class Host:
    """One daemon at a time, each able to die at a step of its own."""

    def __init__(self, zygote: Zygote, mount: Path, directory: Path, *flags: str) -> None:
        self.zygote = zygote
        self.mount = mount
        self.root = mount / "root"
        self.socket = directory / "run" / "tetrisd.sock"
        self.admin_socket = directory / "admin" / "tetrisd.sock"
        self.models = directory / "models"
        self.models.mkdir()
        self.marks = Marks(directory / "daemon.marks")
        self.flags = flags
        self._log = directory / "tetrisd.log"
        self.daemon: Child | None = None

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self, *, step: str = "", occurrence: int = 0, **more) -> Child:
        """Start a daemon, which may die at a step of its start; ready, or dead, on return."""
        self.marks.clear()
        self.marks.arm(step, occurrence)
        lines = self.log.count("ready on")
        flags = [
            f"--root={self.root}",
            f"--socket={self.socket}",
            f"--admin-socket={self.admin_socket}",
            f"--model-root={self.models}",
            "--scrub-rate=0",
        ]
        self.daemon = self.zygote.fork(
            "tetrisd.main:main",
            [*flags, *self.flags],
            log=str(self._log),
            marks=str(self.marks.path),
            **more,
        )
        wait_until(
            lambda: self.log.count("ready on") > lines or self.daemon.poll() is not None,
            what="tetrisd's start",
        )
        if not occurrence:
            assert self.daemon.status is None, self.log
        return self.daemon

    def stop(self, how: int = signal.SIGTERM) -> int:
        if self.daemon.poll() is None:
            self.daemon.kill(how)
        return self.daemon.wait()

    def call(self, method: str, request):
        return Rpc(self.socket).call(method, request)

    def leases(self) -> list[pb.Lease]:
        """Those that hold or are pending; looking removes the others."""
        return Rpc(self.socket).collect("ListLeases", pb.ListLeasesRequest(), lambda lease: lease)

    def check(self) -> None:
        """No leaked byte, no wrong byte."""
        self.leases()
        found = [*invariants.leaked(self.root), *invariants.wrong(self.root)]
        if can_mount():
            found += invariants.unaccounted(self.mount)
        assert not found, found

    def comes_clean(self) -> None:
        """The same, once a call whose client is gone has been undone."""

        def clean() -> bool:
            try:
                self.check()
            except (AssertionError, OSError, TetrisError) as found:
                faults.append(found)
                return False
            return True

        faults: list[Exception] = []
        try:
            wait_until(clean, what="the clean-up")
        except AssertionError:
            raise faults[-1] from None

    def attach(self, path: Path) -> tetris.Model:
        return tetris.attach(path, socket=self.socket)

    def published(self, path: Path) -> bool:
        try:
            return bool(self.call("GetModel", pb.GetModelRequest(model=path.name)))
        except TetrisError:
            return False
