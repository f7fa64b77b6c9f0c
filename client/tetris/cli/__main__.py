"""``python -m tetris.cli``: tetrisctl without its script."""

import sys

from tetris.cli.main import main

sys.exit(main())
