"""Roots as older daemons left them."""

from __future__ import annotations

from pathlib import Path


def to_layout_1(root: Path) -> None:
    """Put everything where the first layout had it: one tenant, no pools, no quarantine."""
    for parent, child in (("objects", "_shared"), ("leases", "default")):
        for file in (root / parent / child).iterdir():
            file.rename(root / parent / file.name)
        (root / parent / child).rmdir()
    (root / "quarantine").rmdir()
    (root / "version").write_text("1\n")
