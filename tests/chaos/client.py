"""A client in the chaos: it does random things until it is killed, or has done enough.

It checks every byte it maps, and reports what must not happen; that its daemon dies may happen.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NoReturn

from chaos.catalog import Known
from chaos.world import World
from support import marks
from support.marks import operation, reached
from support.programs import by_stream
from tetris.attachment import Attachment
from tetris.client import Client
from tetris.errors import (
    ConflictError,
    NoSpaceError,
    NotAllowedError,
    NotFoundError,
    TetrisError,
    UnavailableError,
)
from tetris.formats.model import locate
from tetris.manifest import Tensor
from tetris.settings import view_path
from tetris.shm import Mapping, digest
from tetris.v1 import tetris_pb2 as pb
from tetris.wire import manifest_from_wire

# Seconds after which a call that a daemon neither answers nor drops is stuck.
PATIENCE = 40.0
_HELD = 4  # leases at once
FORKED = 32  # the row of a forked child is so much further down


class Held:
    """One lease, and what is mapped of its model so far."""

    def __init__(self, known: Known, attachment: Attachment, client: Client) -> None:
        self.known = known
        self.attachment = attachment
        self.client = client
        self.mapped: dict[str, Mapping] = {}
        self.left = [t for t in attachment.manifest.tensors if t.nbytes]


class Actor:
    """One client."""

    def __init__(self, world: World, row: int, seed: int) -> None:
        self.world = world
        self.board = world.board(row)
        self.rng = Random(seed)
        self.models = world.catalog()
        self.held: list[Held] = []
        self.loose: list[tuple[Tensor, Mapping]] = []  # mapped, under no lease any more

    def act(self) -> None:
        """One random operation."""
        choices: list[tuple[Callable[[], None], int]] = [
            (self.publish, 4),
            (self.attach, 4),
            (self.map_more, 3),
            (self.check, 2),
            (self.release, 3),
            (self.fork, 1),
        ]
        actions, weights = zip(*choices, strict=True)
        self.rng.choices(actions, weights)[0]()

    def publish(self) -> None:
        """By path or by stream; sure to succeed in the end."""
        tenant, model = self._some_model()
        how = self.rng.choice(["path", "stream"])
        with operation(f"publish by {how}"):
            self._publish(tenant, model, how)

    def attach(self) -> None:
        """Attach, publishing first what is not there; map some of it."""
        if len(self.held) == _HELD:
            self.release()
        tenant, model = self._some_model()
        with operation("attach"):
            held = self._lease(tenant, model)
            if held is None:
                return
            self.held.append(held)
            self.board.add("attaches")
            self._map(held, self.rng.randrange(len(held.left) + 1))

    def map_more(self) -> None:
        """Map the rest of a model whose lease has lasted for a while."""
        if self.held:
            held = self.rng.choice(self.held)
            with operation("map"):
                self._map(held, len(held.left))

    def check(self) -> None:
        """What is mapped has the bytes of the source, whatever has died since."""
        for held in self.held:
            for name, mapping in held.mapped.items():
                self._check(held.known.digests[name], mapping)
        for tensor, mapping in self.loose:
            self._check(tensor.digest.hex(), mapping)

    def release(self) -> None:
        """Give a lease back, as a client should; keep one of its mappings."""
        if not self.held:
            return
        held = self.held.pop(self.rng.randrange(len(self.held)))
        tensors = {t.name: t for t in held.attachment.manifest.tensors}
        self.loose = [(tensors[n], m) for n, m in held.mapped.items()][:1]
        with operation("release"):
            held.mapped.clear()
            reached("release: unmapped")
            lease, held.attachment = held.attachment.lease, None
            reached("release: unlocked")
            held.client.release(lease)
            self.board.add("releases")

    def fork(self) -> None:
        """A child that shares the leases, lives on, and may outlive its parent."""
        with operation("fork"):
            if not os.fork():
                marks.install(None)
                self._be_child()
            self.board.add("forks")

    def _be_child(self) -> NoReturn:
        self.board.row += FORKED
        signal.alarm(30)  # whatever happens to those who would end it
        status = 1
        try:
            for _ in range(self.rng.randrange(1, 4)):
                self.rng.choice([self.check, self.map_more, self.attach])()
                time.sleep(self.rng.random() * 0.1)
            self.check()
            status = 0
        except BaseException as failed:
            self.board.fault("other faults", f"in a forked child: {failed!r}")
        finally:
            os._exit(status)

    def _some_model(self) -> tuple[str, int]:
        return self.rng.choice(self.world.tenants), self.rng.randrange(len(self.models))

    def _publish(self, tenant: str, model: int, how: str) -> bool:
        client, known = self._client(tenant), self.models[model]
        publish = self._by_path if how == "path" else self._by_stream
        try:
            self._patiently(client, lambda: publish(client, known), f"publishing {known.path}")
            return True
        except NoSpaceError:
            pass  # the others hold what there is
        except TimeoutError as stuck:
            self.board.fault("stuck publishers", str(stuck))
        return False

    def _by_path(self, client: Client, known: Known) -> None:
        request = pb.PublishPathRequest(path=known.path)
        answer = client.rpc.call("PublishPath", request, timeout=PATIENCE)
        self._published("publishes by path", answer)

    def _by_stream(self, client: Client, known: Known) -> None:
        self._published("publishes by stream", by_stream(client, locate(known.path)))

    def _published(self, what: str, answer: pb.PublishResponse) -> None:
        reached("publish: answered")
        self.board.add(what if answer.published else "publishes that met a published model")

    def _lease(self, tenant: str, model: int) -> Held | None:
        client, known = self._client(tenant), self.models[model]
        for _ in range(100):
            try:
                what = f"attaching {known.path}"
                return self._patiently(client, lambda: self._attach(client, known), what)
            except NotFoundError:
                if not self._publish(tenant, model, self.rng.choice(["path", "stream"])):
                    return None
            except TimeoutError as stuck:
                self.board.fault("stuck publishers", str(stuck))
                return None
        self.board.fault("stuck publishers", f"{known.path} goes as soon as it comes")
        return None

    def _attach(self, client: Client, known: Known) -> Held:
        request = pb.AttachRequest(
            fingerprint=bytes.fromhex(known.fingerprint),
            holder=pb.Holder(pid=os.getpid(), command="chaos", host="here"),
        )
        answer = client.rpc.call("Attach", request, timeout=PATIENCE)
        reached("attach: answered")
        manifest = manifest_from_wire(answer.manifest)
        digests = {t.name: t.digest.hex() for t in manifest.tensors}
        if digests != known.digests:
            self.board.fault("wrong bytes", f"the manifest of {known.path} is another model's")
        try:
            view = view_path(answer.view, client.rpc.socket, answer.lease)
            attachment = Attachment(view, answer.lease, manifest)
        except NotAllowedError as failed:
            self.board.fault("early removals", f"a lease on {known.path}: {failed}")
            raise
        reached("attach: locked")
        return Held(known, attachment, client)

    def _map(self, held: Held, number: int) -> None:
        for _ in range(number):
            tensor = held.left.pop()
            try:
                mapping = held.attachment.map(tensor)
            except NotFoundError as failed:
                self.board.fault("early removals", f"{held.known.path}, under a lease: {failed}")
                continue
            reached("map: mapped")
            held.mapped[tensor.name] = mapping
            self._check(held.known.digests[tensor.name], mapping)

    def _check(self, expected: str, mapping: Mapping) -> None:
        found = digest(mapping.buffer()).hex()
        self.board.add("tensors checked")
        if found != expected:
            self.board.fault("wrong bytes", f"segment {expected} reads as {found}")

    def _client(self, tenant: str) -> Client:
        return Client(self.world.socket(tenant))

    def _look_out(self, client: Client) -> None:
        """Wait a little, or until somebody listens: far cheaper than a call that fails."""
        for _ in range(20):
            time.sleep(0.005 + self.rng.random() * 0.005)
            with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
                probe.connect(str(client.rpc.socket))
                return

    def _patiently(self, client: Client, call: Callable[[], object], what: str):
        """Until a daemon does it. One that dies is a reason to try again, and not to be patient.

        Raises:
            TimeoutError: the call did not come back by its deadline.
        """
        while True:
            begun = time.monotonic()
            try:
                return call()
            except (UnavailableError, ConflictError) as failed:
                if time.monotonic() > begun + PATIENCE:
                    raise TimeoutError(f"{what}: {failed}; {self._state()}") from None
                self.board.add("calls tried again")
                self._look_out(client)

    def _state(self) -> str:
        """Of this process, for people: which threads it has, what they took, what it has open."""
        who = "a forked child" if self.board.row > FORKED else "a client"
        threads = [_thread(task) for task in Path("/proc/self/task").iterdir()]
        descriptors = [os.readlink(fd) for fd in _links(Path("/proc/self/fd"))]
        return f"{who}; threads {threads}; descriptors {descriptors}"


def _thread(task: Path) -> str:
    fields = (task / "stat").read_text().rpartition(")")[2].split()
    return f"{(task / 'comm').read_text().strip()}: {fields[11]}+{fields[12]} ticks"


def _links(directory: Path) -> list[Path]:
    return [path for path in directory.iterdir() if path.is_symlink()]


def run(world: str, row: int, seed: int, operations: int) -> int:
    """Do so many random operations; 0, or 1 for an error that nothing explains."""
    actor = Actor(World.from_json(world), row, seed)
    for _ in range(operations):
        if actor.board.stopping:
            break
        try:
            actor.act()
        except TetrisError as failed:
            actor.board.fault("other faults", f"{type(failed).__name__}: {failed}")
    actor.check()
    return 0


def sweep(world: str, row: int, seed: int, models: int) -> int:
    """Publish, attach and read so many models, and give them back."""
    actor = Actor(World.from_json(world), row, seed)
    for tenant in actor.world.tenants:
        for model in actor.rng.sample(range(len(actor.models)), models):
            held = actor._lease(tenant, model)
            if held is not None:
                actor._map(held, len(held.left))
                actor.held.append(held)
                actor.release()
    return 0
