"""gRPC says nothing of an option whose name it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc._cython import cygrpc

from tetris import rpc
from tetrisd import server


@pytest.mark.parametrize("name", sorted({name for name, _ in rpc._OPTIONS + server._OPTIONS}))
def test_each_option_is_one_that_grpc_knows(name):
    assert name.encode() + b"\0" in Path(cygrpc.__file__).read_bytes()
