"""What every Python below ``tetrisctl run`` runs at its start: this directory is in PYTHONPATH.

It must neither show nor fail: the program finds the ``sys.path`` and the ``sitecustomize`` that it
would have had, and a Python without tetris runs as ever.
"""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != _here]

try:
    from tetris import hook
except Exception:  # noqa: S110 - tetris is not in this Python, or is another version of it
    pass
else:
    hook.install()

# The one that this one hides; what it raises is its own, and `site` tells.
_ours = sys.modules.pop("sitecustomize")
try:
    import sitecustomize  # noqa: F401
except ImportError as _missing:
    if _missing.name != "sitecustomize":
        raise
    sys.modules["sitecustomize"] = _ours  # whoever imports a module wants to find it there
