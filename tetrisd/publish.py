"""Publishing: from a source's claims to a manifest whose every segment is resident.

Every byte is hashed where it is stored, never where it was offered. A segment that the new model
relies on, its own or one that was there, stays held until the manifest is committed, so nobody can
remove it in between.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from tetris import shm
from tetris.errors import ConflictError, CorruptDataError, NoSpaceError, NotFoundError
from tetris.manifest import Claim, Manifest, Tensor
from tetris.shm import Mapping
from tetrisd import steps
from tetrisd.claims import check_claims
from tetrisd.index import Index
from tetrisd.models import Models
from tetrisd.room import Need, Reservation, allocated
from tetrisd.segments import Draft, Segments
from tetrisd.sources import Source
from tetrisd.turns import Turns

# A segment can vanish between "it is there" and "it is held" only while it is being removed.
_ROUNDS = 100
_PAUSE = 0.001


@dataclass(frozen=True, slots=True)
class Publishing:
    """A publish under way: of ``total`` bytes of its tensors ``done`` are stored or found there."""

    fingerprint: bytes
    name: str
    done: int
    total: int
    since_unix_ns: int


class Publisher:
    """Publishes the models of one tenant; safe to use from many threads.

    Args:
        segments: the pool that takes them.
        models: the tenant's.
        view: the tenant's.
        admit: makes room before the first byte, or refuses.
        damaged: told of a resident segment whose bytes are not what its name says.
        wall_ns: the time for people.
    """

    def __init__(
        self,
        segments: Segments,
        models: Models,
        view: int,
        admit: Callable[[Need], AbstractContextManager[Reservation]],
        damaged: Callable[[bytes], None],
        wall_ns: Callable[[], int],
    ) -> None:
        self._segments = segments
        self._models = models
        self._view = view
        self._admit = admit
        self._damaged = damaged
        self._wall_ns = wall_ns
        self._turns = Turns()
        self._mutex = threading.Lock()
        self._under_way: list[_Publication] = []

    def under_way(self) -> list[Publishing]:
        """The publishes that are being done now."""
        with self._mutex:
            return [work.state() for work in self._under_way]

    def publish(
        self,
        source: Source,
        *,
        keep_alive: int | None = None,
        wanted: Callable[[], bool] = lambda: True,
        patient: Callable[[], bool] = lambda: True,
    ) -> tuple[Manifest, int | None]:
        """Make the model of ``source`` resident.

        Publishers of one fingerprint cooperate: one reads, the others wait for it.

        Args:
            source: the model.
            keep_alive: seconds that it stays while nobody uses it; None: the daemon's default.
            wanted: whether to go on; asked between steps of work and while waiting.
            patient: whether to go on waiting for another publisher; asked only then.

        Returns:
            The manifest, and the bytes this call has written for it; None when it was there.

        Raises:
            InvalidModelError: claims that cannot be right, or bytes that are not as claimed.
            NoSpaceError: it does not fit.
            ConflictError: it was not wanted any more. Nothing of a failed publish is kept.
        """
        manifest = self._models.find(source.fingerprint)
        if manifest is not None:
            return manifest, None
        check_claims(source.name, source.claims)
        with (
            steps.of("publish"),
            self._turns.lead(source.fingerprint, lambda: wanted() and patient()),
        ):
            steps.reached("publish: has the turn")
            manifest = self._models.find(source.fingerprint)
            if manifest is not None:
                return manifest, None
            return self._publish(source, keep_alive, wanted)

    def _publish(
        self, source: Source, keep_alive: int | None, wanted: Callable[[], bool]
    ) -> tuple[Manifest, int]:
        def progress() -> None:
            if not wanted():
                raise ConflictError(f"publishing {source.name} was given up half-way")

        work = _Publication(
            self._segments, self._models, self._damaged, source, progress, self._wall_ns()
        )
        with self._admit(work.need()) as room, self._shown(work):
            steps.reached("publish: admitted")
            try:
                for index, claim in enumerate(source.claims):
                    work.take(index, claim, room)
                    progress()
                source.finish()
                manifest = work.commit(self._view, self._wall_ns(), keep_alive)
            except BaseException as failed:
                # gRPC keeps the error of a stream whose client is gone, in a cycle of references:
                # what its frames have mapped would stay until Python happens to collect it.
                traceback.clear_frames(failed.__traceback__)
                work.abandon()
                raise
        return manifest, work.new_bytes

    @contextmanager
    def _shown(self, work: _Publication) -> Iterator[None]:
        with self._mutex:
            self._under_way.append(work)
        try:
            yield
        finally:
            with self._mutex:
                self._under_way.remove(work)


class _Publication:
    """One publish in progress: what it made, what it holds, what its manifest will say."""

    def __init__(
        self,
        segments: Segments,
        models: Models,
        damaged: Callable[[bytes], None],
        source: Source,
        progress: Callable[[], None],
        since_unix_ns: int,
    ) -> None:
        self._segments = segments
        self._models = models
        self._damaged = damaged
        self._source = source
        self._progress = progress
        self._quarantines = segments.quarantines
        self._tensors: list[Tensor] = []
        self._held: dict[bytes, Mapping] = {}
        self._twins: dict[tuple[int, int], bytes] = {}
        self._likely: dict[tuple[int, int], dict[bytes, Mapping]] = {}
        self._since_unix_ns = since_unix_ns
        self._done = 0
        self.new_bytes = 0

    def state(self) -> Publishing:
        """How far it is."""
        source = self._source
        total = sum(c.nbytes for c in source.claims if c.same_as is None)
        return Publishing(source.fingerprint, source.name, self._done, total, self._since_unix_ns)

    def need(self) -> Need:
        """What this takes, as far as the claims tell before the bytes are there.

        What it is likely to find resident is held from here on: making room must not evict it.
        """
        distinct = {
            (c.nbytes, c.crc32c, i if c.crc32c is None else None): c
            for i, c in enumerate(self._source.claims)
            if c.same_as is None and c.nbytes
        }
        own = self._models.index
        new = [allocated(c.nbytes) for c in distinct.values() if not self._hold_likely(c)]
        charged = [allocated(c.nbytes) for c in distinct.values() if not _known(own, c)]
        # Stored before they are found to be there, one at a time.
        again = [
            allocated(c.nbytes)
            for c in distinct.values()
            if self._hold_likely(c) and not self._comparable(c)
        ]
        # On a tmpfs a link in the view takes an inode too.
        files = len(new) + len(charged) + bool(again)
        return Need(self._source.name, sum(new) + max(again, default=0), sum(charged), files)

    def take(self, index: int, claim: Claim, room: Reservation) -> None:
        """Make the next tensor resident and held."""
        tensor = Tensor(claim.name, claim.dtype, claim.shape, strings=claim.strings)
        if claim.same_as is not None:
            twin = self._tensors[claim.same_as]
            _check_crc(claim, twin.crc32c)
            tensor = tensor._replace(nbytes=twin.nbytes, digest=twin.digest, crc32c=twin.crc32c)
        elif claim.nbytes:
            digest, crc = self._reuse(index, claim) or self._store(index, claim, room)
            self._twins[claim.nbytes, crc] = digest
            self._done += claim.nbytes
            tensor = tensor._replace(nbytes=claim.nbytes, digest=digest, crc32c=crc)
        self._tensors.append(tensor)

    def commit(self, view: int, now_ns: int, keep_alive: int | None) -> Manifest:
        """Show the segments in the view and publish the manifest; only then let go of them."""
        source = self._source
        manifest = Manifest(
            source.fingerprint, source.name, now_ns, tuple(self._tensors), keep_alive
        )
        try:
            for digest in manifest.segments:
                self._segments.show(digest, view)
                steps.reached("publish: shown")
        except NotFoundError:
            raise _quarantined(source.name) from None
        with self._segments.whole:
            if self._segments.quarantines != self._quarantines:
                raise _quarantined(source.name)
            self._models.commit(manifest)
        self._let_go()
        return manifest

    def abandon(self) -> None:
        """Undo: remove what no model names and no other publish holds.

        Not only what this one made: whoever made a segment may have failed while this one held it.
        """
        relied_on = list(self._held)
        self._let_go()
        steps.reached("publish: given up")
        for digest in relied_on:
            self._segments.settle(digest)

    def _let_go(self) -> None:
        self._held.clear()
        self._likely.clear()

    def _hold_likely(self, claim: Claim) -> bool:
        """Hold the resident segments that a tensor probably equals; whether there is any."""
        key = _key(claim)
        if key is None:
            return False
        if key not in self._likely:
            held = {d: self._segments.hold(d, key[0]) for d in self._models.shared.twins(*key)}
            self._likely[key] = {d: mapping for d, mapping in held.items() if mapping is not None}
        return bool(self._likely[key])

    def _comparable(self, claim: Claim) -> dict[bytes, Mapping]:
        """The likely equals that its bytes may be compared with.

        Whoever sends them sees where a comparison ends, since room is taken then. With another
        tenant's tensor that would tell its bytes, one guess after the other: a tensor that only
        others have is stored, and then found to be there.
        """
        key = _key(claim)
        likely = self._likely.get(key, {}) if key else {}
        if not self._source.sent:
            return likely
        return {d: mapping for d, mapping in likely.items() if self._models.index.users(d)}

    def _reuse(self, index: int, claim: Claim) -> tuple[bytes, int] | None:
        """A likely duplicate is compared with the segment first, and not written when it is one."""
        key = _key(claim)
        if key is None:
            return None
        twin = self._twins.get(key)
        likely = {twin: self._held[twin]} if twin else self._comparable(claim)
        for digest, mapping in likely.items():
            if self._source.same(index, mapping, self._progress):
                self._held[digest] = mapping
                steps.reached("publish: reused")
                return digest, key[1]
        return None

    def _store(self, index: int, claim: Claim, room: Reservation) -> tuple[bytes, int]:
        draft = self._draft(claim, room)
        try:
            steps.reached("publish: reserved")
            self._source.fill(index, draft.memory, draft.sum, self._progress)
            steps.reached("publish: filled")
            digest, crc = draft.sum.result()
            _check_crc(claim, crc)
            if not self._keep(draft, digest, claim):
                room.regain(allocated(claim.nbytes))
        finally:
            draft.discard()
        return digest, crc

    def _keep(self, draft: Draft, digest: bytes, claim: Claim) -> bool:
        """Hold the segment of that digest; True if it is the draft, and was not there before."""
        for _ in range(_ROUNDS):
            if self._hold(digest, claim.nbytes):
                return False
            mapping = draft.seal(digest)
            if mapping is not None:
                self._held[digest] = mapping
                self.new_bytes += claim.nbytes
                return True
            time.sleep(_PAUSE)
        raise ConflictError(f"tensor {claim.name!r}: its segment keeps vanishing, try again")

    def _draft(self, claim: Claim, room: Reservation) -> Draft:
        try:
            room.ensure(allocated(claim.nbytes))
            draft = self._segments.draft(claim.nbytes)
        except NoSpaceError as failed:
            raise NoSpaceError(
                f"tensor {claim.name!r} needs {claim.nbytes} bytes: {failed}"
            ) from None
        room.spend(allocated(claim.nbytes))
        return draft

    def _hold(self, digest: bytes, nbytes: int) -> bool:
        """Rely on a resident segment, once it is seen to be what its name says."""
        if digest in self._held:
            return True
        mapping = self._segments.hold(digest, nbytes)
        if mapping is None:
            return False
        if shm.digest(mapping.buffer()) != digest:
            self._damaged(digest)
            return False
        self._held[digest] = mapping
        return True


def _check_crc(claim: Claim, found: int) -> None:
    if claim.crc32c is not None and claim.crc32c != found:
        raise CorruptDataError(
            f"tensor {claim.name!r}: CRC32C is {found:08x}, the index promises "
            f"{claim.crc32c:08x}: the data is damaged or changed under the publisher"
        )


def _key(claim: Claim) -> tuple[int, int] | None:
    """What likely equals have in common: size and checksum."""
    return None if claim.crc32c is None else (claim.nbytes, claim.crc32c)


def _known(index: Index, claim: Claim) -> bool:
    key = _key(claim)
    return key is not None and bool(index.twins(*key))


def _quarantined(name: str) -> ConflictError:
    return ConflictError(
        f"model {name}: a segment was found damaged while it was published: try again"
    )
