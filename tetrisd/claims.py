"""What a tensor table must satisfy before a byte of it is believed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from tetris.errors import InvalidModelError
from tetris.formats.bundle import MAX_STRING_BYTES, MAX_STRINGS
from tetris.formats.dtypes import BY_NAME
from tetris.manifest import Claim

# Each distinct tensor is a mapping, and vm.max_map_count allows 65,530 in a process.
MAX_TENSORS = 50_000
MAX_NAME = 4096  # bytes
MAX_RANK = 254
_MAX_BYTES = 1 << 62


def check_claims(model: str, claims: Sequence[Claim]) -> None:
    """Refuse a table with names, types, sizes or back references that cannot be right.

    Raises:
        InvalidModelError: names the tensor and what is wrong with it.
    """
    if not model or len(model.encode()) > MAX_NAME or not model.isprintable():
        raise InvalidModelError(f"model name {model[:80]!r}: give 1 to {MAX_NAME} printable bytes")
    if len(claims) > MAX_TENSORS:
        raise InvalidModelError(f"model {model}: {len(claims)} tensors, at most {MAX_TENSORS} go")
    inline = sum(len(s) for claim in claims for s in claim.strings)
    if inline > MAX_STRING_BYTES:
        raise InvalidModelError(
            f"model {model}: {inline} bytes of strings, and the table takes {MAX_STRING_BYTES}: "
            "leave the largest string tensors out"
        )
    # An empty string costs nothing in bytes, and the daemon some sixty in memory all the same.
    strings = sum(len(claim.strings) for claim in claims)
    if strings > MAX_STRINGS:
        raise InvalidModelError(
            f"model {model}: {strings} strings, and the table takes {MAX_STRINGS}: "
            "leave the largest string tensors out"
        )
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        fault = _fault(index, claim, claims)
        if claim.name in seen:
            fault = "the name stands twice"
        if fault:
            raise InvalidModelError(f"tensor {claim.name[:200]!r}: {fault}")
        seen.add(claim.name)


def _fault(index: int, claim: Claim, claims: Sequence[Claim]) -> str:
    if "\0" in claim.name or len(claim.name.encode()) > MAX_NAME:
        return f"the name has a NUL or more than {MAX_NAME} bytes"
    if len(claim.shape) > MAX_RANK or any(not 0 <= d < _MAX_BYTES for d in claim.shape):
        return f"the shape {list(claim.shape)[:8]} is impossible"
    if claim.dtype == "string":
        return _string_fault(claim)
    if claim.strings:
        return f"strings in a tensor of {claim.dtype}"
    dtype = BY_NAME.get(claim.dtype)
    if dtype is None:
        return f"unknown dtype {claim.dtype[:40]!r}"
    if claim.nbytes != prod(claim.shape) * dtype.itemsize or claim.nbytes >= _MAX_BYTES:
        return f"{claim.nbytes} bytes do not make {claim.dtype}{list(claim.shape)}"
    twin = claim.same_as
    if twin is not None and (not 0 <= twin < index or claims[twin].nbytes != claim.nbytes):
        return f"the same as tensor {twin}, which is no earlier one of its size"
    return ""


def _string_fault(claim: Claim) -> str:
    if claim.nbytes or claim.same_as is not None:
        return "strings stand in the table itself and have no data"
    return "" if prod(claim.shape) == len(claim.strings) else "the strings do not fill the shape"
