"""``python -m chaos``: kill clients and daemons at random moments; 1 when an invariant broke."""

from __future__ import annotations

import argparse
import sys
import time
from random import SystemRandom

from support.tmpfs import enter_namespace, tmpfs

enter_namespace()  # before anything makes a thread

from chaos.driver import KILLS_PER_ROUND, MODULES, Run  # noqa: E402
from chaos.tenants import TENANTS  # noqa: E402
from chaos.world import World  # noqa: E402
from support.zygote import Zygote  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one")
    given = parser.parse_args()
    seed = SystemRandom().randrange(1 << 32) if given.seed is None else given.seed
    print(f"chaos: {given.kills} kills, seed {seed}", flush=True)
    with (
        tmpfs("size=256m") as work,
        tmpfs("size=512m,huge=within_size") as mount,
        Zygote(*MODULES) as zygote,
    ):
        work.chmod(0o700)
        world = World(str(work), str(mount), tuple(TENANTS))
        run = Run(world, zygote, seed)
        begun = time.monotonic()
        number = 0
        while run.tally.counted < given.kills and not run.board.faults():
            run.round(number, min(KILLS_PER_ROUND, given.kills - run.tally.counted))
            number += 1
            print(_progress(run, begun), flush=True)
        return _report(run, seed, given.kills, time.monotonic() - begun)


def _progress(run: Run, begun: float) -> str:
    seconds = time.monotonic() - begun
    return (
        f"{run.tally.counted:6} kills, {run.tally.of_daemons} of the daemon; "
        f"{run.board.total('tensors checked')} tensors checked; {seconds:.0f} s"
    )


def _report(run: Run, seed: int, kills: int, seconds: float) -> int:
    print(run.table())
    counted, of_daemons = run.tally.counted, run.tally.of_daemons
    print(f"{counted} kills, {of_daemons} of them of the daemon, in {seconds:.0f} s")
    faults = run.board.faults()
    if 3 * of_daemons < counted:
        faults.append("other faults: fewer than a third of the kills hit the daemon")
    for fault in faults[:20]:
        print(fault)
    if faults:
        print(f"FAILED; to replay: make chaos SEED={seed} KILLS={kills}")
    return bool(faults)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
