"""What every test may use: a tmpfs, a daemon, a client's environment."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemon import Daemon
from support.store import Stored
from support.tmpfs import enter_namespace, tmpfs


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    enter_namespace()
    if config.option.basetemp is None:
        # Of this run alone: every other run shuts the common one to the users our tests become.
        directory = tempfile.mkdtemp(prefix="tetris-run-")
        config.option.basetemp = directory
        config.add_cleanup(lambda: shutil.rmtree(directory, ignore_errors=True))


@pytest.fixture(scope="session")
def shared_memory() -> Iterator[Path]:
    """A tmpfs for the run, with huge pages where it may mount one."""
    with tmpfs() as directory:
        yield directory


@pytest.fixture
def memory(shared_memory: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A fresh directory on the run's tmpfs."""
    directory = Path(tempfile.mkdtemp(dir=shared_memory))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def daemon(memory: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A running tetrisd that may read models below ``tmp_path / "models"``."""
    models = tmp_path / "models"
    models.mkdir()
    with Daemon(tmp_path, f"--model-root={models}", root=memory / "root") as running:
        yield running


@pytest.fixture
def stored(memory: Path) -> Iterator[Stored]:
    """A store in this process, with one tenant and a clock that the test moves."""
    opened = Stored(memory / "root")
    yield opened
    opened.close()
