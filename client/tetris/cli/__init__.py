"""``tetrisctl``: publish, and see what is shared."""

from __future__ import annotations

__all__ = ["start"]


def start() -> int:
    """Run the script; Ctrl-C is no traceback, also while the rest is being imported."""
    try:
        from tetris.cli.main import main

        return main()
    except KeyboardInterrupt:
        return 130
