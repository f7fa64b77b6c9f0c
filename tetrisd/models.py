"""The published models: manifests on disk, and the index of them in memory."""

from __future__ import annotations

import logging
import os
import re
import threading
from collections import Counter

from google.protobuf.message import DecodeError

from tetris import shm
from tetris.errors import ConflictError, InvalidModelError, NotFoundError
from tetris.manifest import Manifest
from tetris.v1 import tetris_pb2 as pb
from tetris.wire import manifest_from_wire, manifest_to_wire
from tetrisd.root import Root, write_file

log = logging.getLogger("tetrisd")

_NAME = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{4,64}")


class Models:
    """Manifests by fingerprint. A model is published exactly when its manifest is here.

    On disk a manifest is its protobuf form behind the BLAKE3 digest of that, so that a damaged one
    is told from a whole one.
    """

    def __init__(self, root: Root) -> None:
        self._dirfd = root.models
        self._mutex = threading.Lock()
        self._models: dict[bytes, Manifest] = {}
        self._wire: dict[bytes, pb.Manifest] = {}
        self._users: Counter[bytes] = Counter()
        self._twins: dict[tuple[int, int], dict[bytes, None]] = {}

    def load(self, resident: dict[bytes, int]) -> None:
        """Read every manifest back; drop, and log, what is damaged or has lost bytes.

        Args:
            resident: size of every segment that is there.
        """
        for name in sorted(os.listdir(self._dirfd)):
            try:
                wire = self._read(name)
                manifest = manifest_from_wire(wire)
                for digest, nbytes in manifest.segments.items():
                    if resident.get(digest) != nbytes:
                        raise InvalidModelError(f"segment {digest.hex()} is not resident")
            except InvalidModelError as failed:
                log.warning("manifest %s dropped: %s", name, failed)
                os.unlink(name, dir_fd=self._dirfd)
            else:
                self._add(manifest, wire)

    def commit(self, manifest: Manifest) -> None:
        """Publish: from here on the manifest is found, also after a restart."""
        wire = manifest_to_wire(manifest)
        body = wire.SerializeToString()
        write_file(self._dirfd, manifest.fingerprint.hex(), shm.digest(body) + body, 0o600)
        self._add(manifest, wire)

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

    def users(self, digest: bytes) -> int:
        """How many published models name that segment."""
        with self._mutex:
            return self._users[digest]

    def twins(self, nbytes: int, crc32c: int) -> list[bytes]:
        """Digests of published segments of that size and checksum: likely, not certain, equals."""
        with self._mutex:
            return list(self._twins.get((nbytes, crc32c), ()))

    def _add(self, manifest: Manifest, wire: pb.Manifest) -> None:
        with self._mutex:
            self._wire[manifest.fingerprint] = wire
            self._models[manifest.fingerprint] = manifest
            self._users.update(manifest.segments.keys())
            for tensor in manifest.tensors:
                if tensor.nbytes:
                    self._twins.setdefault((tensor.nbytes, tensor.crc32c), {})[tensor.digest] = None

    def _read(self, name: str) -> pb.Manifest:
        if not _NAME.fullmatch(name):
            raise InvalidModelError("the name is not a fingerprint")
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._dirfd)
        with os.fdopen(fd, "rb") as file:
            stored, body = file.read(shm.DIGEST_SIZE), file.read()
        if shm.digest(body) != stored:
            raise InvalidModelError("it is damaged")
        try:
            wire = pb.Manifest.FromString(body)
        except DecodeError:
            raise InvalidModelError("it is not a manifest") from None
        if wire.fingerprint.hex() != name:
            raise InvalidModelError("it belongs to another fingerprint")
        return wire
