"""Other people's words, made fit to be shown: by ``tetrisctl`` and by the daemon's log."""

from __future__ import annotations


def printable(text: str) -> str:
    """``text`` on one line, control characters and whatever steers a terminal escaped.

    Names, commands and hosts are other people's words.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
