"""docs/security.md names tests that exist: a promise without its test is none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text()


def functions_of(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_page_names_exists():
    named = re.findall(r"`(\w+/test_\w+\.py)::(\w+)`", TEXT)
    assert len(named) > 40
    missing = [
        f"{file}::{test}" for file, test in named if test not in functions_of(ROOT / "tests" / file)
    ]
    assert missing == []


def test_the_page_names_every_test_of_an_attack():
    """An attack that is tried and not on the page is a promise that nobody can read."""
    for file in (ROOT / "tests" / "fault").glob("test_attacks_*.py"):
        for test in functions_of(file):
            assert not test.startswith("test_") or f"{file.name}::{test}`" in TEXT, test
