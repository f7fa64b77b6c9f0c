"""``tetrisctl``: publish, and see what is shared."""

from tetris.cli.main import main

__all__ = ["main"]
