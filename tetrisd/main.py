"""``tetrisd``: settings, the daemon, and the wait for signals."""

from __future__ import annotations

import functools
import logging
import resource
import signal
import sys
from collections.abc import Callable, Sequence

from tetris.errors import TetrisError
from tetrisd import logs, steps
from tetrisd import settings as settings_module
from tetrisd.daemon import Daemon
from tetrisd.settings import Settings

log = logging.getLogger("tetrisd")

_STOP = {signal.SIGTERM, signal.SIGINT}
_RELOAD = signal.SIGHUP


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon in the foreground until SIGTERM or SIGINT; the exit status."""
    given = sys.argv[1:] if arguments is None else arguments
    settings = settings_module.parse(given)
    logs.begin(settings.log_level, settings.log_format)
    # Blocked before any thread starts, so that all inherit it and only sigwait sees them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_STOP, _RELOAD})
    try:
        run(settings, functools.partial(settings_module.read, given))
    except (TetrisError, OSError) as refused:
        print(f"tetrisd: {refused}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def run(settings: Settings, read: Callable[[], Settings]) -> None:
    """Serve one root on its tenants' sockets until a signal comes.

    Args:
        settings: of this start.
        read: reads them again, for SIGHUP.

    Raises:
        TetrisError: the root or a socket cannot be had.
    """
    steps.reached("start: begins")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    daemon = Daemon(settings, read)
    why = "the start failed"
    try:
        daemon.start()
        while (caught := signal.sigwait({*_STOP, _RELOAD})) == _RELOAD:
            _reload(daemon)
        why = signal.Signals(caught).name
    finally:
        daemon.stop(why)


def _reload(daemon: Daemon) -> None:
    """Whatever is wrong with the settings, the daemon goes on with those it has."""
    try:
        daemon.reload()
    except TetrisError:
        pass  # it is said
    except Exception:
        log.exception("the settings are not read again")
