"""A tenant: one trust domain's models and leases, and the segments they need. It knows no gRPC."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from tetris.errors import InvalidModelError, TetrisError
from tetris.manifest import Manifest
from tetris.shm import DIGEST_SIZE
from tetris.v1 import tetris_pb2 as pb
from tetrisd import files, steps
from tetrisd.clock import Clock
from tetrisd.events import DIED, EXPIRED, RELEASED, Events, Kind, Voice, change_of
from tetrisd.leases import Lease, Leases
from tetrisd.models import Models
from tetrisd.publish import Publisher, Publishing
from tetrisd.room import Limits, Need, Reservation
from tetrisd.root import Place
from tetrisd.segments import Member, Segments
from tetrisd.settings import TenantSettings
from tetrisd.sources import Source
from tetrisd.stats import ModelInfo, SegmentInfo, Stats

_SECOND = 1_000_000_000
# A publisher may ask for its model to be kept for so long; longer is what a pin is for.
_LONGEST_KEEP_ALIVE = 7 * 86400


class Tenant:
    """What one tenant can do, and what policy needs to know of it.

    Args:
        settings: its own.
        place: its directories.
        segments: the pool that its segments are in.
        admit: makes room for a publish of this tenant, or refuses.
        damaged: told of a resident segment whose bytes are not what its name says.
        limits: what the store as a whole may hold.
        keep_alive: seconds that an unused model stays if it does not say otherwise.
        clock: the two times.
        events: told of every decision.

    Attributes:
        promised: bytes of publishes under way.
        abandoned: configured no more: nothing keeps its models but their users.
    """

    def __init__(
        self,
        settings: TenantSettings,
        place: Place,
        segments: Segments,
        admit: Callable[[Tenant, Need], AbstractContextManager[Reservation]],
        damaged: Callable[[bytes], None],
        limits: Limits,
        keep_alive: float,
        clock: Clock,
        events: Events,
    ) -> None:
        self.name = settings.name
        self.segments = segments
        self._place = place
        self._limits = limits
        self._clock = clock
        self._events = events
        self._voice = Voice(events, settings.name)
        self.promised = 0
        self.abandoned = False
        # Held while a lease is made, and while a model is found to have none and goes.
        self._lifetime = threading.Lock()
        self.models = Models(place.models, clock.boot_ns, segments.index)
        self.leases = Leases(place.leases, place.view, clock, self._lease_ended)
        self._publisher = Publisher(
            segments,
            self.models,
            place.view,
            lambda need: admit(self, need),
            damaged,
            clock.wall_ns,
        )
        segments.join(Member(place.view, self.models.index))
        self.configure(settings, keep_alive)

    def configure(self, settings: TenantSettings, keep_alive: float) -> None:
        """Take other limits from now on; its name, socket and sharing stay."""
        self.settings = settings
        self.leases.limit = settings.max_leases
        self._keep_alive = keep_alive

    @property
    def quota(self) -> int:
        """Bytes that it may hold; 0: no limit."""
        return self.settings.quota

    def set_quota(self, nbytes: int) -> None:
        """Give it another, until its settings are read again."""
        self.settings = replace(self.settings, quota=nbytes)
        self._voice.say(Kind.QUOTA_CHANGED, nbytes=nbytes)

    # What clients ask for.

    def publish(
        self,
        source: Source,
        *,
        keep_alive: int | None = None,
        wanted: Callable[[], bool] = lambda: True,
        patient: Callable[[], bool] = lambda: True,
    ) -> tuple[Manifest, bool]:
        """Make a model resident: see :meth:`tetrisd.publish.Publisher.publish`.

        Returns:
            The manifest, and whether this call published it.
        """
        _check_fingerprint(source.fingerprint)
        if keep_alive is not None and not 0 <= keep_alive <= _LONGEST_KEEP_ALIVE:
            raise InvalidModelError(
                f"model {source.name}: keep-alive is {keep_alive} s, "
                f"give 0 to {_LONGEST_KEEP_ALIVE}"
            )
        begin = self._clock.boot_ns()
        about = {"model": source.name, "fingerprint": source.fingerprint}
        try:
            manifest, written = self._publisher.publish(
                source, keep_alive=keep_alive, wanted=wanted, patient=patient
            )
        except TetrisError as refused:
            abandoned = not (wanted() and patient())
            self._voice.refused(Kind.PUBLISH_REFUSED, refused, abandoned=abandoned, **about)
            raise
        if written is not None:
            self._voice.say(
                Kind.MODEL_PUBLISHED,
                nbytes=written,
                own_nbytes=self._named_by(manifest, models=1),
                seconds=self._seconds_since(begin),
                **about,
            )
        return manifest, written is not None

    def publishing(self) -> list[Publishing]:
        """See :meth:`tetrisd.publish.Publisher.under_way`."""
        return self._publisher.under_way()

    def attach(
        self, fingerprint: bytes, pid: int, command: str, host: str
    ) -> tuple[Lease, Manifest]:
        """Write a pending lease on a published model.

        Raises:
            NotFoundError: it is not published.
            NoSpaceError: too many leases are open.
        """
        _check_fingerprint(fingerprint)
        begin = self._clock.boot_ns()
        try:
            with steps.of("attach"), self._lifetime:
                manifest = self.models.get(fingerprint)
                lease = self.leases.create(fingerprint, manifest.name, pid, command, host)
        except TetrisError as refused:
            self._voice.refused(Kind.ATTACH_REFUSED, refused, fingerprint=fingerprint, pid=pid)
            raise
        self.models.use(fingerprint)
        self._voice.say(
            Kind.MODEL_ATTACHED,
            model=manifest.name,
            fingerprint=fingerprint,
            nbytes=manifest.nbytes,
            seconds=self._seconds_since(begin),
            lease=lease.id,
            pid=pid,
        )
        return lease, manifest

    def fallback(self, model: str, reason: str) -> None:
        """A client says that it loaded a model without sharing."""
        self._voice.say(Kind.FALLBACK_REPORTED, model=model, reason=reason)

    def release(self, lease: str) -> bool:
        """See :meth:`tetrisd.leases.Leases.release`."""
        return self.leases.release(lease)

    def view(self) -> str:
        """The directory of the tenant's segments, as this process sees it."""
        return str(self._place.view_path)

    def view_fd(self) -> int:
        """A descriptor of that directory, for as long as the root is open."""
        return self._place.view

    def wire(self, manifest: Manifest) -> pb.Manifest:
        """See :meth:`tetrisd.models.Models.wire`."""
        return self.models.wire(manifest)

    def info(self) -> list[ModelInfo]:
        """Every published model."""
        leases = Counter(lease.fingerprint for lease in self.leases.live())
        return [self._info(m, leases[m.fingerprint]) for m in self.models.all()]

    def info_of(self, manifest: Manifest) -> ModelInfo:
        """One published model."""
        return self._info(manifest, len(self.leases.live(manifest.fingerprint)))

    def segments_info(self, model: str = "") -> list[SegmentInfo]:
        """Every segment that its models name, or that one of them names, largest first.

        Where another tenant names it too, this one is told only of its own leases and since when it
        has it: whether somebody else has or maps a segment is not its business.
        """
        wanted = self.models.lookup(model).segments if model else None
        leased = {d for m in self._leased() for d in m.segments}
        own, shared = self.models.index, self.models.shared
        named: dict[bytes, list[Manifest]] = {}
        for manifest in self.models.all():  # oldest first
            for digest in manifest.segments:
                named.setdefault(digest, []).append(manifest)
        found = [
            SegmentInfo(
                digest,
                nbytes,
                digest in leased
                if own.users(digest) != shared.users(digest)
                else self.segments.is_referenced(digest),
                [manifest.fingerprint for manifest in named[digest]],
                named[digest][0].published_unix_ns,
            )
            for digest, nbytes in own.segments().items()
            if digest in named and (wanted is None or digest in wanted)
        ]
        return sorted(found, key=lambda s: (-s.nbytes, s.digest))

    def stats(self, *, references: bool = True) -> Stats:
        """Of this tenant alone.

        Args:
            references: whether to count them, which takes a system call for each segment.
        """
        segments, leases = self.models.index.segments(), self.leases.live()
        sizes = {m.fingerprint: m.nbytes for m in self.models.all()}
        return Stats(
            models=len(sizes),
            segments=len(segments),
            leases=len(leases),
            references=sum(s.referenced for s in self.segments_info()) if references else 0,
            resident=sum(segments.values()),
            asked=sum(sizes.get(lease.fingerprint, 0) for lease in leases),
            huge_pages=self._place.huge_pages,
            limit=self.quota or self._limits.capacity(),
            charged=self.charged(),
            started_unix_ns=self._events.began_unix_ns,
        )

    # What policy needs.

    def charged(self) -> int:
        """Bytes that count against its quota: every segment that its view shows, and promises.

        A segment stays in the view until it is neither named nor mapped by anybody.
        """
        links = files.regular(self._place.view)
        shown = sum(files.taken(found) for name, found in links if files.HEX.fullmatch(name))
        return shown + self.promised

    def look(self) -> None:
        """End leases whose holder died, and drop models that are due."""
        with self._lifetime:
            pass  # one that is never given back must show: see Store.look
        self.leases.live()
        for manifest in self.models.all():
            if self.is_due(manifest):
                self.drop(manifest, EXPIRED)

    def is_due(self, manifest: Manifest) -> bool:
        """Whether it has been unused for as long as it may stay."""
        if self.abandoned:
            return True
        return not manifest.pinned and self._idle_ns(manifest) >= self._stays(manifest) * _SECOND

    def is_idle(self, manifest: Manifest) -> bool:
        """Whether nobody has a lease on it, and no pin keeps it."""
        pinned = manifest.pinned and not self.abandoned
        return not pinned and not self.leases.live(manifest.fingerprint)

    def drop(self, manifest: Manifest, why: str) -> int | None:
        """Take a model away unless it is in use or pinned.

        Args:
            manifest: which.
            why: what the event says.

        Returns:
            Bytes that this gave back; None when it stays.
        """
        with steps.of("evict"):
            with self._lifetime:
                current = self.models.find(manifest.fingerprint)
                if current is None or not self.is_idle(current):
                    return None
                self.models.remove(current)
                own = self._named_by(current, models=0)
            freed = self._settle(current.segments)
        self._voice.of(Kind.MODEL_EVICTED, current, nbytes=freed, own_nbytes=own, reason=why)
        return freed

    def lose(self, digest: bytes, why: str) -> list[Manifest]:
        """Drop every model that names a segment whose bytes are lost, in use or not."""
        with self._lifetime:
            lost = [m for m in self.models.all() if digest in m.segments]
            for manifest in lost:
                self.models.remove(manifest)
        for manifest in lost:
            self._voice.of(Kind.MODEL_DAMAGED, manifest, reason=f"segment {digest.hex()} {why}")
        return lost

    def _named_by(self, manifest: Manifest, models: int) -> int:
        """Bytes of its segments that so many models of this tenant name.

        What the tenant is told of a publish or an eviction: whether that wrote or freed anything
        depends on what others have.
        """
        users = self.models.index.users
        return sum(nbytes for d, nbytes in manifest.segments.items() if users(d) == models)

    def _settle(self, digests: Iterable[bytes]) -> int:
        names = self.models.index.users
        return sum(self.segments.settle(d) for d in digests if not names(d))

    def change(self, manifest: Manifest, **policy: Any) -> Manifest:
        """See :meth:`tetrisd.models.Models.change`."""
        with steps.of("change"), self._lifetime:
            changed = self.models.change(manifest.fingerprint, **policy)
        self._voice.of(Kind.MODEL_CHANGED, changed, reason=change_of(**policy))
        return changed

    def mend(self) -> Iterator[tuple[str, str]]:
        """Bring manifests and links back to what they must be; each file, and what was wrong."""
        for manifest in self.models.all():
            with self._lifetime:
                if self.models.find(manifest.fingerprint) is manifest:
                    fault = self.models.restore(manifest)
                    if fault:
                        name = manifest.fingerprint.hex()
                        yield f"models/{self.name}/{name}", f"{fault}: written anew"
        for name in self.models.strangers():
            yield f"models/{self.name}/{name}", "is not ours: left alone"
        for name in self.leases.strangers():
            yield f"leases/{self.name}/{name}", "is not ours: left alone"
        for name, fault in self.segments.mend(self._place.view, self.models.index):
            yield f"tenants/{self.name}/{name}", fault

    def leave(self) -> None:
        """Be gone: nothing of it is left."""
        self.segments.leave(self._place.view)

    def load(self, resident: dict[bytes, int]) -> None:
        """After a start: read models and leases back."""
        self.models.load(resident)
        self.leases.load()

    def _leased(self) -> list[Manifest]:
        found = {lease.fingerprint for lease in self.leases.live()}
        return [m for m in self.models.all() if m.fingerprint in found]

    def _stays(self, manifest: Manifest) -> float:
        return self._keep_alive if manifest.keep_alive is None else manifest.keep_alive

    def _info(self, manifest: Manifest, leases: int) -> ModelInfo:
        idle = 0 if leases else self._idle_ns(manifest) / _SECOND
        return ModelInfo(manifest, leases, self._stays(manifest), idle)

    def _idle_ns(self, manifest: Manifest) -> int:
        """Nanoseconds since its last use."""
        return self._clock.boot_ns() - self.models.used(manifest.fingerprint)

    def _lease_ended(self, lease: Lease, died: bool) -> None:
        self.models.use(lease.fingerprint)
        manifest = self.models.find(lease.fingerprint)
        self._voice.say(
            Kind.LEASE_ENDED,
            model=lease.model,
            fingerprint=lease.fingerprint,
            nbytes=manifest.nbytes if manifest else 0,
            seconds=self._seconds_since(lease.made_ns),
            reason=DIED if died else RELEASED,
            lease=lease.id,
            pid=lease.pid,
        )

    def _seconds_since(self, boot_ns: int) -> float:
        return (self._clock.boot_ns() - boot_ns) / _SECOND


def _check_fingerprint(fingerprint: bytes) -> None:
    if len(fingerprint) != DIGEST_SIZE:
        raise InvalidModelError(f"a fingerprint has {DIGEST_SIZE} bytes, not {len(fingerprint)}")
