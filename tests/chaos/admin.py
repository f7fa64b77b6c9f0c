"""The administrator in the chaos: pins, unpins, evicts and collects, until killed."""

from __future__ import annotations

import time
from random import Random
from urllib.parse import quote

import grpc

from chaos.world import World
from support.marks import operation, reached
from tetris.v1 import admin_pb2 as pb
from tetris.v1.admin_pb2_grpc import AdminStub

_OPTIONS = [("grpc.enable_retries", 0)]  # see tetris.rpc
# The daemon died, or was told to stop in the middle.
_PASSING = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
# What an administrator may be told of a model that comes and goes.
_FINE = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION}
_PATIENCE = 60.0


class Admin:
    """One administrator; there is never a second, so what it was told still holds."""

    def __init__(self, world: World, row: int, seed: int) -> None:
        self.world = world
        self.board = world.board(row)
        self.rng = Random(seed)
        self.models = world.catalog()

    def act(self) -> None:
        """One random call."""
        actions = [self.pin, self.unpin, self.evict, self.collect, self.keep]
        self.rng.choices(actions, [2, 2, 3, 1, 1])[0]()

    def pin(self) -> None:
        flag, request = self._some_model()
        with operation("pin"):
            if self._call("Pin", request):
                self.board.set_pinned(flag)
                self.board.add("pins and unpins")

    def unpin(self) -> None:
        flag, request = self._some_model()
        with operation("unpin"):
            # Killed before the answer, its call may still be carried out after the next one's.
            self.board.set_unsure(flag)
            if self._call("Unpin", request):
                self.board.add("pins and unpins")
            self.board.set_unpinned(flag)

    def evict(self) -> None:
        flag, request = self._some_model()
        with operation("evict"):
            if self._call("Evict", request) and self.board.pinned(flag):
                self.board.fault("early removals", f"{request.model} was pinned, and is evicted")
            self.board.add("evictions")

    def collect(self) -> None:
        with operation("collect"):
            if self._call("CollectGarbage", pb.CollectGarbageRequest()):
                self.board.add("collections")

    def keep(self) -> None:
        _, model = self._some_model()
        request = pb.SetKeepAliveRequest(
            tenant=model.tenant, model=model.model, seconds=self.rng.randrange(3)
        )
        with operation("keep"):
            self._call("SetKeepAlive", request)

    def _some_model(self) -> tuple[int, pb.ModelRequest]:
        tenant = self.rng.randrange(len(self.world.tenants))
        model = self.rng.randrange(len(self.models))
        request = pb.ModelRequest(
            tenant=self.world.tenants[tenant], model=self.models[model].fingerprint
        )
        return tenant * len(self.models) + model, request

    def _call(self, method: str, request: object) -> bool:
        """Whether it was done; tried again until a daemon answers."""
        target = f"unix:{quote(str(self.world.admin))}"
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                with grpc.insecure_channel(target, _OPTIONS) as channel:
                    getattr(AdminStub(channel), method)(request, timeout=_PATIENCE)
                reached("admin: answered")
                return True
            except grpc.RpcError as failed:
                if failed.code() in _FINE:
                    return False
                if failed.code() not in _PASSING or time.monotonic() > deadline:
                    self.board.fault("other faults", f"{method}: {failed.details()}")
                    return False
                self.board.add("calls tried again")
                time.sleep(0.01)


def run(world: str, row: int, seed: int, operations: int) -> int:
    """Make so many random calls."""
    admin = Admin(World.from_json(world), row, seed)
    for _ in range(operations):
        if admin.board.stopping:
            break
        admin.act()
        time.sleep(admin.rng.random() * 0.05)
    return 0
