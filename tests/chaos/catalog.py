"""Models to publish: small, many, and made of much that others have too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from support.models import write_model
from tetris.formats.model import locate
from tetris.shm import digest

KIB = 1024
BACKBONES = 16


@dataclass(frozen=True, slots=True)
class Known:
    """A model as its source has it.

    Attributes:
        path: of the SavedModel.
        fingerprint: in hex.
        digests: in hex, by the name of the tensor.
    """

    path: str
    fingerprint: str
    digests: dict[str, str]


def backbones(rng: Random) -> list[bytes]:
    """Tensors that models share; the last two are large."""
    sizes = [rng.randrange(1, 64) * KIB for _ in range(BACKBONES - 2)]
    return [rng.randbytes(n) for n in (*sizes, 2048 * KIB, 5000 * KIB)]


def build(directory: Path, rng: Random, shared: list[bytes], models: int) -> list[Known]:
    """Write ``models`` models; every third is the next version of the one before."""
    made: list[Known] = []
    last: dict[str, bytes] = {}
    for number in range(models):
        tensors = _next_version(rng, last) if number % 3 == 2 else _tensors(rng, shared)
        shaped = {name: ((len(body) // 4,), body) for name, body in tensors.items()}
        path = write_model(directory / f"m{number}", shaped)
        fingerprint = locate(str(path)).fingerprint.hex()
        digests = {name: digest(body).hex() for name, body in tensors.items()}
        made.append(Known(str(path), fingerprint, digests))
        last = tensors
    return made


def _tensors(rng: Random, shared: list[bytes]) -> dict[str, bytes]:
    small, large = shared[:-2], shared[-2:]
    bodies = rng.sample(small, rng.randrange(1, 4))
    if rng.random() < 0.1:
        bodies.append(rng.choice(large))
    bodies += [_head(rng) for _ in range(rng.randrange(1, 4))]
    if rng.random() < 0.2:
        bodies.append(rng.choice(bodies))  # as Keras does: every variable twice
    return {f"t{i}": body for i, body in enumerate(bodies)}


def _next_version(rng: Random, last: dict[str, bytes]) -> dict[str, bytes]:
    return {**last, rng.choice(sorted(last)): _head(rng)}


def _head(rng: Random) -> bytes:
    return rng.randbytes(4 * rng.randrange(1, 4 * KIB))


def save(path: Path, models: list[Known]) -> None:
    """For :func:`load`."""
    path.write_text(json.dumps([[m.path, m.fingerprint, m.digests] for m in models]))


def load(path: Path) -> list[Known]:
    """What :func:`save` wrote."""
    rows: list[Any] = json.loads(path.read_text())
    return [Known(*row) for row in rows]
