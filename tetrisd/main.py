"""The composition root: settings, root, store, server, and the wait for a signal."""

from __future__ import annotations

import logging
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from tetris.errors import TetrisError
from tetrisd import settings as settings_module
from tetrisd import steps
from tetrisd.admin import Admin
from tetrisd.keeper import Keeper
from tetrisd.library import Library
from tetrisd.root import Root
from tetrisd.server import Server, serve_admin, serve_tenant
from tetrisd.service import Servicer
from tetrisd.settings import Settings
from tetrisd.store import Store

log = logging.getLogger("tetrisd")

_STOP_SECONDS = 5
_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT; the exit status."""
    settings = settings_module.parse(sys.argv[1:] if arguments is None else arguments)
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Blocked before any thread starts, so that all inherit it and only sigwait sees them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        run(settings)
    except (TetrisError, OSError) as refused:
        print(f"tetrisd: {refused}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def run(settings: Settings) -> None:
    """Serve one root on its tenants' sockets until a signal comes.

    Raises:
        TetrisError: the root or a socket cannot be had.
    """
    steps.reached("start: begins")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    root = Root(settings.root)
    try:
        store = Store(root, settings)
        store.recover()
        stopping = threading.Event()
        keeper = Keeper(store, settings.scrub_rate, settings.scrub_every)
        servers: list[Server] = []
        try:
            for server in _servers(store, settings, stopping):
                servers.append(server)  # one by one: what is up is stopped if the next one fails
            keeper.start()
            steps.reached("start: ends")
            sockets = ", ".join(str(tenant.socket) for tenant in settings.tenants)
            log.info("ready on %s; %s", sockets, _huge_pages(root))
            caught = signal.sigwait(_SIGNALS)
            log.info("%s: stopping", signal.Signals(caught).name)
        finally:
            # Order matters: publishes give up, no new calls, the old ones end to the last thread,
            # the sockets go, and only then is the root free for another daemon.
            with steps.of("stop"):
                stopping.set()
                keeper.stop()
                for server in servers:
                    server.stop(_STOP_SECONDS)
    finally:
        root.close()


def _servers(store: Store, settings: Settings, stopping: threading.Event) -> Iterator[Server]:
    for tenant in settings.tenants:
        servicer = Servicer(
            store.tenant(tenant.name),
            Library(tenant.model_root),
            settings.idle_seconds,
            stopping,
        )
        view = store.tenant(tenant.name).view_fd()
        yield serve_tenant(servicer, tenant.socket, tenant.socket_mode, tenant.group, view)
    if settings.admin_socket is not None:
        yield serve_admin(Admin(store), settings.admin_socket)


def _huge_pages(root: Root) -> str:
    if root.huge_pages:
        return "huge pages are in effect"
    return (
        f"huge pages are NOT in effect on {root.path}: publish and attach are slower, "
        "mount its tmpfs with huge=within_size"
    )
