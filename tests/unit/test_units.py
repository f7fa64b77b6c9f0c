"""What is shipped for systemd: the example settings, and the units without a running systemd."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tetrisd.settings import _FIXED as FIXED
from tetrisd.settings import _FIXED_OF_TENANT as FIXED_OF_TENANT
from tetrisd.settings import Settings, TenantSettings, parse

SHIPPED = Path(__file__).parents[2] / "systemd"
EXAMPLE = SHIPPED / "tetrisd.toml"
# By default not set at all: the example shows what one may write.
UNSET = {"capacity", "metrics", "group", "model_root", "quota"}
EXPOSURE = 20  # tenths

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: tools/system-packages"
)


def _written(directory: Path, text: str) -> Settings:
    file = directory / "tetrisd.toml"
    file.write_text(text)
    return parse(["--config", str(file)], {})


def _names(table: type) -> set[str]:
    return {entry.name for entry in dataclasses.fields(table) if entry.metadata}


def test_the_example_as_shipped_is_the_defaults_and_the_administrators_socket():
    found = parse(["--config", str(EXAMPLE)], {})
    assert found.admin_socket is not None
    assert dataclasses.replace(found, admin_socket=None) == Settings()


def test_the_example_shows_every_setting_at_its_default(tmp_path):
    text = re.sub(r"(?m)^#(?=\w+ = )", "", EXAMPLE.read_text())
    assert set(re.findall(r"(?m)^(\w+) = ", text)) == _names(Settings) | _names(TenantSettings)
    found = _written(tmp_path, text)
    for shown, default in ((found, Settings()), (found.tenants[0], TenantSettings())):
        for name in _names(type(shown)) - {"admin_socket"}:
            same = getattr(shown, name) == getattr(default, name)
            assert same != (name in UNSET), f"{name} = {getattr(shown, name)!r}"


def test_the_example_marks_what_only_a_start_reads():
    blocks = EXAMPLE.read_text().split("\n\n")
    marked = "\n".join(block for block in blocks if block.endswith('"') and "[start]" in block)
    assert set(re.findall(r"(?m)^#?(\w+) = ", marked)) == set(FIXED) | set(FIXED_OF_TENANT)


def test_the_example_of_several_tenants_loads(tmp_path):
    found = _written(tmp_path, re.sub(r"(?m)^##(?=[\w\[])", "", EXAMPLE.read_text()))
    assert [(t.name, t.sharing) for t in found.tenants] == [("blue", "host"), ("red", "tenant")]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with programs that exist here."""
    for name in ("tetrisd.service", "dev-shm-tetris.mount"):
        text = re.sub(r"/opt/tetris/bin/\w+", "/bin/true", (SHIPPED / name).read_text())
        (tmp_path / name).write_text(text)
    return tmp_path


@needs_systemd
def test_systemd_has_nothing_to_say_of_the_units(units):
    said = subprocess.run(
        ["systemd-analyze", "verify", "./tetrisd.service", "./dev-shm-tetris.mount"],
        cwd=units,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@needs_systemd
def test_the_service_is_exposed_to_little(units):
    """At most 2.0 of 10 by systemd's own measure."""
    service = str(units / "tetrisd.service")
    flags = ["--no-pager", "--offline=true", f"--threshold={EXPOSURE}"]
    said = subprocess.run(
        ["systemd-analyze", "security", *flags, service], capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 0, said.stdout[-400:]
