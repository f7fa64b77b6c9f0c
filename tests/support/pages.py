"""Pages of the documentation, as far as tests compare them with the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Pages that the site takes from the root.
AT_THE_ROOT = ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")


def names() -> list[str]:
    """Every page below docs/, decisions included."""
    return sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def text(name: str) -> str:
    return (DOCS / name).read_text()


def guides() -> list[str]:
    """Pages that say what is so now; a decision says what was so then."""
    return [name for name in names() if not name.startswith("adr/")]


def codes(markdown: str) -> list[str]:
    """What stands in code within a sentence."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", markdown)


def lines_of_code(markdown: str) -> list[str]:
    """Lines of the blocks of code: indented ones, and fenced ones."""
    fenced = [
        line
        for block in re.findall(r"```\w*\n(.*?)```", markdown, re.S)
        for line in block.splitlines()
    ]
    return [*re.findall(r"^ {4}(\S.*)$", markdown, re.M), *fenced]


def rows(markdown: str, head: str) -> list[list[str]]:
    """The rows of every table whose first column is called ``head``."""
    found: list[list[str]] = []
    wanted = False
    for line, after in zip(markdown.splitlines(), [*markdown.splitlines()[1:], ""], strict=True):
        if not line.startswith("|"):
            wanted = False
        elif after.startswith("|--"):
            wanted = _cells(line)[0] == head
        elif wanted and not line.startswith("|--"):
            found.append(_cells(line))
    return found


def firsts(markdown: str, head: str) -> list[str]:
    """What stands in code in the first column of these tables."""
    return [code for row in rows(markdown, head) for code in codes(row[0])]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def anchors(markdown: str) -> set[str]:
    """What a link may name behind a ``#``."""
    heads = re.findall(r"^#+ (.+?)(?: \{ #(\S+) \})?$", markdown, re.M)
    return {own or _slug(head) for head, own in heads}


def _slug(head: str) -> str:
    kept = re.sub(r"[^\w\s-]", "", head.replace("`", "")).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


def literals(*directories: str) -> Iterator[str]:
    """Every string of the code; what is filled into one later is ``…``."""
    for directory in directories:
        for path in sorted((ROOT / directory).rglob("*.py")):
            if not path.name.endswith(("_pb2.py", "_pb2_grpc.py")):
                yield from _literals(ast.parse(path.read_text()))


def _literals(tree: ast.AST) -> Iterator[str]:
    said = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if id(node) in said:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"\{[\w.:]+\}|%[sd]", "…", node.value)
