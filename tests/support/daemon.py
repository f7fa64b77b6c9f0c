"""A real tetrisd in a temporary root, and its end."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

from tetris.rpc import AdminRpc

# An interpreter that the kernel ends when the test run ends, in any way. Not by a preexec_fn: that
# makes Python fork, and gRPC's threads of the test run then reach into the child before it starts.
PYTHON = ("setpriv", "--pdeathsig", "KILL", "--", sys.executable)


def die_with_parent() -> None:
    """For a child that was forked: the same."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def wait_until(condition, seconds: float = 20.0, what: str = "it") -> None:
    """Poll ``condition`` until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


class Daemon:
    """One tetrisd process; a context manager that stops it."""

    def __init__(
        self, directory: Path, *flags: str, root: Path | None = None, config: str = ""
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.root = root or directory / "root"
        # With a config of its own, this is only the first tenant's by convention.
        self.socket = directory / "run" / "tetrisd.sock"
        self.admin_socket = directory / "admin" / "tetrisd.sock"
        self.flags = flags
        self.config = config
        self.program: tuple[str, ...] = ("-m", "tetrisd")
        if config:
            (directory / "tetrisd.toml").write_text(config)
            self.flags += (f"--config={directory / 'tetrisd.toml'}",)
        self._log = directory / "tetrisd.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text()

    def start(self, *, wait: bool = True) -> Daemon:
        lines = self._log.read_text().count("ready on") if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *PYTHON,
                    *self.program,
                    f"--root={self.root}",
                    f"--admin-socket={self.admin_socket}",
                    *([] if self.config else [f"--socket={self.socket}"]),
                    *self.flags,
                ],
                stderr=log,
            )
        if wait:
            wait_until(
                lambda: self.log.count("ready on") > lines or self.process.poll() is not None,
                what="tetrisd's start",
            )
            assert self.process.poll() is None, self.log
        return self

    def admin(self, method: str, request: object) -> object:
        """One call on the admin socket."""
        return AdminRpc(self.admin_socket).call(method, request)

    def stop(self, how: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(30)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def __enter__(self) -> Daemon:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.stop()


def files_under(root: Path) -> set[str]:
    """Every file of a root that holds state: what "the store is unchanged" is about."""
    return {
        str(p.relative_to(root))
        for p in root.rglob("*")
        if p.is_file() and p.name not in ("lock", "version")
    }


def run_python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh interpreter that dies with this one."""
    return subprocess.run(
        [*PYTHON, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **environment},
    )
