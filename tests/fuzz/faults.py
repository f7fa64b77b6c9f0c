"""Faults to plant: what a fuzzer must find, or it proves nothing by finding nothing.

A fault is a change to a copy of the sources; a valid input does not meet it. If its text is no
longer there, planting fails loudly: then write it anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Fault(NamedTuple):
    """One change.

    Attributes:
        target: whose fuzzer must find it.
        what: in a few words.
        file: which source, from the top of the repository.
        old: what stands there once.
        new: what stands there then.
    """

    target: str
    what: str
    file: str
    old: str
    new: str

    def plant(self, top: Path) -> None:
        """Change the copy of the sources below ``top``."""
        path = top / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.file} has no longer: {self.old}"
        path.write_text(text.replace(self.old, self.new))


FAULTS = (
    Fault(
        "index",
        "a number may run past the end of what holds it",
        "client/tetris/formats/table.py",
        "while at < end and shift < 64:",
        "while shift < 64:",
    ),
    Fault(
        "index",
        "slices may overlap and leave holes",
        "client/tetris/formats/bundle.py",
        "elif tiles(shape, boxes):",
        "elif boxes:",
    ),
    Fault(
        "manifest",
        "a manifest may give a segment another size",
        "tetrisd/models.py",
        "if resident.get(digest) != nbytes:",
        "if digest not in resident:",
    ),
    Fault(
        "rpc",
        "a tensor may claim the bytes of one of another size",
        "tetrisd/claims.py",
        "not 0 <= twin < index or claims[twin].nbytes != claim.nbytes",
        "not 0 <= twin < index",
    ),
    Fault(
        "rpc",
        "a stream that ends early is read on",
        "tetrisd/sources.py",
        "if chunk is None:",
        "if chunk == b'':",
    ),
    Fault(
        "digest",
        "a value is lost when one level of the tree has 29",
        "csrc/blake3.c",
        "if (count % 2)",
        "if (count % 2 && count != 29)",
    ),
    Fault(
        "digest",
        "a buffer is one byte short for the largest step",
        "csrc/file.c",
        "malloc(STEP)",
        "malloc(STEP - 1)",
    ),
)
