"""The store: every tenant under one root, and what stays resident. It knows no gRPC."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tetris.errors import ConflictError, NotFoundError
from tetris.manifest import Manifest
from tetrisd import files, steps
from tetrisd.admission import Admission
from tetrisd.clock import Clock
from tetrisd.events import ASKED, COLLECTED, Events, Kind
from tetrisd.room import Limits
from tetrisd.root import Root, pool_of
from tetrisd.segments import Segments
from tetrisd.settings import TENANT_NAME, Settings, TenantSettings
from tetrisd.stats import Stats
from tetrisd.tenant import Tenant
from tetrisd.verify import Checked, Pace, Verifier, unhurried

log = logging.getLogger("tetrisd")


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed: models, segments and bytes."""

    models: int = 0
    segments: int = 0
    freed: int = 0


@dataclass(frozen=True, slots=True)
class Evicted:
    """What became of a model: gone, with the bytes that this freed, or the leases that keep it."""

    removed: bool
    leases: int
    freed: int


class Store:
    """Everything under one root.

    Args:
        root: the directory, owned.
        settings: limits, and the tenants.
        clock: the two times.
        events: told of every decision.
    """

    def __init__(
        self,
        root: Root,
        settings: Settings,
        clock: Clock | None = None,
        events: Events | None = None,
    ) -> None:
        self._root = root
        self._settings = settings
        self._clock = clock or Clock()
        self.events = events or Events(self._clock)
        self._limits = Limits(root.quarantine, settings.capacity, settings.headroom)
        self._configuring = threading.Lock()
        self._pools: dict[str, Segments] = {}
        self._tenants: dict[str, Tenant] = {}
        self._admission = Admission(self._limits, self.tenants, self._taken)
        for tenant in settings.tenants:
            self._add(tenant)
        for name in sorted(root.pools()):
            self._pool(name)

    def recover(self) -> None:
        """Read back what an earlier daemon left, and sweep what it did not finish.

        Tenants that are configured no more are read back too: their models go as soon as nobody
        uses them.
        """
        with steps.of("recover"):
            self._add_abandoned()
            for pool in self._every_pool():
                self._recover(pool)
            files.sweep_drafts(self._root.quarantine)
            self._forget_abandoned()

    def tenants(self) -> Sequence[Tenant]:
        """Every tenant, also those that are configured no more and still hold something."""
        return list(self._tenants.values())

    def tenant(self, name: str) -> Tenant:
        """The tenant of that name.

        Raises:
            NotFoundError: there is none.
        """
        if name not in self._tenants:
            raise NotFoundError(f"no tenant {name[:80]!r}: `tetrisctl tenants` lists them")
        return self._tenants[name]

    def evict(self, tenant: str, model: str) -> Evicted:
        """Remove a model now; one in use goes when its last user does.

        Raises:
            NotFoundError: there is none.
            ConflictError: it is pinned.
        """
        owner = self.tenant(tenant)
        manifest = owner.models.lookup(model)
        if manifest.pinned:
            raise ConflictError(f"model {manifest.name} is pinned: unpin it first")
        freed = owner.drop(manifest, ASKED)
        if freed is not None:
            return Evicted(True, 0, freed)
        owner.change(manifest, keep_alive=0)
        return Evicted(False, len(owner.leases.live(manifest.fingerprint)), 0)

    def look(self) -> None:
        """What is to be done every second: end leases whose holder died, and drop what is due.

        It takes every lock that clients' calls take: that it ends shows that none of them hangs.
        """
        self._admission.wait()
        for tenant in self.tenants():
            if not tenant.abandoned:
                tenant.look()
        self._forget_abandoned()
        for pool in self._every_pool():
            pool.look()

    def collect(self) -> Collected:
        """Remove every unused, unpinned model, and segments that nobody names or maps."""
        segments, taken = self._resident(), self._taken()
        dropped = sum(
            tenant.drop(manifest, COLLECTED) is not None
            for tenant in self.tenants()
            for manifest in tenant.models.all()
        )
        for pool in self._every_pool():
            pool.look()
        for name, _ in files.regular(self._root.quarantine):
            files.remove(self._root.quarantine, name)
        done = Collected(dropped, segments - self._resident(), max(0, taken - self._taken()))
        what = f"{done.models} models and {done.segments} segments"
        self.events.say(Kind.GARBAGE_COLLECTED, nbytes=done.freed, reason=what)
        return done

    def quarantine(self, pool: Segments, digest: bytes, why: str) -> None:
        """Serve a segment never again: out of every view, and the models that name it go.

        Who maps it keeps its mapping. The next attach finds the model unpublished and publishes it.
        """
        lost: list[Manifest] = []
        with steps.of("quarantine"), pool.whole:
            for tenant in self._members(pool):
                lost += tenant.lose(digest, why)
            pool.quarantine(digest)
        for segment in {d for manifest in lost for d in manifest.segments}:
            pool.settle(segment)

    def stats(self) -> Stats:
        """Of the whole host: each segment counted once."""
        pools = self._every_pool()
        leases = [(tenant, lease) for tenant in self.tenants() for lease in tenant.leases.live()]
        manifests = [t.models.find(lease.fingerprint) for t, lease in leases]
        resident = [(p, d, n) for p in pools for d, n in p.resident()]
        return Stats(
            models=sum(len(t.models.all()) for t in self.tenants()),
            segments=len(resident),
            leases=len(leases),
            references=sum(p.is_referenced(d) for p, d, _ in resident),
            resident=sum(n for _, _, n in resident),
            asked=sum(m.nbytes for m in manifests if m is not None),
            huge_pages=self._root.huge_pages,
            limit=self._limits.capacity(),
            charged=self._taken(),
            started_unix_ns=self.events.began_unix_ns,
            quarantined=sum(1 for _ in files.regular(self._root.quarantine)),
        )

    def verify(
        self, pace: Pace = unhurried, tenant: str = "", model: str = ""
    ) -> Iterator[Checked]:
        """Compare what is stored with what it must be: everything, a tenant's models, or one.

        Args:
            pace: called with the number of bytes before they are read.
            tenant: whose; all without one.
            model: which; all of that tenant without one.
        """
        verifier = Verifier(self.quarantine, pace)
        if tenant or model:
            owner = self.tenant(tenant)
            manifests = [owner.models.lookup(model)] if model else owner.models.all()
            wanted = {d: n for m in manifests for d, n in m.segments.items()}
            yield from verifier.segments([(owner.segments, wanted)])
        else:
            pools = self._every_pool()
            yield from verifier.files(pools, self.tenants())
            yield from verifier.segments([(pool, pool.index.segments()) for pool in pools])

    def tmpfs(self) -> os.statvfs_result:
        """What the file system says of its room; sizes of 0 are no limits."""
        return os.fstatvfs(self._root.quarantine)

    def fair_share(self, tenant: Tenant) -> int:
        """Bytes of its segments, each divided by the number of tenants that name it."""
        members = [other.models.index for other in self._members(tenant.segments)]
        share = sum(
            nbytes / max(1, sum(1 for index in members if index.users(digest)))
            for digest, nbytes in tenant.models.index.segments().items()
        )
        return round(share)

    def add(self, tenants: Sequence[TenantSettings]) -> None:
        """Have more tenants, or none of them; :meth:`configure` or :meth:`abandon` is to follow.

        Raises:
            ConflictError: one is there still, from before it was configured no more, and shared
                with others.
            TetrisError: its directories cannot be had.
        """
        with self._configuring:
            try:
                for described in tenants:
                    self._take_back(described)
            except BaseException:
                self._abandon()
                raise

    def configure(self, settings: Settings) -> None:
        """Take other limits from now on; who is configured no more goes with its last user."""
        with self._configuring:
            self._settings = settings
            self._limits.configure(settings.capacity, settings.headroom)
            for described in settings.tenants:
                self._tenants[described.name].configure(described, settings.keep_alive)
            self._abandon()

    def abandon(self) -> None:
        """Let go of tenants that were added and are not configured after all."""
        with self._configuring:
            self._abandon()

    def _take_back(self, settings: TenantSettings) -> None:
        known = self._tenants.get(settings.name)
        if known is None:
            self._add(settings)
        elif known.segments is not self._pool(pool_of(settings)):
            raise ConflictError(
                f"tenant {settings.name}: models of before are in use, with sharing = "
                f"{known.settings.sharing!r}: try again when they are gone"
            )
        else:
            self._root.open_to(settings.name, settings.socket_mode, settings.group)
            known.abandoned = False

    def _add(self, settings: TenantSettings) -> None:
        pool = self._pool(pool_of(settings))
        self._tenants[settings.name] = Tenant(
            settings,
            self._root.tenant(settings.name, settings.socket_mode, settings.group),
            pool,
            self._admission.admit,
            lambda digest: self.quarantine(pool, digest, "is not what its name says"),
            self._limits,
            self._settings.keep_alive,
            self._clock,
            self.events,
        )

    def _pool(self, name: str) -> Segments:
        if name not in self._pools:
            self._pools[name] = Segments(name, self._root.pool(name), self._root.quarantine)
        return self._pools[name]

    def _every_pool(self) -> Sequence[Segments]:
        # A copy: a tenant with a pool of its own may come meanwhile.
        return list(self._pools.values())

    def _members(self, pool: Segments) -> list[Tenant]:
        return [tenant for tenant in self.tenants() if tenant.segments is pool]

    def _recover(self, pool: Segments) -> None:
        resident = dict(pool.resident())
        members = self._members(pool)
        for tenant in members:
            tenant.load(resident)
        drafts, stray = pool.sweep(resident)
        log.info(
            "%s/%s: %d models in %d segments; swept %d half-written and %d unnamed segments",
            self._root.path,
            pool.name,
            sum(len(tenant.models.all()) for tenant in members),
            len(pool.index.segments()),
            drafts,
            stray,
        )

    def _add_abandoned(self) -> None:
        for name in sorted(self._root.tenants() - self._tenants.keys()):
            if TENANT_NAME.fullmatch(name):
                sharing = "tenant" if name in self._pools else "host"
                self._add(TenantSettings(name, socket_mode=0o600, sharing=sharing))
        self._abandon()

    def _abandon(self) -> None:
        configured = {tenant.name for tenant in self._settings.tenants}
        for tenant in [t for t in self.tenants() if t.name not in configured]:
            if not tenant.abandoned:
                log.info("tenant %s is configured no more: it goes with its last user", tenant.name)
            tenant.abandoned = True

    def _forget_abandoned(self) -> None:
        """Remove those whose last user is gone."""
        with self._configuring:
            for tenant in [t for t in self.tenants() if t.abandoned]:
                tenant.look()
                if self._root.forget(tenant.name):
                    log.info("tenant %s is configured no more: forgotten", tenant.name)
                    del self._tenants[tenant.name]
                    tenant.leave()

    def _resident(self) -> int:
        return sum(1 for pool in self._every_pool() for _ in pool.resident())

    def _taken(self) -> int:
        pools = sum(pool.allocated() for pool in self._every_pool())
        quarantined = files.regular(self._root.quarantine)
        return pools + sum(files.taken(found) for _, found in quarantined)
