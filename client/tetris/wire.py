"""Manifests and claims to and from protobuf: the form they have on the wire and on disk."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from tetris.errors import InvalidModelError
from tetris.manifest import Claim, Manifest, Tensor
from tetris.shm import DIGEST_SIZE, digest
from tetris.v1 import tetris_pb2 as pb


def manifest_to_wire(manifest: Manifest) -> pb.Manifest:
    """Plain to protobuf."""
    return pb.Manifest(
        fingerprint=manifest.fingerprint,
        name=manifest.name,
        published_unix_ns=manifest.published_unix_ns,
        tensors=[
            pb.Tensor(
                name=t.name,
                dtype=t.dtype,
                shape=t.shape,
                nbytes=t.nbytes,
                digest=t.digest,
                crc32c=t.crc32c,
                strings=t.strings,
            )
            for t in manifest.tensors
        ],
        keep_alive_seconds=manifest.keep_alive,
        pinned=manifest.pinned,
    )


def manifest_from_wire(message: pb.Manifest) -> Manifest:
    """Protobuf to plain."""
    return Manifest(
        fingerprint=message.fingerprint,
        name=message.name,
        published_unix_ns=message.published_unix_ns,
        tensors=tuple(
            Tensor(t.name, t.dtype, tuple(t.shape), t.nbytes, t.digest, t.crc32c, tuple(t.strings))
            for t in message.tensors
        ),
        keep_alive=message.keep_alive_seconds if message.HasField("keep_alive_seconds") else None,
        pinned=message.pinned,
    )


def manifest_to_file(wire: pb.Manifest) -> bytes:
    """What a manifest's file holds: its protobuf form behind the BLAKE3 digest of that."""
    body = wire.SerializeToString()
    return digest(body) + body


def manifest_from_file(stored: bytes, name: str) -> pb.Manifest:
    """What the file of the manifest ``name``, its fingerprint in hex, says.

    Raises:
        InvalidModelError: it is damaged, or another's.
    """
    body = stored[DIGEST_SIZE:]
    if digest(body) != stored[:DIGEST_SIZE]:
        raise InvalidModelError("it is damaged")
    try:
        wire = pb.Manifest.FromString(body)
    except DecodeError:
        raise InvalidModelError("it is not a manifest") from None
    if wire.fingerprint.hex() != name:
        raise InvalidModelError("it belongs to another fingerprint")
    return wire


def claim_to_wire(claim: Claim) -> pb.TensorClaim:
    """Plain to protobuf."""
    return pb.TensorClaim(
        name=claim.name,
        dtype=claim.dtype,
        shape=claim.shape,
        nbytes=claim.nbytes,
        crc32c=claim.crc32c,
        strings=claim.strings,
        same_as=claim.same_as,
    )


def claim_from_wire(message: pb.TensorClaim) -> Claim:
    """Protobuf to plain."""
    return Claim(
        name=message.name,
        dtype=message.dtype,
        shape=tuple(message.shape),
        nbytes=message.nbytes,
        crc32c=message.crc32c if message.HasField("crc32c") else None,
        strings=tuple(message.strings),
        same_as=message.same_as if message.HasField("same_as") else None,
    )
