"""Manifests: what a model consists of, in plain types."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Tensor(NamedTuple):
    """One tensor of a model.

    Attributes:
        name: as the checkpoint spells it; a key, never a path.
        dtype: as numpy or ml_dtypes spell it (``float32``, ``bfloat16``), or ``string``.
        shape: dimensions, ``()`` for a scalar.
        nbytes: size of its segment; 0 for an empty tensor and for strings, which have none.
        digest: BLAKE3-256 of the segment, which is also its name; empty without a segment.
        crc32c: unmasked CRC32C of the segment.
        strings: elements of a string tensor in row-major order.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int = 0
    digest: bytes = b""
    crc32c: int = 0
    strings: tuple[bytes, ...] = ()

    @property
    def segment(self) -> str:
        """File name of the segment: the digest in hex."""
        return self.digest.hex()


@dataclass(frozen=True, slots=True)
class Manifest:
    """The ordered tensors of one model.

    Attributes:
        fingerprint: 32 bytes that identify the model's files.
        name: for people; not an identity.
        published_unix_ns: when the manifest was committed, in nanoseconds since 1970.
        tensors: in checkpoint order.
        keep_alive: seconds that it stays while nobody uses it; None: the daemon's default.
        pinned: it stays whether it is used or not.
        segments: size in bytes of each distinct segment, by digest.
    """

    fingerprint: bytes
    name: str
    published_unix_ns: int
    tensors: tuple[Tensor, ...]
    keep_alive: int | None = None
    pinned: bool = False
    segments: dict[bytes, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        segments = {t.digest: t.nbytes for t in self.tensors if t.nbytes}
        object.__setattr__(self, "segments", segments)

    @property
    def nbytes(self) -> int:
        """Bytes of the distinct segments: what one private copy of the weights would take."""
        return sum(self.segments.values())


@dataclass(frozen=True, slots=True)
class Claim:
    """What a publisher says of a tensor before its bytes are there. Nothing of it is believed.

    Attributes:
        crc32c: checked against the bytes when given.
        same_as: position of an earlier tensor of the same model with equal bytes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int = 0
    crc32c: int | None = None
    strings: tuple[bytes, ...] = ()
    same_as: int | None = None
