"""``python -m tetrisd``."""

import sys

from tetrisd.main import main

sys.exit(main())
