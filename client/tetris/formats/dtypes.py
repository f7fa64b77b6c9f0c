"""What TensorFlow's DataType numbers mean: a name, the bytes of one element, a numpy view.

Names are those of numpy and ml_dtypes (``float32``, ``bfloat16``, ``float8_e4m3fn``). Quantized
types keep TensorFlow's own name, since the number has to be found again from it; numpy sees them as
the plain integers they are stored as. Types narrower than a byte (``int4``) take a whole byte per
element in a checkpoint, in TensorFlow's memory and in ml_dtypes alike.
"""

from __future__ import annotations

from typing import NamedTuple


class DType(NamedTuple):
    """One element type.

    Attributes:
        number: TensorFlow's DataType.
        name: how manifests spell it.
        itemsize: bytes of an element; 0 for strings, which have no fixed size.
        numpy: the name numpy or ml_dtypes knows it by; empty for strings.
    """

    number: int
    name: str
    itemsize: int
    numpy: str


STRING = DType(7, "string", 0, "")

_QUANTIZED = (
    (11, "qint8", 1, "int8"),
    (12, "quint8", 1, "uint8"),
    (13, "qint32", 4, "int32"),
    (15, "qint16", 2, "int16"),
    (16, "quint16", 2, "uint16"),
)

_PLAIN = (
    (1, "float32", 4),
    (2, "float64", 8),
    (3, "int32", 4),
    (4, "uint8", 1),
    (5, "int16", 2),
    (6, "int8", 1),
    (8, "complex64", 8),
    (9, "int64", 8),
    (10, "bool", 1),
    (14, "bfloat16", 2),
    (17, "uint16", 2),
    (18, "complex128", 16),
    (19, "float16", 2),
    (22, "uint32", 4),
    (23, "uint64", 8),
    (24, "float8_e5m2", 1),
    (25, "float8_e4m3fn", 1),
    (26, "float8_e4m3fnuz", 1),
    (27, "float8_e4m3b11fnuz", 1),
    (28, "float8_e5m2fnuz", 1),
    (29, "int4", 1),
    (30, "uint4", 1),
    (31, "int2", 1),
    (32, "uint2", 1),
    (33, "float4_e2m1fn", 1),
)

BY_NUMBER: dict[int, DType] = {
    dtype.number: dtype
    for dtype in (
        STRING,
        *(DType(*row) for row in _QUANTIZED),
        *(DType(number, name, itemsize, name) for number, name, itemsize in _PLAIN),
    )
}

BY_NAME: dict[str, DType] = {dtype.name: dtype for dtype in BY_NUMBER.values()}

# Known, and without bytes that another process could use.
_PRIVATE = {20: "resource", 21: "variant"}


def describe(number: int) -> str:
    """The name of any DataType number, also one that cannot be shared."""
    if number in BY_NUMBER:
        return BY_NUMBER[number].name
    return _PRIVATE.get(number, f"DataType {number}")
