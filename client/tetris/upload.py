"""Publishing by stream: for models that the daemon cannot read itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tetris.formats.model import CheckpointFiles
from tetris.formats.shards import Shards
from tetris.manifest import Claim
from tetris.shm import Sum
from tetris.v1 import tetris_pb2 as pb
from tetris.wire import claim_to_wire

# Large enough that the cost per message vanishes, small enough to stay in the cache on both ends.
_CHUNK = 1 << 20


def upload(files: CheckpointFiles) -> Iterator[pb.PublishRequest]:
    """The messages of one ``Publish`` call: the table, then the bytes of every distinct tensor.

    Raises:
        InvalidModelError: the files are not what their index says.
    """
    with Shards(files) as shards:
        claims = _marked(shards, [shards.claim(entry) for entry in shards.entries])
        yield pb.PublishRequest(
            header=pb.PublishHeader(
                fingerprint=files.fingerprint,
                name=files.name,
                tensors=[claim_to_wire(claim) for claim in claims],
            )
        )
        for entry, claim in zip(shards.entries, claims, strict=True):
            if claim.nbytes and claim.same_as is None:
                for chunk in shards.chunks(entry, _CHUNK):
                    yield pb.PublishRequest(data=chunk)


def _marked(shards: Shards, claims: Sequence[Claim]) -> list[Claim]:
    """The claims, those with the bytes of an earlier one marked as the same.

    Equal size and CRC32C only make it likely; the digests of both decide. Nothing else is read.
    """
    alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for index, claim in enumerate(claims):
        if claim.nbytes and claim.crc32c is not None:
            alike[claim.nbytes, claim.crc32c].append(index)
    marked = list(claims)
    for indices in alike.values():
        first: dict[bytes, int] = {}
        for index in indices if len(indices) > 1 else ():
            entry = shards.entries[index]
            total = Sum()
            total.skim(shards.fd(entry.shard), entry.offset, entry.nbytes, entry.name)
            earlier = first.setdefault(total.result()[0], index)
            if earlier != index:
                marked[index] = replace(claims[index], same_as=earlier)
    return marked
