"""``python -m tetris.cli``: tetrisctl without its script."""

import sys

from tetris.cli import start

sys.exit(start())
