"""A tensor table is refused, with the tensor's name, before a byte of it is believed."""

from __future__ import annotations

import pytest

from tetris.errors import InvalidModelError
from tetris.formats.bundle import MAX_STRINGS
from tetris.manifest import Claim
from tetrisd.claims import MAX_NAME, check_claims

GOOD = Claim("a/b.c", "float32", (2, 3), 24)


@pytest.mark.parametrize(
    "claim",
    [
        GOOD,
        Claim("scalar", "float64", (), 8),
        Claim("empty", "float32", (0, 7), 0),
        Claim("..//../etc", "int8", (1,), 1),
        Claim("text", "string", (2,), strings=(b"a", b"")),
        Claim("big", "float32", (1 << 31, 2), 1 << 34),
    ],
)
def test_what_can_be_right_passes(claim):
    check_claims("m", [claim])


@pytest.mark.parametrize(
    ("claim", "fault"),
    [
        (Claim("x\0y", "float32", (), 4), "NUL"),
        (Claim("n" * (MAX_NAME + 1), "float32", (), 4), "bytes"),
        (Claim("t", "float33", (), 4), "unknown dtype"),
        (Claim("t", "float32", (-1,), 4), "impossible"),
        (Claim("t", "float32", (1 << 63,), 4), "impossible"),
        (Claim("t", "float32", (1,) * 255, 4), "impossible"),
        (Claim("t", "float32", (2,), 4), "do not make"),
        (Claim("t", "float32", (2,), -8), "do not make"),
        (Claim("t", "float32", (1 << 40, 1 << 40), 1 << 82), "do not make"),
        (Claim("t", "string", (2,), strings=(b"a",)), "fill"),
        (Claim("t", "string", (), 8, strings=(b"a",)), "no data"),
        (Claim("t", "string", (), -5, strings=(b"a",)), "no data"),
        (Claim("t", "string", (), strings=(b"a",), same_as=0), "no data"),
        (Claim("t", "float32", (), 4, strings=(b"a",)), "strings in"),
        (Claim("t", "float32", (), 4, same_as=5), "no earlier one"),
        (Claim("t", "float32", (), 4, same_as=0), "no earlier one"),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(claim, fault):
    with pytest.raises(InvalidModelError, match=fault) as caught:
        check_claims("m", [GOOD, claim])
    assert claim.name[:100].replace("\0", "\\x00") in str(caught.value)


def test_a_name_may_stand_once():
    with pytest.raises(InvalidModelError, match="twice"):
        check_claims("m", [GOOD, GOOD])


def test_strings_are_counted_together():
    """Not only their bytes: empty ones have none, and cost memory while the model stays."""
    half = (b"",) * (MAX_STRINGS // 2 + 1)
    one, two = (Claim(name, "string", (len(half),), strings=half) for name in "ab")
    check_claims("m", [one])
    with pytest.raises(InvalidModelError, match="strings, and the table takes"):
        check_claims("m", [one, two])


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 5000])
def test_a_model_needs_a_printable_name(name):
    with pytest.raises(InvalidModelError, match="model name"):
        check_claims(name, [])
