"""Whether sharing changes what a model says: outputs of stock and sharing processes, bit by bit."""

from __future__ import annotations

import tetris
from figures import Figure
from host import Daemon, scratch
from instance import Instance
from models import MODELS, ensure

NAMES = ("mobilenetv2", "resnet50", "resnet152-once", "vgg16")


def measure() -> list[Figure]:
    """One stock and one sharing process for each model."""
    different = []
    with scratch() as directory, Daemon(directory, MODELS) as daemon:
        for name in NAMES:
            path = ensure(name, MODELS)
            tetris.publish(path, socket=daemon.socket)
            with Instance("stock", path) as stock, Instance("tetris", path, daemon.socket) as ours:
                if stock.facts["output"] != ours.facts["output"]:
                    different.append(name)
    return [
        Figure(
            "models whose outputs differ from stock by any bit",
            len(different),
            f"of {len(NAMES)}",
            at_most=0,
            detail=", ".join(different or NAMES),
        )
    ]
