"""Target ``manifest``: a stored manifest as a starting daemon reads it back, beside a good one."""

from __future__ import annotations

import contextlib
import random
from functools import cache
from pathlib import Path

from google.protobuf.message import DecodeError

from fuzz import protobufs
from fuzz.daemon import Handlers, Refused, check_files, clear, kept_tmpfs, wired
from tetris import shm
from tetris.v1 import tetris_pb2 as pb
from tetris.wire import manifest_from_wire, manifest_to_wire

MAX_SIZE = 2048

FINGERPRINT = bytes(range(32))
_BODIES = (b"abcdefgh", b"ijkl")
_GOOD = pb.PublishHeader(
    fingerprint=shm.digest(b"good"),
    name="good",
    tensors=[
        pb.TensorClaim(name=f"t{n}", dtype="uint8", shape=[len(b)], nbytes=len(b))
        for n, b in enumerate(_BODIES)
    ],
)


@cache
def _place() -> tuple[Path, Path]:
    """A root with a published model, and where an input goes."""
    directory = kept_tmpfs()
    root, models = directory / "root", clear(directory / "models")
    with wired(root, models) as servicers:
        parts = [pb.PublishRequest(header=_GOOD), pb.PublishRequest(data=b"".join(_BODIES))]
        Handlers(servicers).call(
            "/tetris.v1.Tetris/Publish", [part.SerializeToString() for part in parts]
        )
    stored = next((root / "models").rglob(_GOOD.fingerprint.hex()))
    return root, stored.with_name(FINGERPRINT.hex())


def run(data: bytes) -> None:
    """A daemon starts, serves what it accepts, keeps its other model, and has whole files."""
    root, file = _place()
    with contextlib.suppress(DecodeError):
        _check_wire(pb.Manifest.FromString(data[shm.DIGEST_SIZE :]))
    file.write_bytes(data)
    try:
        with wired(root, root.parent / "models") as servicers:
            check_files(root)
            _check_served(Handlers(servicers), file)
    finally:
        file.unlink(missing_ok=True)


def _check_wire(message: pb.Manifest) -> None:
    manifest = manifest_from_wire(message)
    assert manifest_from_wire(manifest_to_wire(manifest)) == manifest
    assert manifest.nbytes == sum(manifest.segments.values())


def _check_served(handlers: Handlers, file: Path) -> None:
    listed = handlers.call("/tetris.v1.Tetris/ListModels", [b""])
    models = {pb.ModelSummary.FromString(m).fingerprint for m in listed}
    assert _GOOD.fingerprint in models
    assert (FINGERPRINT in models) == file.exists()
    for method in ("ListSegments", "ListLeases", "GetStats"):
        handlers.call(f"/tetris.v1.Tetris/{method}", [b""])
    for fingerprint in models:
        ask = pb.GetModelRequest(model=fingerprint.hex())
        with contextlib.suppress(Refused):  # a name may look like another's fingerprint
            handlers.call("/tetris.v1.Tetris/GetModel", [ask.SerializeToString()])
        attach = pb.AttachRequest(fingerprint=fingerprint)
        answer = handlers.call("/tetris.v1.Tetris/Attach", [attach.SerializeToString()])[0]
        lease = pb.ReleaseRequest(lease=pb.AttachResponse.FromString(answer).lease)
        handlers.call("/tetris.v1.Tetris/Release", [lease.SerializeToString()])


def seal(body: bytes) -> bytes:
    """A manifest as it is stored."""
    return shm.digest(body) + body


def mutate(data: bytes, size: int, rng: random.Random, bend: protobufs.Bend) -> bytes:
    """Mostly another message with the right digest; at times other bytes, or a wrong digest."""
    act = rng.random()
    if act < 0.05:
        return bend(data)[:size]
    body = data[shm.DIGEST_SIZE :]
    if act > 0.2:
        with contextlib.suppress(DecodeError):
            message = pb.Manifest.FromString(body)
            for _ in range(rng.choice((1, 1, 2, 3))):
                protobufs.mutate(message, rng, bend)
            if rng.random() < 0.9:
                message.fingerprint = FINGERPRINT
            return seal(message.SerializeToString()[: size - shm.DIGEST_SIZE])
    return seal(bend(body)[: size - shm.DIGEST_SIZE])


def seeds() -> dict[str, bytes]:
    """Manifests that a daemon wrote or could have written."""
    a, b = (
        pb.Tensor(
            name=f"t{n}",
            dtype="uint8",
            shape=[len(body)],
            nbytes=len(body),
            digest=shm.digest(body),
            crc32c=shm.crc32c(body),
        )
        for n, body in enumerate(_BODIES)
    )
    text = pb.Tensor(name="s", dtype="string", shape=[2, 1], strings=[b"x", b"yy"])
    none = pb.Tensor(name="none", dtype="float32", shape=[0, 3])
    again = pb.Tensor(name="again", dtype="int16", shape=[4], nbytes=8, digest=a.digest)
    tables = {
        "one": [a],
        "two": [a, b],
        "all": [a, b, text, none, again],
        "bare": [],
        "text": [text],
    }
    base = {"fingerprint": FINGERPRINT, "name": "m", "published_unix_ns": 1 << 60}
    messages = {name: pb.Manifest(tensors=tensors, **base) for name, tensors in tables.items()}
    messages["pinned"] = pb.Manifest(tensors=[a], keep_alive_seconds=60, pinned=True, **base)
    return {name: seal(m.SerializeToString()) for name, m in messages.items()}
