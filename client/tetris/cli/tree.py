"""Which models share what: each below the one that it has most in common with."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tetris.cli import lists
from tetris.cli.answer import Answer
from tetris.cli.tables import Column, Table, counted, size
from tetris.errors import NotFoundError
from tetris.rpc import AdminRpc
from tetris.v1 import admin_pb2 as pb

# How deep models hang below each other, and how many below one are shown unless all are.
_DEPTH = 4
_BRANCHES = 12
_COLUMNS = (
    Column("MODEL", least=24),
    Column("SIZE", right=True),
    Column("SHARED", right=True),
    Column("ITS OWN", right=True),
)


class Key(NamedTuple):
    """A model among those of all tenants."""

    tenant: str
    fingerprint: str


@dataclass
class Node:
    """A model in the tree.

    Attributes:
        nbytes: of its distinct segments.
        own: of those that nobody else names.
        shared: of those that the model above it names too.
        below: those that have most in common with it.
    """

    key: Key
    name: str
    nbytes: int
    own: int
    shared: int = 0
    depth: int = 0
    below: list[Node] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """For programs."""
        return {
            **({"tenant": self.key.tenant} if self.key.tenant else {}),
            "model": self.name,
            "fingerprint": self.key.fingerprint,
            "bytes": self.nbytes,
            "bytes_shared": self.shared,
            "bytes_own": self.own,
            "models": [node.data() for node in self.below],
        }


class Sharing:
    """Which models name which bytes.

    Each model is a number with a bit for every segment that it names: what two have in common is
    one operation, also for hundreds of models of a thousand segments each.

    Args:
        models: rows of the models, oldest first.
        segments: rows of their segments.
        apart: tenants whose segments are copies of their own.
    """

    def __init__(
        self, models: Iterable[lists.Row], segments: Iterable[lists.Row], apart: set[str]
    ) -> None:
        self.models = {_key(m, m["fingerprint"]): m for m in models}
        self._bits = dict.fromkeys(self.models, 0)
        # Of each power of two, the segments in whose size it stands.
        self._powers: defaultdict[int, int] = defaultdict(int)
        seen: dict[tuple[str, str], int] = {}
        for s in segments:
            tenant = s.get("tenant", "")
            bit = 1 << seen.setdefault((tenant if tenant in apart else "", s["digest"]), len(seen))
            for power in _powers(s["bytes"]):
                self._powers[power] |= bit
            for key in {_key(s, f) for f in s["fingerprints"]} & self._bits.keys():
                self._bits[key] |= bit
        self._named = self._often = 0
        for bits in self._bits.values():
            self._often |= self._named & bits
            self._named |= bits

    def resident(self) -> int:
        """Bytes, each segment counted once."""
        return self._bytes(self._named)

    def node(self, key: Key) -> Node:
        """A model by itself."""
        model, own = self.models[key], self._bits[key] & ~self._often
        return Node(key, model["name"], model["bytes"], self._bytes(own))

    def common(self, one: Key, other: Key) -> int:
        """Bytes that both name."""
        return self._bytes(self._bits[one] & self._bits[other])

    def _bytes(self, bits: int) -> int:
        return bits and sum(
            (bits & having).bit_count() * power for power, having in self._powers.items()
        )


def _powers(number: int) -> list[int]:
    return [1 << i for i in range(number.bit_length()) if number >> i & 1]


def forest(sharing: Sharing) -> list[Node]:
    """Every model below the earlier one with most in common; what shares most comes first."""
    nodes: list[Node] = []
    roots = []
    for key in sharing.models:
        node = sharing.node(key)
        # The first of equals, and the one that is less deep.
        node.shared, _, above = max(
            ((sharing.common(n.key, key), -n.depth, n) for n in nodes if n.depth < _DEPTH),
            key=lambda each: each[:2],
            default=(0, 0, node),
        )
        if node.shared:
            node.depth = above.depth + 1
            above.below.append(node)
        else:
            roots.append(node)
        nodes.append(node)
    return sorted(roots, key=lambda n: (-len(n.below), -n.nbytes, n.name))


def around(sharing: Sharing, name: str) -> list[Node]:
    """The models of that name or fingerprint, each over all that share with it."""
    roots = [
        sharing.node(key)
        for key, model in sharing.models.items()
        if model["name"] == name or key.fingerprint.startswith(name)
    ]
    if not roots:
        raise NotFoundError(f"no model {name!r} is published: `tetrisctl models` lists them")
    for root in roots:
        others = [sharing.node(key) for key in sharing.models if key != root.key]
        for node in others:
            node.shared = sharing.common(root.key, node.key)
        root.below = [node for node in others if node.shared]
    return roots


def tree(arguments: argparse.Namespace) -> Answer:
    """Which models share what."""
    models = lists.rows(arguments, lists.MODELS)
    models.sort(key=lambda m: m["published_unix_ns"])
    segments = lists.rows(arguments, lists.SEGMENTS)
    sharing = Sharing(models, segments, _apart(arguments))
    roots = around(sharing, arguments.model) if arguments.model else forest(sharing)
    branches = len(models) if arguments.output == "wide" else _BRANCHES
    text: list[str | Table] = [table(roots, branches)]
    if not arguments.model:
        whole = sum(m["bytes"] for m in models)
        kept = size(sharing.resident())
        text.append(f"{counted(len(models), 'model')} of {size(whole)} kept in {kept}")
    return Answer([root.data() for root in roots], text)


def table(roots: Sequence[Node], branches: int) -> Table:
    """The tree for people, with at most so many branches at each model."""
    return Table(_COLUMNS, list(_rows(roots, branches)))


def _rows(roots: Sequence[Node], branches: int) -> Iterator[tuple[object, ...]]:
    """The tree line by line; those that share nothing are one line, unless all are shown."""
    alone = [n for n in roots if not n.below]
    some = roots if len(alone) <= branches else [n for n in roots if n.below]
    for root in some:
        yield _row(root, "")
        yield from _below(root, "", branches)
    if some is not roots:
        total = sum(n.nbytes for n in alone)
        yield (f"({len(alone)} that share nothing)", size(total), "", size(total))


def _below(node: Node, indent: str, branches: int) -> Iterator[tuple[object, ...]]:
    shown = sorted(node.below, key=lambda n: (-n.shared, n.name))
    rest = shown[branches:] if len(shown) > branches + 1 else []
    shown = shown[: len(shown) - len(rest)]
    for each in shown:
        last = each is shown[-1] and not rest
        yield _row(each, indent + ("└─ " if last else "├─ "))
        yield from _below(each, indent + ("   " if last else "│  "), branches)
    if rest:
        sums = (sum(n.nbytes for n in rest), sum(n.shared for n in rest), sum(n.own for n in rest))
        yield (f"{indent}└─ ({len(rest)} more)", *map(size, sums))


def _row(node: Node, indent: str) -> tuple[object, ...]:
    name = f"{node.key.tenant}: {node.name}" if node.key.tenant else node.name
    shared = size(node.shared) if indent else ""
    return (indent + name, size(node.nbytes), shared, size(node.own))


def _key(row: lists.Row, fingerprint: str) -> Key:
    return Key(row.get("tenant", ""), fingerprint)


def _apart(arguments: argparse.Namespace) -> set[str]:
    if not arguments.all_tenants:
        return set()
    named = AdminRpc(arguments.admin_socket).collect(
        "ListTenants", pb.ListTenantsRequest(), lambda t: t.name if t.sharing == "tenant" else ""
    )
    return set(named) - {""}
