"""A machine that has installed Tetris from the wheel."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.models import random_model
from support.podman import Podman, engine, missing
from systemd.machine import REPOSITORY, Machine

_WHEELS = REPOSITORY / "build/wheelhouse"
_VENV = "python3 -m venv /opt/tetris"
_PIP = "/opt/tetris/bin/pip install -q --no-index --find-links /wheels 'tetris-serving[daemon]'"
_BOOTS = ("--change", 'CMD ["/lib/systemd/systemd"]', "--change", "STOPSIGNAL SIGRTMIN+3")


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    if why := missing():
        pytest.skip(why)
    with engine() as running:
        yield running


@pytest.fixture(scope="session")
def wheels() -> Path:
    """The wheel of ``make wheel`` and all it needs, to be installed without a network."""
    (wheel,) = (REPOSITORY / "dist").glob("*manylinux*.whl")
    for old in _WHEELS.glob("tetris_serving*"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", str(_WHEELS)]
    subprocess.run([*pip, f"{wheel}[daemon]"], check=True, timeout=600)
    return _WHEELS


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``one`` and ``two``, which every user may read."""
    directory = tmp_path_factory.mktemp("models")
    directory.chmod(0o755)
    for name in ("one", "two"):
        random_model(directory / name)
    return directory


@pytest.fixture(scope="session")
def image(podman: Podman, wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Debian with a systemd, and Tetris in /opt/tetris: no service yet."""
    tar = tmp_path_factory.mktemp("image") / "root.tar"
    subprocess.run([REPOSITORY / "tools/rootfs", "systemd", tar], check=True, timeout=600)
    podman("import", "-q", *_BOOTS, str(tar), "tetris-clean")
    machine = Machine(podman, "tetris-clean", f"{wheels}:/wheels:ro")
    machine.sh(f"! command -v cc && {_VENV}")
    began = time.monotonic()
    machine.sh(_PIP)
    installed = time.monotonic()
    machine.sh("/opt/tetris/bin/tetrisctl install")
    ready = time.monotonic()
    print(f"\npip install {installed - began:.1f} s, to the service {ready - began:.1f} s")
    machine.sh("/opt/tetris/bin/tetrisctl uninstall --purge")
    machine.stop_and_keep("tetris-installed")
    return "tetris-installed"


@pytest.fixture
def clean(podman: Podman, image: str, models: Path) -> Iterator[Machine]:
    """A machine that has booted, with no service yet."""
    with _machine(podman, image, models) as booted:
        yield booted


@pytest.fixture
def machine(clean: Machine) -> Machine:
    """A machine on which the service is ready."""
    clean.sh("/opt/tetris/bin/tetrisctl install")
    return clean


@contextmanager
def _machine(podman: Podman, image: str, models: Path) -> Iterator[Machine]:
    client = Path(__file__).parent / "client.py"
    booted = Machine(podman, image, f"{models}:/models:ro", f"{client}:/client.py:ro")
    # Members of group tetris may share.
    booted.sh("useradd --system --no-create-home ml; useradd --system --no-create-home stranger")
    try:
        yield booted
    finally:
        booted.remove()
