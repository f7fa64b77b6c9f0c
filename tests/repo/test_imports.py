"""Imports point one way, and only one module imports the compiled one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {"tetris": ROOT / "client/tetris", "tetrisd": ROOT / "tetrisd"}

# Who may import whom, of our own packages and of the heavy ones.
ALLOWED = {"tetris": {"tetris"}, "tetrisd": {"tetris", "tetrisd"}}
# Heavy packages, and the only places that may import them at all.
HEAVY = {
    "tensorflow": {"tetris/tensorflow"},
    "numpy": {"tetris/model.py", "tetris/array.py", "tetris/tensorflow"},
    "ml_dtypes": {"tetris/model.py", "tetris/tensorflow"},
}


def _files():
    for package, directory in PACKAGES.items():
        for path in sorted(directory.rglob("*.py")):
            yield pytest.param(package, path, id=str(path.relative_to(directory.parent)))


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize(("package", "path"), list(_files()))
def test_imports_point_one_way(package, path):
    place = f"{package}/{path.relative_to(PACKAGES[package])}"
    for name in _imports(path):
        top = name.partition(".")[0]
        if top in PACKAGES:
            assert top in ALLOWED[package], f"{place} imports {name}"
        if top in HEAVY:
            assert any(place.startswith(where) for where in HEAVY[top]), f"{place} imports {name}"
        if name.startswith("tetris._native"):
            assert place == "tetris/shm.py", f"{place} imports the compiled module"


def test_the_daemon_loads_neither_numpy_nor_tensorflow():
    """What the whole import of the daemon brings in, as a fresh interpreter sees it."""
    from support.daemon import run_python

    found = run_python(
        "import sys, tetrisd.main; print([m for m in ('numpy', 'tensorflow') if m in sys.modules])"
    )
    assert found.stdout.strip() == "[]", found.stderr
