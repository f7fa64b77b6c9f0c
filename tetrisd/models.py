"""The published models of a tenant: manifests on disk, and what is known of them in memory."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress

from tetris import shm
from tetris.errors import ConflictError, InvalidModelError, NotFoundError
from tetris.manifest import Manifest
from tetris.v1 import tetris_pb2 as pb
from tetris.wire import (
    manifest_from_file,
    manifest_from_wire,
    manifest_to_file,
    manifest_to_wire,
)
from tetrisd import files, steps
from tetrisd.index import Index

log = logging.getLogger("tetrisd")

_PREFIX = re.compile(r"[0-9a-f]{4,64}")


class Models:
    """Manifests by fingerprint. A model is published exactly when its manifest is here.

    On disk a manifest is its protobuf form behind the BLAKE3 digest of that, so that a damaged one
    is told from a whole one. The file's time of change is the model's last use, since boot.

    Args:
        dirfd: where the manifests are.
        boot_ns: the time for ages.
        shared: index of all tenants of the pool.

    Attributes:
        index: which segments this tenant's models name.
        shared: the same of all tenants of the pool.
    """

    def __init__(self, dirfd: int, boot_ns: Callable[[], int], shared: Index) -> None:
        self._dirfd = dirfd
        self._boot_ns = boot_ns
        self._mutex = threading.Lock()
        self._models: dict[bytes, Manifest] = {}
        self._wire: dict[bytes, pb.Manifest] = {}
        self._used: dict[bytes, int] = {}
        self.index = Index()
        self.shared = shared

    def load(self, resident: dict[bytes, int]) -> None:
        """Read every manifest back; drop, and log, what is damaged or has lost bytes.

        Args:
            resident: size of every segment that is there.
        """
        files.sweep_drafts(self._dirfd)
        for entry in sorted(files.entries(self._dirfd), key=lambda e: e.name):
            if not files.HEX.fullmatch(entry.name) or entry.is_dir(follow_symlinks=False):
                log.warning("%s is among the manifests and none: left alone", entry.name)
                continue
            try:
                wire = self._read(entry.name)
                manifest = manifest_from_wire(wire)
                for digest, nbytes in manifest.segments.items():
                    if resident.get(digest) != nbytes:
                        raise InvalidModelError(f"segment {digest.hex()} is not resident")
            except InvalidModelError as failed:
                log.warning("manifest %s dropped: %s", entry.name, failed)
                files.remove(self._dirfd, entry.name)
                steps.reached("recover: manifest dropped")
            else:
                self._add(manifest, wire, entry.stat(follow_symlinks=False).st_mtime_ns)

    def commit(self, manifest: Manifest) -> None:
        """Publish: from here on the manifest is found, also after a restart."""
        used = self._boot_ns()
        wire = self._write(manifest, used)
        steps.reached("publish: committed")
        self._add(manifest, wire, used)

    def change(self, fingerprint: bytes, **policy: object) -> Manifest:
        """Give a model another ``keep_alive`` or ``pinned``.

        Raises:
            NotFoundError: it is not published.
        """
        manifest = dataclasses.replace(self.get(fingerprint), **policy)  # type: ignore[arg-type]
        wire = self._write(manifest, self.used(fingerprint))
        steps.reached("change: committed")
        with self._mutex:
            self._models[fingerprint], self._wire[fingerprint] = manifest, wire
        return manifest

    def remove(self, manifest: Manifest) -> None:
        """Publish it no more. Its segments are to be settled afterwards."""
        files.remove(self._dirfd, manifest.fingerprint.hex())
        steps.reached("evict: manifest removed")
        with self._mutex:
            del self._models[manifest.fingerprint], self._wire[manifest.fingerprint]
            del self._used[manifest.fingerprint]
        self.index.discard(manifest)
        self.shared.discard(manifest)

    def find(self, fingerprint: bytes) -> Manifest | None:
        """The manifest of that fingerprint, if it is published."""
        with self._mutex:
            return self._models.get(fingerprint)

    def get(self, fingerprint: bytes) -> Manifest:
        """The manifest of that fingerprint.

        Raises:
            NotFoundError: it is not published.
        """
        manifest = self.find(fingerprint)
        if manifest is None:
            raise NotFoundError(f"no model with fingerprint {fingerprint.hex()[:12]} is published")
        return manifest

    def wire(self, manifest: Manifest) -> pb.Manifest:
        """The same in protobuf: converting it anew would be most of what an attach costs."""
        with self._mutex:
            return self._wire.get(manifest.fingerprint) or manifest_to_wire(manifest)

    def lookup(self, text: str) -> Manifest:
        """The one manifest of that name, or whose fingerprint starts with those hex digits.

        Raises:
            NotFoundError: none is.
            ConflictError: several are.
        """
        found = [m for m in self.all() if m.name == text]
        if not found and _PREFIX.fullmatch(text):
            found = [m for m in self.all() if m.fingerprint.hex().startswith(text)]
        if not found:
            raise NotFoundError(
                f"no model {text[:80]!r} is published: `tetrisctl models` lists them"
            )
        if len(found) > 1:
            which = ", ".join(m.fingerprint.hex()[:12] for m in found)
            raise ConflictError(
                f"{text[:80]!r} names {len(found)} models: say which one of {which}"
            )
        return found[0]

    def all(self) -> list[Manifest]:
        """Every published manifest, oldest first."""
        with self._mutex:
            return sorted(self._models.values(), key=lambda m: m.published_unix_ns)

    def used(self, fingerprint: bytes) -> int:
        """When it was last used, since boot."""
        with self._mutex:
            return self._used.get(fingerprint, 0)

    def use(self, fingerprint: bytes) -> None:
        """It is used now; also the next daemon will know."""
        now = self._boot_ns()
        with self._mutex:
            if fingerprint not in self._used:
                return
            self._used[fingerprint] = now
        with suppress(NotFoundError), shm.calling("touch", fingerprint.hex()):
            os.utime(fingerprint.hex(), ns=(now, now), dir_fd=self._dirfd, follow_symlinks=False)

    def restore(self, manifest: Manifest) -> str:
        """Compare the file of a manifest with what is in memory, and write it anew if it differs.

        Returns:
            What was wrong with the file; empty when nothing was.
        """
        name = manifest.fingerprint.hex()
        try:
            if self._read(name) == self.wire(manifest):
                return ""
            fault = "it says something else than what was published"
        except InvalidModelError as failed:
            fault = str(failed)
        self._write(manifest, self.used(manifest.fingerprint))
        return fault

    def strangers(self) -> list[str]:
        """Files among the manifests that are no manifest."""
        with self._mutex:
            known = {fingerprint.hex() for fingerprint in self._models}
        return [
            entry.name
            for entry in files.entries(self._dirfd)
            if entry.name not in known and not files.HEX.fullmatch(entry.name)
        ]

    def _add(self, manifest: Manifest, wire: pb.Manifest, used: int) -> None:
        with self._mutex:
            self._wire[manifest.fingerprint] = wire
            self._models[manifest.fingerprint] = manifest
            # Later than now: a clock of another kind wrote it, or another host.
            self._used[manifest.fingerprint] = min(used, self._boot_ns())
        self.index.add(manifest)
        self.shared.add(manifest)

    def _write(self, manifest: Manifest, used: int) -> pb.Manifest:
        wire = manifest_to_wire(manifest)
        name = manifest.fingerprint.hex()
        files.write(self._dirfd, name, manifest_to_file(wire), 0o600, times_ns=(used, used))
        return wire

    def _read(self, name: str) -> pb.Manifest:
        try:
            stored = files.read(self._dirfd, name)
        except OSError as failed:
            raise InvalidModelError(f"it cannot be read: {failed.strerror}") from None
        return manifest_from_file(stored, name)
