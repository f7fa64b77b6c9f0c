"""Target ``rpc``: a session of messages to a daemon's methods, and a restart.

An input is a list of records: one byte of kind, two of length, and that many bytes. A kind is the
number of a method, with the first message to it; or PART, a further message to the method before;
or FILE, what ``m/variables/variables.index`` and ``state/checkpoint`` hold from then on, for
PublishPath.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import secrets
from collections.abc import Iterator, Sequence
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from fuzz import index, protobufs
from fuzz.daemon import METHODS, Handlers, Refused, check_files, clear, kept_tmpfs, wired
from tetris import shm
from tetris.formats import dtypes
from tetris.v1 import admin_pb2
from tetris.v1 import tetris_pb2 as pb

MAX_SIZE = 4096
PART, FILE = 254, 255
MODELS = "/models"  # in a message it stands for the directory that the daemon may read

Record = tuple[int, bytes]
_NUMBERS = {method.rpartition("/")[2]: number for number, method in METHODS.items()}


@cache
def _place() -> Path:
    """A small tmpfs: what is reserved on it must not hurt the host."""
    directory = kept_tmpfs()
    model = clear(directory / "models") / "m"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (directory / "models/state").mkdir()
    for shard in range(3):
        path = model / "variables" / f"variables.data-{shard:05d}-of-00003"
        path.write_bytes(index.SHARD)
    (model / "variables" / "variables.data-00000-of-00001").write_bytes(index.SHARD)
    return directory


def run(data: bytes) -> None:
    """No call ends with INTERNAL, and what is on the tmpfs is whole, also after a restart."""
    place = _place()
    root, models = clear(place / "root"), place / "models"
    files = [models / "m/variables/variables.index", models / "state/checkpoint"]
    for file in files:
        file.unlink(missing_ok=True)
    calls = list(_calls(records(data)))
    with _repeatable():
        with wired(root, models) as servicers:
            handlers = Handlers(servicers)
            for kind, messages in calls:
                if kind == FILE:
                    for file in files:
                        file.write_bytes(messages[0])
                elif kind in METHODS:
                    with contextlib.suppress(Refused):
                        handlers.call(METHODS[kind], _placed(kind, messages, models))
            check_files(root)
            before = _models(handlers)
        with wired(root, models) as servicers:
            assert _models(Handlers(servicers)) == before, "a restart lost or changed a model"
            check_files(root)


def _models(handlers: Handlers) -> list[bytes]:
    """Every manifest, by the fingerprints that the list gives."""
    found = handlers.call("/tetris.v1.Tetris/ListModels", [b""])
    names = [pb.ModelSummary.FromString(m).fingerprint.hex() for m in found]
    ask = [pb.GetModelRequest(model=n).SerializeToString() for n in names]
    found = [handlers.call("/tetris.v1.Tetris/GetModel", [a])[0] for a in ask]
    for answer in found:
        for tensor in pb.GetModelResponse.FromString(answer).manifest.tensors:
            _check_tensor(tensor)
    return found


def _check_tensor(tensor: pb.Tensor) -> None:
    """What was published fills its shape."""
    count = prod(tensor.shape)
    if tensor.dtype == "string":
        assert (len(tensor.strings), tensor.nbytes) == (count, 0)
    else:
        assert tensor.nbytes == count * dtypes.BY_NAME[tensor.dtype].itemsize
    assert len(tensor.digest) == (shm.DIGEST_SIZE if tensor.nbytes else 0)


@contextlib.contextmanager
def _repeatable() -> Iterator[None]:
    """The same input makes the same lease names, so that an input can name a lease."""
    numbers = itertools.count()
    real = secrets.token_hex
    secrets.token_hex = lambda nbytes=32: f"{next(numbers):0{2 * nbytes}x}"  # type: ignore[assignment]
    try:
        yield
    finally:
        secrets.token_hex = real


def records(data: bytes) -> list[Record]:
    """The records of an input; the last one may be cut short."""
    found, at = [], 0
    while at + 3 <= len(data):
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3], "little")
        found.append((data[at], data[at + 3 : end]))
        at = end
    return found


def joined(parts: list[Record]) -> bytes:
    """The input of these records."""
    return b"".join(bytes([k]) + len(b).to_bytes(2, "little") + b for k, b in parts)


def _calls(parts: list[Record]) -> Iterator[tuple[int, list[bytes]]]:
    """Each method with all its messages."""
    for number, (kind, message) in enumerate(parts):
        if kind != PART:
            more = itertools.takewhile(lambda p: p[0] == PART, parts[number + 1 :])
            yield kind, [message, *(m for _, m in more)]


def _placed(kind: int, messages: list[bytes], models: Path) -> list[bytes]:
    """Paths below MODELS are where the models are in this run."""
    if kind != _NUMBERS["PublishPath"]:
        return messages
    with contextlib.suppress(DecodeError):
        request = pb.PublishPathRequest.FromString(messages[0])
        request.path = request.path.replace(MODELS, str(models), 1)
        return [request.SerializeToString()]
    return messages


def _request_class(kind: int, last: int) -> type[Message] | None:
    number = last if kind == PART else kind
    if number not in METHODS:
        return None
    service, _, name = METHODS[number].rpartition("/")
    module = admin_pb2 if service.endswith("Admin") else pb
    methods = module.DESCRIPTOR.services_by_name[service.rpartition(".")[2]].methods_by_name
    return GetMessageClass(methods[name].input_type)


def mutate(data: bytes, size: int, rng: random.Random, bend: protobufs.Bend) -> bytes:
    """Mostly other messages in the same session; at times another session or other bytes."""
    parts = records(data)
    if not parts or rng.random() < 0.05:
        return bend(data)[:size]
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(parts))
        act = rng.randrange(12)
        if act == 0 and len(parts) > 1:
            del parts[at]
        elif act == 1:
            parts.insert(rng.randrange(len(parts) + 1), parts[at])
        elif act == 2:
            parts.insert(at, (rng.choice((*METHODS, PART)), rng.choice(parts)[1]))
        elif act == 3:
            parts[at] = parts[at][0], bend(parts[at][1])
        else:
            parts[at] = parts[at][0], _changed(parts, at, size, rng, bend)
    made = joined([(kind, body[:65535]) for kind, body in parts])
    return made if len(made) <= size else bend(data)[:size]


def _changed(
    parts: list[Record], at: int, size: int, rng: random.Random, bend: protobufs.Bend
) -> bytes:
    kind, body = parts[at]
    if kind == FILE:
        return index.mutate(body, size, rng, bend)
    last = next((k for k, _ in reversed(parts[: at + 1]) if k != PART), PART)
    made = _request_class(kind, last)
    with contextlib.suppress(DecodeError):
        if made is not None:
            message = made.FromString(body)
            claims = message.header.tensors if isinstance(message, pb.PublishRequest) else ()
            if claims and rng.random() < 0.5:
                rng.choice((_resize, _relate))(claims, rng)
            else:
                protobufs.mutate(message, rng, bend)
            return message.SerializeToString()
    return bend(body)


def _relate(claims: Sequence[pb.TensorClaim], rng: random.Random) -> None:
    """Let a tensor have the bytes of an earlier one."""
    at = rng.randrange(len(claims))
    claims[at].same_as = rng.randrange(max(at, 1))


def _resize(claims: Sequence[pb.TensorClaim], rng: random.Random) -> None:
    """Give a tensor another shape, and the size that goes with it."""
    claim, dtype = rng.choice(claims), rng.choice(list(dtypes.BY_NAME.values()))
    claim.dtype = dtype.name
    claim.shape[:] = [rng.choice((0, 1, 2, 3, 8)) for _ in range(rng.randrange(3))]
    claim.nbytes = prod(claim.shape) * dtype.itemsize


def seeds() -> dict[str, bytes]:
    """Sessions as clients have them."""
    publish = _published("m", {"a": b"12345678", "b": b"", "c": b"12345678"})
    other = _published("n", {"a": b"12345678", "z": b"zzzz" * 40})
    attach = _call("Attach", fingerprint=shm.digest(b"m"), holder=_HOLDER)
    look = [
        _call(n) for n in ("ListModels", "ListSegments", "ListLeases", "GetStats", "GetHostStats")
    ]
    ask = [_call("GetModel", model="m"), _call("GetModel", model=shm.digest(b"m").hex()[:8])]
    release = [_call("Release", lease=f"{n:016x}") for n in range(8)]
    by_path = _call("PublishPath", path=f"{MODELS}/m")
    state = _call("PublishPath", path=f"{MODELS}/state")
    files = {
        f"path_{n}": [(FILE, b), by_path, state, attach, *look] for n, b in index.seeds().items()
    }
    which = {"tenant": "default", "model": "m"}
    admin = [
        *(_call(n, **which) for n in ("Pin", "Evict", "Unpin", "SetKeepAlive", "Verify", "Evict")),
        _call("SetQuota", tenant="default", bytes=1 << 20),
        *(_call(n) for n in ("ListTenants", "ListTenantModels", "ListTenantLeases")),
        _call("CollectGarbage"),
    ]
    sessions = {
        "publish": publish,
        "twice": [*publish, *other, *publish, *look],
        "same_as": _same_as(),
        "same_attach": [*_same_as(), attach, *look, release[0]],
        "same_admin": [*_same_as(), *admin],
        "same_twice": [*_same_as(), *other, *_same_as(), *ask],
        "attach": [*publish, attach, *look, *ask, *release, *look],
        "empty": [*look, *ask, attach, release[0], by_path],
        "admin": [*publish, attach, *admin],
        **files,
    }
    return {name: joined(parts) for name, parts in sessions.items()}


_HOLDER = pb.Holder(pid=7, command="serve", host="here")


def _call(name: str, **fields: Any) -> Record:
    kind = _NUMBERS[name]
    made = _request_class(kind, kind)
    assert made is not None
    return kind, made(**fields).SerializeToString()


def _published(name: str, tensors: dict[str, bytes]) -> list[Record]:
    claims = [
        pb.TensorClaim(name=n, dtype="uint8", shape=[len(b)], nbytes=len(b), crc32c=shm.crc32c(b))
        for n, b in tensors.items()
    ]
    claims.append(pb.TensorClaim(name="s", dtype="string", shape=[2], strings=[b"x", b"yy"]))
    header = pb.PublishHeader(fingerprint=shm.digest(name.encode()), name=name, tensors=claims)
    body = b"".join(tensors.values())
    return [_call("Publish", header=header), *(_part(b) for b in (body[:9], body[9:]))]


def _same_as() -> list[Record]:
    first = pb.TensorClaim(name="a", dtype="float32", shape=[2, 3], nbytes=24)
    small = pb.TensorClaim(name="b", dtype="bool", shape=[3], nbytes=3)
    second = pb.TensorClaim(name="c", dtype="int8", shape=[24], nbytes=24, same_as=0)
    tensors = [first, small, second]
    header = pb.PublishHeader(fingerprint=shm.digest(b"m"), name="m", tensors=tensors)
    return [_call("Publish", header=header), _part(bytes(range(27)))]


def _part(data: bytes) -> Record:
    return PART, pb.PublishRequest(data=data).SerializeToString()
