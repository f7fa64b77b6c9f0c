"""Every error has a status, and comes back from it as itself."""

from __future__ import annotations

import grpc
import pytest

from tetris import errors
from tetris.status import code_of, error_of

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
