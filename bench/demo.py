"""The main job, seen: ``make demo``.

VGG16 in two stock processes, then in three that share it, then the same for an export that holds
every variable once; and a second model that shares its convolutional base. Nothing survives it but
the exported models in ``build/models``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import machine
import memory
import tetris
from host import Daemon, scratch
from instance import Instance
from models import MODELS, ensure

MB = 1e6
HEAD = f"{'process':<26}{'load':>9}{'load added':>13}{'private':>11}{'host total':>13}"


class Phase:
    """Processes that live together; prints a row for each as it comes."""

    def __init__(self, title: str, root: Path) -> None:
        self.outputs: list[str] = []
        self._root = root
        self._living: list[Instance] = []
        print(f"\n{title}\n{HEAD}", flush=True)

    def run(self, stack: ExitStack, runtime: str, model: Path, socket: Path) -> None:
        """Start one more process."""
        label = f"{len(self._living) + 1}. {runtime} {model.parent.name}"
        if sys.stdout.isatty():
            print(f"{label:<26}{'…':>9}", end="\r", flush=True)
        instance = stack.enter_context(Instance(runtime, model, socket))
        self._living.append(instance)
        self.outputs.append(instance.facts["output"])
        print(
            f"{label:<26}{instance.facts['load_s']:>7.2f} s"
            f"{instance.facts['growth'] / MB:>10,.0f} MB"
            f"{instance.cost().written / MB:>8,.0f} MB{self.total() / MB:>10,.0f} MB",
            flush=True,
        )

    def total(self) -> int:
        """Bytes of all processes, and the store's counted once."""
        used = sum(i.cost().proportional for i in self._living)
        return used + memory.resident(self._root)


def _compare(model: Path, daemon: Daemon) -> bool:
    """Two stock processes, then three sharing ones; whether all said the same, bit by bit."""
    name = model.parent.name
    with ExitStack() as stack:
        stock = Phase(f"{name}: two stock processes", daemon.root)
        before = memory.resident(daemon.root)
        for _ in range(2):
            stock.run(stack, "stock", model, daemon.socket)
        stock_total = stock.total() - before
    started = time.perf_counter()
    tetris.publish(model, socket=daemon.socket)
    print(f"\npublished {name} in {time.perf_counter() - started:.2f} s", end="")
    with ExitStack() as stack:
        shared = Phase(f" - {name}: three sharing processes", daemon.root)
        for _ in range(3):
            shared.run(stack, "tetris", model, daemon.socket)
        shared_total = shared.total()
        if name == "vgg16":
            _second_model(stack, shared, daemon)
            _stat(daemon)
    same = len({*stock.outputs, *shared.outputs[:3]}) == 1
    print(
        f"\n{name}: two stock processes {stock_total / MB:,.0f} MB, three sharing ones with the "
        f"store {shared_total / MB:,.0f} MB; outputs {'equal, bit by bit' if same else 'DIFFER'}"
    )
    return same


def _second_model(stack: ExitStack, phase: Phase, daemon: Daemon) -> None:
    """Another head on the same base: its base is resident already."""
    other = ensure("vgg16-head", MODELS)
    before = memory.resident(daemon.root)
    phase.run(stack, "tetris", other, daemon.socket)
    added = memory.resident(daemon.root) - before
    print(f"   vgg16-head shares the base of vgg16: the store grew by {added / MB:.2f} MB")


def _stat(daemon: Daemon) -> None:
    print("\n$ tetrisctl stat", flush=True)
    command = [sys.executable, "-m", "tetris.cli", "--socket", daemon.socket, "stat"]
    subprocess.run(command, check=True)
    print(
        "(asked for: what the four processes would hold with a private copy each, a tensor that\n"
        "the export holds twice counted once)"
    )


def main() -> int:
    """Run it; 1 when any output differed."""
    started = time.perf_counter()
    print(machine.sentence())
    models = []
    for name in ("vgg16", "vgg16-head", "vgg16-once"):
        print(f"building {name} (seeded weights) …", flush=True)
        models.append(ensure(name, MODELS))
    print(
        "\nload added: private memory the load cost; private: all that the process wrote;\n"
        "host total: fair shares of all processes of the group, libraries included, and the\n"
        "store counted once"
    )
    with scratch() as directory, Daemon(directory, MODELS) as daemon:
        print(daemon.log.strip().splitlines()[-1].partition("; ")[2])
        same = [_compare(model, daemon) for model in (models[0], models[2])]
    took = time.perf_counter() - started
    print(f"\ndone in {took:.0f} s; only the exported models in build/models are left")
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(main())
