"""Mutating protobuf messages so that they stay messages."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

Bend = Callable[[bytes], bytes]
"""Change some bytes somehow."""

_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 16, 255, 256, 4096, 65535, 65536, 2**31 - 1, 2**32 - 1)
_WIDE = (2**31, 2**32, 2**53, 2**61, 2**62 - 1, 2**62, 2**63 - 1)


def mutate(message: Message, rng: random.Random, bend: Bend) -> None:
    """Change, set, clear, double or remove one field of ``message`` or of one below it."""
    if not message.DESCRIPTOR.fields:
        return
    field = rng.choice(message.DESCRIPTOR.fields)
    value = getattr(message, field.name)
    if isinstance(value, Message):
        if rng.random() < 0.1:
            message.ClearField(field.name)
        else:
            value.SetInParent()
            mutate(value, rng, bend)
    elif isinstance(value, (bytes, str, bool, int)):
        if rng.random() < 0.1:
            message.ClearField(field.name)
        else:
            _assign(message, field.name, _changed(value, rng, bend))
    else:
        _mutate_repeated(value, rng, bend)


def _mutate_repeated(items: Any, rng: random.Random, bend: Bend) -> None:
    if not items or rng.random() < 0.1:
        _append(items, rng, bend)
        return
    at = rng.randrange(len(items))
    act = rng.randrange(5)
    if act == 0:
        del items[at]
    elif act == 1:
        items.extend([items[at]])
    elif isinstance(items[at], Message):
        mutate(items[at], rng, bend)
    else:
        try:
            items[at] = _changed(items[at], rng, bend)
        except ValueError:
            items[at] = 0


def _append(items: Any, rng: random.Random, bend: Bend) -> None:
    if hasattr(items, "add"):
        mutate(items.add(), rng, bend)
        return
    for empty in (0, b"", ""):
        try:
            items.append(_changed(empty, rng, bend))
        except (TypeError, ValueError):
            continue
        return


def _assign(message: Message, name: str, value: Any) -> None:
    try:
        setattr(message, name, value)
    except ValueError:  # outside of a narrow number's range
        setattr(message, name, abs(value) & 0x7FFFFFFF)


def _changed(value: Any, rng: random.Random, bend: Bend) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, bytes):
        return bend(value)
    if isinstance(value, str):
        return bend(value.encode()).decode(errors="replace")
    act = rng.randrange(4)
    if act == 0:
        return value + rng.choice((-1, 1)) if abs(value) < 2**63 - 1 else 0
    if act == 1:
        return rng.choice(_WIDE)
    return -rng.choice(_NUMBERS) if act == 2 and rng.random() < 0.3 else rng.choice(_NUMBERS)
