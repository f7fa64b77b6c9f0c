"""What the tests of attacks share: one daemon, since no attack may change anything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hostile import PLACES
from support.tmpfs import can_mount
from support.victim import Victim, victim


@pytest.fixture(scope="session")
def target(shared_memory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """A daemon to attack; see :class:`support.victim.Victim`."""
    memory = Path(tempfile.mkdtemp(dir=shared_memory))
    with victim(tmp_path_factory.mktemp("victim"), memory) as made:
        yield made


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    """Where an attacker is; see :mod:`support.hostile`."""
    if os.geteuid() != 0 or not can_mount():
        pytest.skip("needs leave to become another user and to mount")
    return str(request.param)
