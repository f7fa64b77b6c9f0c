"""``python -m tetris script.py args…`` or ``-m module args…``: run a program with sharing on.

The program is unchanged, and one that never imports TensorFlow pays nothing: sharing is enabled
when TensorFlow has been imported. ``TETRIS_SOCKET`` says where the daemon is.
"""

from __future__ import annotations

import os
import runpy
import sys

from tetris import hook

_USAGE = "usage: python -m tetris (SCRIPT | -m MODULE) [ARGUMENT ...]"


def main() -> None:
    """Take this module's arguments off ``sys.argv`` and become the program."""
    arguments = sys.argv[1:]
    is_module = arguments[:1] == ["-m"]
    if not arguments or arguments == ["-m"] or (arguments[0].startswith("-") and not is_module):
        raise SystemExit(_USAGE) if arguments[:1] not in (["-h"], ["--help"]) else _help()
    hook.install()
    if is_module:
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        if not getattr(sys.flags, "safe_path", False):
            sys.path[0] = os.path.dirname(os.path.realpath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


def _help() -> SystemExit:
    sys.stdout.write(f"{__doc__}\n{_USAGE}\n")
    return SystemExit(0)


if __name__ == "__main__":
    main()
