"""A daemon whose settings a test writes anew while it runs."""

from __future__ import annotations

import signal
from pathlib import Path

from support.daemon import Daemon, wait_until
from tetris.rpc import AdminRpc
from tetris.v1 import admin_pb2


class ReloadedDaemon(Daemon):
    """A daemon whose file a test writes anew."""

    def __init__(self, directory: Path, root: Path, text: str) -> None:
        self.file = directory / "tetrisd.toml"
        super().__init__(directory, root=root, config=text)

    def write(self, text: str) -> None:
        """Have other settings, which nobody has read yet."""
        self.file.write_text(text)

    def reload(self, text: str) -> admin_pb2.ReloadResponse:
        """Have other settings."""
        self.write(text)
        return self.admin("Reload", admin_pb2.ReloadRequest())

    def hang_up(self, text: str) -> str:
        """The same by a signal; what the log says of it."""
        self.write(text)
        said = self.log.count("settings")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log.count("settings") > said, what="the reload")
        return self.log.splitlines()[-1]


def tenant(directory: Path, name: str, *lines: str, socket: str | Path = "") -> str:
    """The table of a tenant."""
    return "\n".join(
        [f"[tenants.{name}]", f'socket = "{socket or directory / name / "s"}"', *lines, ""]
    )


def names(daemon: Daemon) -> list[str]:
    """Every tenant that there is."""
    listed = AdminRpc(daemon.admin_socket).collect
    return listed("ListTenants", admin_pb2.ListTenantsRequest(), lambda t: t.name)
