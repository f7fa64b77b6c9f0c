"""The daemon: one root, its store, the servers on it, and the settings they run with."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from tetris.errors import TetrisError, UnavailableError
from tetris.status import details_of
from tetrisd import logs, notify, steps
from tetrisd.admin import Admin
from tetrisd.clock import Clock
from tetrisd.events import Events, Kind, error_name
from tetrisd.keeper import Keeper
from tetrisd.library import Library
from tetrisd.root import Root
from tetrisd.server import Server, serve_admin, serve_tenant
from tetrisd.service import Servicer
from tetrisd.settings import Settings, TenantSettings, differences, reloaded
from tetrisd.store import Store

_STOP_SECONDS = 5


class Reloaded(NamedTuple):
    """What reading the settings again has changed, and what only another start will."""

    changed: list[str]
    needs_restart: list[str]


class Daemon:
    """Everything that serves one root, from :meth:`start` to :meth:`stop`.

    Args:
        settings: of this start.
        read: reads the settings again.

    Raises:
        TetrisError: the root cannot be had.
    """

    def __init__(self, settings: Settings, read: Callable[[], Settings]) -> None:
        self._settings = settings
        self._read = read
        self._reloading = threading.Lock()
        self._stopping = False
        self._tenants: dict[str, tuple[Server, Servicer]] = {}
        self._others: list[Stoppable] = []
        clock = Clock()
        self._events = Events(clock)
        self._events.listen(logs.EventLog())
        self._root = Root(settings.root)
        try:
            self._store = Store(self._root, settings, clock, self._events)
            self._keeper = Keeper(self._store, notify.alive)
            self._keeper.configure(settings.scrub_rate, settings.scrub_every)
        except BaseException:
            self._root.close()
            raise

    def start(self) -> None:
        """Read back what is there, and answer.

        Raises:
            TetrisError: a socket cannot be had. What is up by then ends with :meth:`stop`.
        """
        self._store.recover()
        for tenant in self._settings.tenants:
            self._serve(tenant)
        if self._settings.admin_socket is not None:
            admin = Admin(self._store, self._events, self.reload)
            self._others.append(serve_admin(admin, self._settings.admin_socket))
        if self._settings.metrics:
            self._others.append(self._serve_metrics(self._settings.metrics))
        self._keeper.start()
        steps.reached("start: ends")
        sockets = ", ".join(str(tenant.socket) for tenant in self._settings.tenants)
        self._events.say(Kind.DAEMON_READY, reason=f"ready on {sockets}; {_huge_pages(self._root)}")
        notify.ready(self._status())

    def reload(self) -> Reloaded:
        """Read the settings again, and take what can change under way.

        Raises:
            TetrisError: they cannot be right. Nothing has changed then.
        """
        with self._reloading:
            if self._stopping:
                raise UnavailableError("the daemon is stopping: the settings are not read again")
            notify.reloading()
            try:
                done = self._reload()
            except TetrisError as refused:
                error, reason = error_name(type(refused)), details_of(refused)
                self._events.say(Kind.SETTINGS_RELOADED, error=error, reason=reason)
                raise
            finally:
                notify.ready(self._status())
        said = [*done.changed, *(f"{line} (needs a restart)" for line in done.needs_restart)]
        self._events.say(Kind.SETTINGS_RELOADED, reason="; ".join(said) or "nothing is different")
        return done

    def stop(self, why: str) -> None:
        """Answer nobody any more, and give the root up."""
        # Order matters: publishes give up, no new calls, the old ones end to the last thread,
        # the sockets go, and only then is the root free for another daemon.
        try:
            with steps.of("stop"):
                self._events.say(Kind.DAEMON_STOPPING, reason=why)
                notify.stopping()
                with self._reloading:  # no tenant is served from here on that was not before
                    self._stopping = True
                for _, servicer in self._tenants.values():
                    servicer.end()
                self._keeper.stop()
                self._events.end()
                for server in [*(server for server, _ in self._tenants.values()), *self._others]:
                    server.stop(_STOP_SECONDS)
        finally:
            self._root.close()

    def _serve(self, tenant: TenantSettings) -> None:
        owner = self._store.tenant(tenant.name)
        servicer = Servicer(owner, self._events)
        servicer.configure(Library(tenant.model_root), self._settings.idle_seconds)
        server = serve_tenant(
            servicer, tenant.socket, tenant.socket_mode, tenant.group, owner.view_fd()
        )
        self._tenants[tenant.name] = server, servicer

    def _serve_metrics(self, where: str) -> Stoppable:
        from tetrisd.metrics import Metrics  # for who asks for them
        from tetrisd.scrape import serve

        metrics = Metrics(self._store, self._keeper)
        self._events.listen(metrics.count)
        return serve(metrics.registry, where)

    def _reload(self) -> Reloaded:
        old, wanted = self._in_force(), self._read()
        settings = reloaded(old, wanted)
        # What can fail comes first: then all of it is taken, or nothing.
        self._begin([t for t in settings.tenants if t.name not in self._tenants])
        self._settings = settings
        self._end(self._tenants.keys() - {t.name for t in settings.tenants})
        logging.getLogger().setLevel(settings.log_level)
        self._store.configure(settings)
        self._keeper.configure(settings.scrub_rate, settings.scrub_every)
        for tenant in settings.tenants:
            _, servicer = self._tenants[tenant.name]
            servicer.configure(Library(tenant.model_root), settings.idle_seconds)
        return Reloaded(differences(old, settings), differences(settings, wanted))

    def _in_force(self) -> Settings:
        """The settings with the quotas that administrators gave since they were read."""
        tenants = tuple(self._store.tenant(t.name).settings for t in self._settings.tenants)
        return dataclasses.replace(self._settings, tenants=tenants)

    def _begin(self, tenants: Sequence[TenantSettings]) -> None:
        """Serve more tenants, or none of them."""
        self._store.add(tenants)
        try:
            for tenant in tenants:
                self._serve(tenant)
        except BaseException:
            self._end({tenant.name for tenant in tenants})
            self._store.abandon()
            raise

    def _end(self, tenants: set[str]) -> None:
        """Serve tenants no more; what they have goes with its last user."""
        for name in tenants & self._tenants.keys():
            server, servicer = self._tenants.pop(name)
            servicer.end()
            server.stop(_STOP_SECONDS)

    def _status(self) -> str:
        served = ", ".join(sorted(self._tenants))
        return f"serving {served}; {_huge_pages(self._root)}"


class Stoppable(Protocol):
    """A server of any kind."""

    def stop(self, seconds: float) -> None:
        """Take no new calls, give the old ones ``seconds``, and end."""


def _huge_pages(root: Root) -> str:
    if root.huge_pages:
        return "huge pages are in effect"
    return (
        f"huge pages are NOT in effect on {root.path}: publish and attach are slower, "
        "mount its tmpfs with huge=within_size"
    )
