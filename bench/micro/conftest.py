"""A huge-page tmpfs and a daemon with ResNet152 for the micro-benchmarks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from host import Daemon, scratch
from models import MODELS, ensure


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """A directory on a tmpfs, with huge pages where one may be mounted."""
    with scratch() as directory:
        yield directory


@pytest.fixture(scope="session")
def resnet152() -> Path:
    """932 variables, all different."""
    return ensure("resnet152-once", MODELS)


@pytest.fixture(scope="session")
def socket(memory: Path) -> Iterator[Path]:
    """The socket of a daemon that may read the models."""
    with Daemon(memory, MODELS) as daemon:
        yield daemon.socket
