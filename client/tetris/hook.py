"""Sharing for a program that does not know of it: enabled when TensorFlow has been imported.

A program that never imports TensorFlow pays nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def install() -> None:
    """Share weights in this process from its import of TensorFlow on."""
    if not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport("tensorflow", _enable))


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
        import logging

        logging.getLogger("tetris").warning("weights are not shared: %s", error)
