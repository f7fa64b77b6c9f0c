"""Docstrings are written for readers of the source; here they become Markdown for the site."""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_CODE = re.compile(r"^::\n\n((?: {4}.*\n|\n)+)", re.MULTILINE)
_ROLE = re.compile(r":(?:class|func|meth|mod):`~?([\w.]+)`")


class Docstrings(griffe.Extension):
    """Rewrites what is spelled otherwise: literal blocks, and names of other objects."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Called by griffe for a package."""
        self.on_object(obj=pkg)

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for everything in a package."""
        if obj.docstring is not None:
            text = _CODE.sub(_fenced, obj.docstring.value + "\n")
            obj.docstring.value = _ROLE.sub(r"`\1`", text).rstrip("\n")


def _fenced(block: re.Match[str]) -> str:
    code = textwrap.dedent(block[1]).strip("\n")
    language = "text" if "──" in code else "python"
    return f"```{language}\n{code}\n```\n\n"
