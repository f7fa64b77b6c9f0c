"""One Python target under atheris: ``python -m fuzz.drive TARGET [flags and corpora]``."""

from __future__ import annotations

import importlib
import random
import sys

import atheris

from support.tmpfs import enter_namespace


def main() -> None:
    """Instrument the product, not the test code, and hand over to libFuzzer."""
    enter_namespace()
    with atheris.instrument_imports(include=["tetris", "tetrisd"]):
        target = importlib.import_module(f"fuzz.{sys.argv[1]}")

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        rng = random.Random(seed)

        def bend(part: bytes) -> bytes:
            return bytes(atheris.Mutate(part, min(size, 2 * len(part) + 16)))

        try:
            return target.mutate(bytes(data), size, rng, bend)[:size]
        except (ValueError, OverflowError):  # a number that no field takes
            return bend(bytes(data))[:size]

    flags = [sys.argv[0], f"-max_len={target.MAX_SIZE}", *sys.argv[2:]]
    atheris.Setup(flags, target.run, custom_mutator=mutate)
    atheris.Fuzz()


main()
