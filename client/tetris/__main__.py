"""``python -m tetris script.py args…`` or ``-m module args…``: run a program with sharing on.

The program is unchanged, and one that never imports TensorFlow pays nothing: sharing is enabled
when TensorFlow has been imported. ``TETRIS_SOCKET`` says where the daemon is.
"""

from __future__ import annotations

import logging
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_USAGE = "usage: python -m tetris (SCRIPT | -m MODULE) [ARGUMENT ...]"


class _AfterImport(MetaPathFinder):
    """Calls ``action`` once the module ``name`` has been imported."""

    def __init__(self, name: str, action: Callable[[], object]) -> None:
        self._name = name
        self._action = action

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec), None)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def load_and_act(module: ModuleType) -> None:
                load(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    self._action()

            # On this loader alone; being asked for the spec is no import yet.
            spec.loader.exec_module = load_and_act  # type: ignore[method-assign]
        return spec


def _enable() -> None:
    try:
        import tetris.tensorflow

        tetris.tensorflow.enable()
    except Exception as error:  # the program must run, sharing or not
        logging.getLogger("tetris").warning("weights are not shared: %s", error)


def main() -> None:
    """Take this module's arguments off ``sys.argv`` and become the program."""
    arguments = sys.argv[1:]
    is_module = arguments[:1] == ["-m"]
    if not arguments or arguments == ["-m"] or (arguments[0].startswith("-") and not is_module):
        raise SystemExit(_USAGE) if arguments[:1] not in (["-h"], ["--help"]) else _help()
    sys.meta_path.insert(0, _AfterImport("tensorflow", _enable))
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
