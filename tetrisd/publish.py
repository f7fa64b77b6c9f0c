"""Publishing: from a source's claims to a manifest whose every segment is resident.

Every byte is hashed where it is stored, never where it was offered. A segment that the new model
relies on, its own or one that was there, stays held until the manifest is committed, so nobody can
remove it in between.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from tetris.errors import ConflictError, CorruptDataError, NoSpaceError, TetrisError
from tetris.manifest import Claim, Manifest, Tensor
from tetris.shm import Mapping
from tetrisd.claims import check_claims
from tetrisd.models import Models
from tetrisd.segments import Draft, Segments
from tetrisd.sources import Source
from tetrisd.turns import Turns

log = logging.getLogger("tetrisd")

# A segment can vanish between "it is there" and "it is held" only while it is being removed.
_ROUNDS = 100
_PAUSE = 0.001


class Publisher:
    """Publishes models into one store; safe to use from many threads."""

    def __init__(
        self, segments: Segments, models: Models, turns: Turns, now_ns: Callable[[], int]
    ) -> None:
        self._segments = segments
        self._models = models
        self._turns = turns
        self._now_ns = now_ns

    def publish(
        self,
        source: Source,
        *,
        wanted: Callable[[], bool] = lambda: True,
    ) -> tuple[Manifest, bool]:
        """Make the model of ``source`` resident.

        Publishers of one fingerprint cooperate: one reads, the others wait for it.

        Args:
            source: the model.
            wanted: whether to go on; asked between steps of work and while waiting.

        Returns:
            The manifest, and whether this call published it.

        Raises:
            InvalidModelError: claims that cannot be right, or bytes that are not as claimed.
            NoSpaceError: it does not fit.
            ConflictError: it was not wanted any more. Nothing of a failed publish is kept.
        """
        manifest = self._models.find(source.fingerprint)
        if manifest is not None:
            return manifest, False
        check_claims(source.name, source.claims)

        def progress() -> None:
            if not wanted():
                raise ConflictError(f"publishing {source.name} was given up half-way")

        with self._turns.lead(source.fingerprint, wanted):
            manifest = self._models.find(source.fingerprint)
            if manifest is not None:
                return manifest, False
            self._admit(source)
            work = _Publication(self._segments, self._models, source, progress)
            try:
                for index, claim in enumerate(source.claims):
                    work.take(index, claim)
                    progress()
                source.finish()
                manifest = work.commit(self._now_ns())
            except BaseException:
                work.abandon()
                raise
        log.info(
            "published %s: %d tensors, %d bytes in %d segments, %d bytes of them new",
            manifest.name,
            len(manifest.tensors),
            manifest.nbytes,
            len(manifest.segments),
            work.new_bytes,
        )
        return manifest, True

    def _admit(self, source: Source) -> None:
        """Refuse what cannot fit before the first byte is written, as far as the claims tell."""
        distinct = {
            (c.nbytes, c.crc32c, i if c.crc32c is None else None): c.nbytes
            for i, c in enumerate(source.claims)
            if c.same_as is None
            and not (c.crc32c is not None and self._models.twins(c.nbytes, c.crc32c))
        }
        needed, room = sum(distinct.values()), self._segments.room(files=len(distinct))
        if needed > room:
            raise NoSpaceError(
                f"model {source.name} needs {needed} bytes and the store has {room} free: "
                "free some, or enlarge its tmpfs"
            )


class _Publication:
    """One publish in progress: what it made, what it holds, what its manifest will say."""

    def __init__(
        self,
        segments: Segments,
        models: Models,
        source: Source,
        progress: Callable[[], None],
    ) -> None:
        self._segments = segments
        self._models = models
        self._source = source
        self._progress = progress
        self._tensors: list[Tensor] = []
        self._held: dict[bytes, Mapping] = {}
        self._twins: dict[tuple[int, int], bytes] = {}
        self.new_bytes = 0

    def take(self, index: int, claim: Claim) -> None:
        """Make the next tensor resident and held."""
        tensor = Tensor(claim.name, claim.dtype, claim.shape, strings=claim.strings)
        if claim.same_as is not None:
            twin = self._tensors[claim.same_as]
            _check_crc(claim, twin.crc32c)
            tensor = tensor._replace(nbytes=twin.nbytes, digest=twin.digest, crc32c=twin.crc32c)
        elif claim.nbytes:
            digest, crc = self._reuse(index, claim) or self._store(index, claim)
            self._twins[claim.nbytes, crc] = digest
            tensor = tensor._replace(nbytes=claim.nbytes, digest=digest, crc32c=crc)
        self._tensors.append(tensor)

    def commit(self, now_ns: int) -> Manifest:
        """Show the segments in the view and publish the manifest; only then let go of them."""
        source = self._source
        manifest = Manifest(source.fingerprint, source.name, now_ns, tuple(self._tensors))
        for digest in manifest.segments:
            self._segments.show(digest)
        self._models.commit(manifest)
        self._held.clear()
        return manifest

    def abandon(self) -> None:
        """Undo: remove what no model names and no other publish holds.

        Not only what this one made: whoever made a segment may have failed while this one held it.
        """
        relied_on = list(self._held)
        self._held.clear()
        for digest in relied_on:
            try:
                self._segments.remove(digest, unless=self._models.users)
            except (TetrisError, OSError) as failed:
                log.warning("segment %s stays until the next start: %s", digest.hex(), failed)

    def _reuse(self, index: int, claim: Claim) -> tuple[bytes, int] | None:
        """A likely duplicate is compared with the segment first, and not written when it is one."""
        if claim.crc32c is None:
            return None
        key = claim.nbytes, claim.crc32c
        likely = [self._twins[key]] if key in self._twins else self._models.twins(*key)
        for digest in likely:
            mapping = self._held.get(digest) or self._segments.hold(digest, claim.nbytes)
            if mapping is not None and self._source.same(index, mapping, self._progress):
                self._held[digest] = mapping
                return digest, claim.crc32c
        return None

    def _store(self, index: int, claim: Claim) -> tuple[bytes, int]:
        draft = self._draft(claim)
        try:
            self._source.fill(index, draft.memory, draft.sum, self._progress)
            digest, crc = draft.sum.result()
            _check_crc(claim, crc)
            for _ in range(_ROUNDS):
                if self._hold(digest, claim.nbytes):
                    break
                if draft.seal(digest):
                    self.new_bytes += claim.nbytes
                else:
                    time.sleep(_PAUSE)
            else:
                raise ConflictError(
                    f"tensor {claim.name!r}: its segment keeps vanishing, try again"
                )
        finally:
            draft.discard()
        return digest, crc

    def _draft(self, claim: Claim) -> Draft:
        try:
            return self._segments.draft(claim.nbytes)
        except NoSpaceError as failed:
            raise NoSpaceError(
                f"tensor {claim.name!r} needs {claim.nbytes} bytes: {failed}"
            ) from None

    def _hold(self, digest: bytes, nbytes: int) -> bool:
        if digest not in self._held:
            mapping = self._segments.hold(digest, nbytes)
            if mapping is None:
                return False
            self._held[digest] = mapping
        return True


def _check_crc(claim: Claim, found: int) -> None:
    if claim.crc32c is not None and claim.crc32c != found:
        raise CorruptDataError(
            f"tensor {claim.name!r}: CRC32C is {found:08x}, the index promises "
            f"{claim.crc32c:08x}: the data is damaged or changed under the publisher"
        )
