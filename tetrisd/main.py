"""The composition root: settings, root, store, server, and the wait for a signal."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Sequence

from tetris.errors import TetrisError
from tetrisd import settings as settings_module
from tetrisd.library import Library
from tetrisd.root import Root
from tetrisd.server import serve
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
    """Serve one root on one socket until a signal comes.

    Raises:
        TetrisError: the root or the socket cannot be had.
    """
    root = Root(settings.root, settings.socket_mode)
    try:
        store = Store(root)
        store.recover()
        stopping = threading.Event()
        servicer = Servicer(store, Library(settings.model_root), settings.idle_seconds, stopping)
        server = serve(servicer, settings.socket, settings.socket_mode)
        log.info("ready on %s; %s", settings.socket, _huge_pages(root))
        caught = signal.sigwait(_SIGNALS)
        log.info("%s: stopping", signal.Signals(caught).name)
        # Order matters: publishes give up, no new calls, the old ones end to the last thread, the
        # socket goes, and only then is the root free for another daemon.
        stopping.set()
        server.stop(_STOP_SECONDS)
    finally:
        root.close()


def _huge_pages(root: Root) -> str:
    if root.huge_pages:
        return "huge pages are in effect"
    return (
        f"huge pages are NOT in effect on {root.path}: publish and attach are slower, "
        "mount its tmpfs with huge=within_size"
    )
