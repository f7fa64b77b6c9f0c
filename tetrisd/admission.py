"""Admission: a publish gets its room, by eviction if need be, before its first byte is written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

from tetris.errors import NoSpaceError
from tetris.manifest import Manifest
from tetrisd.events import ROOM
from tetrisd.index import Index
from tetrisd.policy import Candidate, freeable, victims
from tetrisd.room import Limits, Need, Reservation, Room, allocated
from tetrisd.tenant import Tenant

# Holders that a refusal names.
_SHOWN = 3


class Admission:
    """Every publish of the daemon passes here; one decision at a time.

    Args:
        limits: what all segments together are under.
        tenants: all there are.
        taken: bytes that all segments take now.
    """

    def __init__(
        self, limits: Limits, tenants: Callable[[], Sequence[Tenant]], taken: Callable[[], int]
    ) -> None:
        self._limits = limits
        self._tenants = tenants
        self._taken = taken
        self._deciding = threading.Lock()
        self._promised: list[Reservation] = []

    @contextmanager
    def admit(self, tenant: Tenant, need: Need) -> Iterator[Reservation]:
        """Promise room to a publish for as long as it takes.

        Raises:
            NoSpaceError: the tenant's quota or a limit of the store leaves too little, whatever is
                evicted. Nothing was evicted then.
        """
        with self._deciding:
            self._make_room(tenant, need)
            reservation = Reservation(
                need.nbytes, need.charged, lambda more: self._more(tenant, need.model, more)
            )
            self._promised.append(reservation)
            tenant.promised += reservation.charged
        try:
            yield reservation
        finally:
            with self._deciding:
                self._promised.remove(reservation)
                tenant.promised -= reservation.charged

    def wait(self) -> None:
        """Wait for the decision under way, if there is one."""
        with self._deciding:
            pass

    def _more(self, tenant: Tenant, model: str, nbytes: int) -> None:
        with self._deciding:
            self._make_room(tenant, Need(model, nbytes, nbytes, 1))
            tenant.promised += nbytes

    def _make_room(self, tenant: Tenant, need: Need) -> None:
        if tenant.quota:
            self._make(
                tenant,
                need,
                need.charged,
                lambda: Room(tenant.quota - tenant.charged(), f"the quota of {tenant.name}"),
                [tenant],
                lambda _: tenant.models.index,
            )
        self._make(
            tenant,
            need,
            need.nbytes,
            lambda: self._room(need.files),
            self._tenants(),
            lambda owner: owner.models.shared,
        )

    def _make(
        self,
        tenant: Tenant,
        need: Need,
        nbytes: int,
        room: Callable[[], Room],
        owners: Sequence[Tenant],
        index_of: Callable[[Tenant], Index],
    ) -> None:
        """Evict models of ``owners`` until ``room`` holds ``nbytes``, or refuse and evict none."""
        free = room()
        if nbytes <= free.nbytes:
            return
        idle = [_candidate(o, m) for o in owners for m in o.models.all() if o.is_idle(m)]
        users = _users(idle, index_of)
        could = freeable(idle, users)
        if nbytes <= free.nbytes + could:
            for candidate in victims(idle, users, nbytes - free.nbytes):
                owner, manifest = candidate.key
                owner.drop(manifest, ROOM)
            free = room()
            could = 0
        if nbytes > free.nbytes:
            raise NoSpaceError(
                f"model {need.model} needs {nbytes} bytes and {free.limit} leaves "
                f"{max(0, free.nbytes)}; {could} more could be freed, {_holders(tenant, owners)}"
            )

    def _room(self, files: int) -> Room:
        room = self._limits.room(self._taken(), files)
        return Room(room.nbytes - sum(r.left for r in self._promised), room.limit)


def _candidate(owner: Tenant, manifest: Manifest) -> Candidate:
    mapped = owner.segments.is_referenced
    return Candidate(
        (owner, manifest),
        owner.models.used(manifest.fingerprint),
        {
            (id(owner.segments), digest): allocated(nbytes)
            for digest, nbytes in manifest.segments.items()
            if not mapped(digest)
        },
    )


def _users(
    candidates: Sequence[Candidate], index_of: Callable[[Tenant], Index]
) -> dict[Hashable, int]:
    return {
        segment: index_of(candidate.key[0]).users(segment[1])
        for candidate in candidates
        for segment in candidate.segments
    }


def _holders(tenant: Tenant, owners: Sequence[Tenant]) -> str:
    """Who holds what cannot be freed; of other tenants no more than that they do."""
    names = [
        f"{m.name} ({'pinned' if m.pinned else f'{len(tenant.leases.live(m.fingerprint))} leases'})"
        for m in tenant.models.all()
        if not tenant.is_idle(m)
    ]
    shown = names[:_SHOWN]
    if names[_SHOWN:]:
        shown.append(f"{len(names) - _SHOWN} more")
    if any(not o.is_idle(m) for o in owners if o is not tenant for m in o.models.all()):
        shown.append("other tenants")
    return f"the rest is held by {', '.join(shown) or 'nothing that is published here'}"
