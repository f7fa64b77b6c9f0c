"""What systemd wants to know of a service with ``Type=notify``: see ``sd_notify(3)``.

The protocol is a line or two in a datagram, and no library that is kept up is smaller than it.
"""

from __future__ import annotations

import os
import socket
import time

# A service manager that takes nothing for so long is not waited for.
_SECONDS = 1.0


def ready(status: str) -> None:
    """Everything answers."""
    _say("READY=1", f"STATUS={status}")


def reloading() -> None:
    """The settings are being read; :func:`ready` ends it."""
    _say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def stopping() -> None:
    """The end has begun."""
    _say("STOPPING=1")


def alive() -> None:
    """The work goes on: without this the watchdog, if it is set, starts another daemon."""
    _say("WATCHDOG=1")


def _say(*lines: str) -> None:
    """Tell the service manager, if one started us; that it is gone is no reason to fail."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where[:1] not in ("/", "@"):
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(_SECONDS)
            sender.sendto("\n".join(lines).encode(), address)
    except OSError:
        pass
