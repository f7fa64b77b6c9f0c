"""Every error has a status, and comes back from it as itself."""

from __future__ import annotations

import grpc
import pytest

from tetris import errors
from tetris.status import code_of, details_of, error_of

CLASSES = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.TetrisError)
]


@pytest.mark.parametrize("kind", [k for k in CLASSES if k is not errors.SystemCallError])
def test_an_error_crosses_the_wire_as_itself(kind):
    back = error_of(code_of(kind("why")), "why")
    assert type(back) is kind
    assert str(back) == "why"


def test_a_refused_system_call_arrives_as_an_internal_error():
    failed = errors.SystemCallError("open", "x", 5)
    assert code_of(failed) is grpc.StatusCode.INTERNAL
    assert type(error_of(code_of(failed), str(failed))) is errors.TetrisError


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_status_is_some_error(code):
    assert isinstance(error_of(code, "x"), errors.TetrisError)


def test_the_tree_in_the_docstring_is_the_tree():
    assert errors.__doc__ is not None
    for kind in CLASSES:
        assert kind.__name__ in errors.__doc__


@pytest.mark.parametrize(
    "name", ["a", "\x01", "\u6f22", "a\udcff"], ids=["ascii", "control", "wide", "no text"]
)
def test_a_long_sentence_is_carried_by_its_begin_and_its_end(name):
    """gRPC makes three bytes of each that is not printable ASCII, and takes 8 KiB of headers."""
    details = details_of(errors.NotFoundError(f"tensor {name * 9000}: ask again"))
    assert details.startswith(f"tensor {name[0]}")
    assert details.endswith(": ask again")
    assert 3 * len(details.encode()) < 7000


def test_a_sentence_that_fits_is_carried_as_it_is():
    assert details_of(errors.NotFoundError("caf\xe9: ask again")) == "caf\xe9: ask again"


def test_a_name_that_is_no_text_is_spelled_out():
    assert details_of(errors.NotFoundError("a\udcff")) == "a\\udcff"
