"""A tenant: one trust domain's models and leases, and the segments they need. It knows no gRPC."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager

from tetris.errors import InvalidModelError
from tetris.manifest import Manifest
from tetris.shm import DIGEST_SIZE
from tetris.v1 import tetris_pb2 as pb
from tetrisd import files, steps
from tetrisd.clock import Clock
from tetrisd.leases import Lease, Leases
from tetrisd.models import Models
from tetrisd.publish import Publisher
from tetrisd.room import Limits, Need, Reservation
from tetrisd.root import Place
from tetrisd.segments import Member, Segments
from tetrisd.settings import TenantSettings
from tetrisd.sources import Source
from tetrisd.stats import ModelInfo, SegmentInfo, Stats

log = logging.getLogger("tetrisd")

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

    Attributes:
        quota: bytes that it may hold; 0: no limit.
        promised: bytes of publishes under way.
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
    ) -> None:
        self.name = settings.name
        self.settings = settings
        self.quota = settings.quota
        self.segments = segments
        self._place = place
        self._limits = limits
        self._keep_alive = keep_alive
        self._clock = clock
        self.promised = 0
        # Held while a lease is made, and while a model is found to have none and goes.
        self._lifetime = threading.Lock()
        self.models = Models(place.models, clock.boot_ns, segments.index)
        self.leases = Leases(
            place.leases, place.view, clock, settings.max_leases, self._lease_ended
        )
        self._publisher = Publisher(
            segments,
            self.models,
            place.view,
            lambda need: admit(self, need),
            damaged,
            clock.wall_ns,
        )
        segments.join(Member(place.view, self.models.index))

    # What clients ask for.

    def publish(
        self,
        source: Source,
        *,
        keep_alive: int | None = None,
        wanted: Callable[[], bool] = lambda: True,
        patient: Callable[[], bool] = lambda: True,
    ) -> tuple[Manifest, bool]:
        """See :meth:`tetrisd.publish.Publisher.publish`."""
        _check_fingerprint(source.fingerprint)
        if keep_alive is not None and not 0 <= keep_alive <= _LONGEST_KEEP_ALIVE:
            raise InvalidModelError(
                f"model {source.name}: keep-alive is {keep_alive} s, "
                f"give 0 to {_LONGEST_KEEP_ALIVE}"
            )
        return self._publisher.publish(
            source, keep_alive=keep_alive, wanted=wanted, patient=patient
        )

    def attach(
        self, fingerprint: bytes, pid: int, command: str, host: str
    ) -> tuple[Lease, Manifest]:
        """Write a pending lease on a published model.

        Raises:
            NotFoundError: it is not published.
            NoSpaceError: too many leases are open.
        """
        _check_fingerprint(fingerprint)
        with steps.of("attach"), self._lifetime:
            manifest = self.models.get(fingerprint)
            lease = self.leases.create(fingerprint, manifest.name, pid, command, host)
        self.models.use(fingerprint)
        return lease, manifest

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

    def segments_info(self) -> list[SegmentInfo]:
        """Every segment that its models name, largest first.

        Where another tenant names it too, this one is told only of its own leases: whether somebody
        else maps a segment is not its business.
        """
        leased = {d for m in self._leased() for d in m.segments}
        own, shared = self.models.index, self.models.shared
        found = [
            SegmentInfo(
                digest,
                nbytes,
                digest in leased
                if own.users(digest) != shared.users(digest)
                else self.segments.is_referenced(digest),
                own.users(digest),
            )
            for digest, nbytes in own.segments().items()
        ]
        return sorted(found, key=lambda s: (-s.nbytes, s.digest))

    def stats(self) -> Stats:
        """Of this tenant alone."""
        segments, leases = self.segments_info(), self.leases.live()
        sizes = {m.fingerprint: m.nbytes for m in self.models.all()}
        return Stats(
            models=len(sizes),
            segments=len(segments),
            leases=len(leases),
            references=sum(s.referenced for s in segments),
            resident=sum(s.nbytes for s in segments),
            asked=sum(sizes.get(lease.fingerprint, 0) for lease in leases),
            huge_pages=self._place.huge_pages,
            limit=self.quota or self._limits.capacity(),
            charged=self.charged(),
        )

    # What policy needs.

    def charged(self) -> int:
        """Bytes that count against its quota: every segment that its view shows, and promises.

        A segment stays in the view until it is neither named nor mapped by anybody.
        """
        links = files.regular(self._place.view)
        shown = sum(found.st_blocks * 512 for name, found in links if files.HEX.fullmatch(name))
        return shown + self.promised

    def is_due(self, manifest: Manifest) -> bool:
        """Whether it has been unused for as long as it may stay."""
        return not manifest.pinned and self._idle_ns(manifest) >= self._stays(manifest) * _SECOND

    def is_idle(self, manifest: Manifest) -> bool:
        """Whether nobody has a lease on it, and no pin keeps it."""
        return not manifest.pinned and not self.leases.live(manifest.fingerprint)

    def drop(self, manifest: Manifest) -> int | None:
        """Take a model away unless it is in use or pinned.

        Returns:
            Bytes that this gave back; None when it stays.
        """
        with self._lifetime:
            current = self.models.find(manifest.fingerprint)
            if current is None or not self.is_idle(current):
                return None
            self.models.remove(current)
        return self._settle(current.segments)

    def lose(self, digest: bytes) -> list[Manifest]:
        """Drop every model that names a segment whose bytes are lost, in use or not."""
        with self._lifetime:
            lost = [m for m in self.models.all() if digest in m.segments]
            for manifest in lost:
                self.models.remove(manifest)
        return lost

    def _settle(self, digests: Iterable[bytes]) -> int:
        names = self.models.index.users
        return sum(self.segments.settle(d) for d in digests if not names(d))

    def change(self, manifest: Manifest, **policy: object) -> Manifest:
        """See :meth:`tetrisd.models.Models.change`."""
        with steps.of("change"), self._lifetime:
            return self.models.change(manifest.fingerprint, **policy)

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
        log.log(
            logging.INFO if died else logging.DEBUG,
            "lease %s of pid %d on %s ended; it held %d segments, %d bytes",
            lease.id,
            lease.pid,
            lease.model,
            len(manifest.segments) if manifest else 0,
            manifest.nbytes if manifest else 0,
        )


def _check_fingerprint(fingerprint: bytes) -> None:
    if len(fingerprint) != DIGEST_SIZE:
        raise InvalidModelError(f"a fingerprint has {DIGEST_SIZE} bytes, not {len(fingerprint)}")
