"""The run: keeps a daemon and some clients alive, sees to it that they are not, and takes stock."""

from __future__ import annotations

import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from chaos import catalog
from chaos.board import COUNTS, INVARIANTS, Board
from chaos.client import FORKED, PATIENCE
from chaos.tenants import arguments
from chaos.world import World
from support import invariants
from support.daemon import wait_until
from support.marks import Marks, steps_in
from support.tmpfs import can_mount
from support.zygote import Child, Zygote
from tetris.errors import TetrisError
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

MODULES = ("tetrisd.main", "chaos.client", "chaos.admin")
CLIENTS = 5
KILLS_PER_ROUND = 50
MODELS = 60
# Rounds after which a store that cannot evict is emptied by hand.
EMPTIED = 3

# How often a daemon is to die in which operation; in any step of a start, few others happen.
WEIGHTS = {
    "publish": 5,
    "attach": 4,
    "release": 3,
    "write": 3,
    "settle": 2,
    "evict": 2,
    "change": 1,
    "recover": 1,
    "start": 1,
}

_SOURCES = Path(__file__).parents[2] / "tetrisd"


@dataclass
class Worker:
    """One place, and the processes that follow each other on it.

    Attributes:
        ends_at: when it is to end, if it still lives; None for never.
        how: the signal for that; None to let it die at the next step it comes to.
    """

    name: str
    row: int
    rng: Random
    marks: Marks
    child: Child | None = None
    ends_at: float | None = None
    how: int | None = signal.SIGKILL


@dataclass
class Tally:
    """What the run has come to."""

    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    idle: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)

    @property
    def counted(self) -> int:
        return sum(self.kills.values())

    @property
    def of_daemons(self) -> int:
        return sum(n for (victim, _), n in self.kills.items() if victim == "daemon")


class Run:
    """One run. Everything random in it comes from ``seed``."""

    def __init__(self, world: World, zygote: Zygote, seed: int) -> None:
        self.world = world
        self.zygote = zygote
        self.seed = seed
        self.tally = Tally()
        self.board: Board = world.board()
        self.daemon = self._worker("daemon", 0)
        names = [*(f"client-{i}" for i in range(1, CLIENTS + 1)), "admin"]
        self.clients = [self._worker(name, row) for row, name in enumerate(names, 1)]
        assert len(names) < FORKED
        self._steps = sorted(steps_in(*_SOURCES.glob("*.py")))
        self._shared = catalog.backbones(self._random("backbones"))

    def _random(self, what: str) -> Random:
        return Random(f"{self.seed}/{what}")

    def _worker(self, name: str, row: int) -> Worker:
        return Worker(name, row, self._random(name), Marks(self.world.marks(name)))

    # Starting, and deciding how it ends.

    def _start_daemon(self, *, armed: bool = True) -> None:
        self.daemon.marks.clear()
        if armed:
            self._arm_daemon()
        self._fork(self.daemon, "tetrisd.main:main", arguments(self.world))

    def _arm_daemon(self) -> None:
        """Most die by their own hand at a step, the others whenever it hits them."""
        worker, rng = self.daemon, self.daemon.rng
        draw = rng.random()
        if draw < 0.4:
            worker.marks.arm(rng.choice(self._steps), rng.randrange(1, 3))
        elif draw < 0.9:
            operations, weights = zip(*WEIGHTS.items(), strict=True)
            operation = rng.choices(operations, weights)[0]
            worker.marks.arm(f"{operation}:", rng.randrange(1, 20))
        how = rng.choice([signal.SIGKILL] * 3 + [signal.SIGTERM])
        worker.how = None if draw < 0.85 else how
        self._ends_within(worker, 0.05, 0.4)

    def _start_client(self, worker: Worker) -> None:
        rng, seed = worker.rng, worker.rng.getrandbits(48)
        worker.marks.clear()
        draw = rng.random()
        if draw < 0.5:
            worker.marks.arm("", rng.randrange(1, 100))
        elif draw < 0.7:
            worker.how = signal.SIGKILL
            self._ends_within(worker, 0.0, 0.3)
        program = "chaos.admin:run" if worker.name == "admin" else "chaos.client:run"
        self._fork(worker, program, self.world.to_json(), worker.row, seed, rng.randrange(5, 30))

    def _fork(self, worker: Worker, target: str, *rest) -> None:
        worker.child = self.zygote.fork(
            target, *rest, log=str(self.world.log(worker.name)), marks=str(worker.marks.path)
        )

    def _ends_within(self, worker: Worker, low: float, high: float) -> None:
        worker.ends_at = time.monotonic() + worker.rng.uniform(low, high)

    # Watching.

    def _workers(self) -> list[Worker]:
        return [self.daemon, *self.clients]

    def _kill_those_due(self) -> float:
        """End those whose time has come; seconds until the next."""
        now = time.monotonic()
        for worker in self._workers():
            if worker.child and worker.ends_at is not None and worker.ends_at <= now:
                self._ends_within(worker, 0.05, 0.4)  # unless it works
                if not self._still_starts(worker):
                    self._end(worker)
        due = [w.ends_at for w in self._workers() if w.child and w.ends_at is not None]
        return max(0.0, min([0.2, *(at - now for at in due)]))

    def _end(self, worker: Worker) -> None:
        if worker.how is None:
            # It does not come to the step it was to die at: then at the next it comes to.
            worker.marks.arm("", 1 + worker.rng.randrange(5))
        else:
            worker.child.kill(worker.how)
        # One that was asked to end, and does not, is made to.
        worker.how = signal.SIGKILL

    def _still_starts(self, worker: Worker) -> bool:
        """A daemon on a busy host: were it killed by the clock, none would come to work."""
        mark = worker.marks.in_flight()
        return worker is self.daemon and mark is not None and mark.operation == "start"

    def _bury(self) -> None:
        """Count those who died."""
        for worker in self._workers():
            if worker.child is None or worker.child.status is None:
                continue
            status, kind = worker.child.status, worker.name.partition("-")[0]
            worker.child = worker.ends_at = None
            if status == -signal.SIGKILL:
                mark = worker.marks.in_flight()
                if mark is None:
                    self.tally.idle[kind] += 1
                else:
                    self.tally.kills[kind, _place(mark.operation, mark.step)] += 1
            elif status in (0, -signal.SIGTERM):  # asked to end, the latter before it listened
                self.tally.ended[kind] += 1
            else:
                log = self.world.log(worker.name).read_text()[-1500:]
                self.board.fault("other faults", f"{worker.name} ended with {status}: {log}")

    # A round.

    def round(self, number: int, kills: int) -> None:
        """Work until so many were killed in it; then see what is left."""
        rng = self._random(f"round {number}")
        shutil.rmtree(self.world.models, ignore_errors=True)
        self.board.forget_models()
        models = MODELS // len(self.world.tenants)
        self.world.save_catalog(catalog.build(self.world.models, rng, self._shared, models))
        goal = self.tally.counted + kills
        if self.daemon.child is not None:
            self._arm_daemon()  # the one that served the stock-taking
        while self.tally.counted < goal and not self.board.faults():
            if self.daemon.child is None:
                self._start_daemon()
            for worker in self.clients:
                if worker.child is None:
                    self._start_client(worker)
            self.zygote.listen(self._kill_those_due())
            self._bury()
        self._quiesce()
        self._take_stock(rng.getrandbits(48))
        if number % EMPTIED == EMPTIED - 1:
            self._empty()

    def _quiesce(self) -> None:
        """Clients end, those they left behind too; a daemon is up that nobody will kill."""
        self.board.stopping = True
        deadline = time.monotonic() + 2 * PATIENCE
        self.daemon.marks.arm()
        self.daemon.ends_at = None
        while any(w.child for w in self.clients) or self.zygote.descendants() > 1:
            if self.daemon.child is None:
                self._start_daemon(armed=False)
            self.zygote.listen(0.02)
            self._kill_those_due()
            self._bury()
            if time.monotonic() > deadline:
                self.board.fault("stuck publishers", f"no end: {self._what_they_do()}")
                break
        if self.daemon.child is None:
            self._start_daemon(armed=False)
        self.board.stopping = False

    def _what_they_do(self) -> str:
        """Where in the code every process is that still lives."""
        alive = [worker for worker in self._workers() if worker.child]
        for worker in alive:
            self.world.log(worker.name).write_text("")
            worker.child.kill(signal.SIGUSR1)
        time.sleep(1)
        return "\n".join(f"{w.name}: {self.world.log(w.name).read_text()}" for w in alive)

    def _take_stock(self, seed: int) -> None:
        """The invariants, with nobody about."""
        self._ask_all()
        for name, check in (("leaked bytes", self._leaks), ("wrong bytes", self._wrong)):
            for sentence in check():
                self.board.fault(name, sentence)
        self._check_kept()
        row = len(self.clients) + 1
        sweep = self.zygote.fork(
            "chaos.client:sweep",
            self.world.to_json(),
            row,
            seed,
            4,
            log=str(self.world.log("sweep")),
        )
        if sweep.wait(2 * PATIENCE):
            log = self.world.log("sweep").read_text()[-1500:]
            self.board.fault("other faults", f"the last reader failed: {log}")
        if "Traceback" in (log := self.world.log("daemon").read_text()):
            self.board.fault("other faults", f"in the daemon's log: {log[-1500:]}")

    def _ask_all(self) -> None:
        """Wait for the daemon, and have it look at its leases."""

        def answers() -> bool:
            try:
                for tenant in self.world.tenants:
                    self._leases(tenant)
            except TetrisError:
                return False
            return True

        wait_until(answers, what="an answer of the daemon")

    def _leases(self, tenant: str) -> list[pb.Lease]:
        rpc = Rpc(self.world.socket(tenant))
        return rpc.collect("ListLeases", pb.ListLeasesRequest(), lambda lease: lease)

    def _leaks(self) -> list[str]:
        """What stays leaked: calls whose clients died may still be undone when we first look."""
        deadline = time.monotonic() + 10
        while True:
            try:
                found = invariants.leaked(self.world.root)
                if can_mount():
                    found += invariants.unaccounted(Path(self.world.mount))
            except (OSError, TetrisError) as changing:
                found = [str(changing)]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.02)
            self._ask_all()

    def _wrong(self) -> list[str]:
        return invariants.wrong(self.world.root)

    def _check_kept(self) -> None:
        """What somebody was told is published, and could not go, is there."""
        models = self.world.catalog()
        for index, tenant in enumerate(self.world.tenants):
            there = {m.fingerprint.hex() for m in invariants.manifests(self.world.root)[tenant]}
            for number, known in enumerate(models):
                flag = index * len(models) + number
                if self.board.pinned(flag) and known.fingerprint not in there:
                    self.board.fault("early removals", f"{known.path} of {tenant} is gone")

    def _empty(self) -> None:
        """Forget every model. A clean stop and start in between."""
        self.daemon.child.kill(signal.SIGTERM)
        self.daemon.child.wait()
        self._bury()
        for manifest in (self.world.root / "models").glob("*/*"):
            manifest.unlink()
        self._start_daemon(armed=False)
        self._ask_all()
        if left := list((self.world.root / "objects").glob("*/*")):
            self.board.fault("leaked bytes", f"{len(left)} objects outlive their models")
        self.world.log("daemon").write_text("")

    def table(self) -> str:
        """Kills by victim and step, operations, violations."""
        lines = ["kills by victim and step"]
        lines += [f"  {v:8} {s:44} {n:6}" for (v, s), n in sorted(self.tally.kills.items())]
        lines.append("operations completed")
        lines += [f"  {what:53} {self.board.total(what):6}" for what in COUNTS]
        lines += [
            f"  {kind + 's that came to their own end':53} {n:6}"
            for kind, n in self.tally.ended.items()
        ]
        lines.append("not counted: killed with nothing in flight")
        lines += [f"  {kind:53} {n:6}" for kind, n in sorted(self.tally.idle.items())]
        lines.append("violations")
        found = Counter(f.partition(":")[0] for f in self.board.faults())
        lines += [f"  {name:53} {found[name]:6}" for name in INVARIANTS]
        return "\n".join(lines)


def _place(operation: str, step: str) -> str:
    return step if step.startswith(operation) else f"{operation} / {step}"
