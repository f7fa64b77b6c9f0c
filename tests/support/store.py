"""A store in this process, its sources, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tetris import shm
from tetris.manifest import Claim, Manifest
from tetrisd.clock import Clock
from tetrisd.leases import Lease
from tetrisd.root import Root
from tetrisd.settings import Settings, TenantSettings
from tetrisd.store import Store
from tetrisd.tenant import Tenant

SECOND = 1_000_000_000
PAGE = 4096
# A store that is small on purpose must not be refused for what the host has.
ROOMY = {"headroom": 0}


class MemorySource:
    """Tensors as bytes; ``filled`` says which were stored."""

    def __init__(self, name: str, tensors: dict[str, bytes], *, rereadable: bool = True) -> None:
        self.fingerprint = shm.digest(name.encode())
        self.name = name
        self.data = list(tensors.values())
        self.claims: Sequence[Claim] = [
            Claim(n, "uint8", (len(b),), len(b), shm.crc32c(b)) for n, b in tensors.items()
        ]
        self.rereadable = rereadable
        self.sent = not rereadable
        self.filled: list[int] = []

    def same(self, index, memory, progress):
        return self.rereadable and memory.buffer() == self.data[index]

    def fill(self, index, memory, total, progress):
        self.filled.append(index)
        total.copy(memory, 0, self.data[index])

    def finish(self):
        pass


class Times:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.boot = 1000 * SECOND
        self.wall = 1_700_000_000 * SECOND
        self.clock = Clock(lambda: self.wall, lambda: self.boot)

    def pass_by(self, seconds: float) -> None:
        self.boot += int(seconds * SECOND)
        self.wall += int(seconds * SECOND)


class Stored:
    """An opened root with its store, recovered; and again after a restart."""

    def __init__(self, path: Path, *tenants: TenantSettings, **settings: object) -> None:
        self.path = path
        self.settings = Settings(tenants=tenants or (TenantSettings(),), **{**ROOMY, **settings})
        self.times = Times()
        self.open()

    def open(self) -> None:
        self.root = Root(self.path)
        self.store = Store(self.root, self.settings, self.times.clock)
        self.store.recover()

    def close(self) -> None:
        self.root.close()

    def restart(self) -> None:
        self.close()
        self.open()

    def tenant(self, name: str = "default") -> Tenant:
        return self.store.tenant(name)

    def publish(self, name: str, tensors: dict[str, bytes], tenant: str = "default") -> Manifest:
        return self.tenant(tenant).publish(MemorySource(name, tensors))[0]

    def lock(self, lease: Lease, tenant: str = "default") -> shm.Mapping:
        """What a client does with a lease that it got."""
        view = self.tenant(tenant)._place.view
        return _map(view, f"{lease.id}.lease")

    def attach(self, manifest: Manifest, tenant: str = "default") -> shm.Mapping:
        """Attach, and hold the lease for as long as the answer lives."""
        lease, _ = self.tenant(tenant).attach(manifest.fingerprint, 1, "cmd", "host")
        return self.lock(lease, tenant)

    def map(self, digest: bytes, tenant: str = "default") -> shm.Mapping:
        """A reference to a segment through the tenant's view."""
        return _map(self.tenant(tenant)._place.view, digest.hex())

    def objects(self, pool: str = "_shared") -> set[str]:
        return {p.name for p in (self.path / "objects" / pool).iterdir()}

    def links(self, tenant: str = "default") -> set[str]:
        return {p.name for p in (self.path / "tenants" / tenant).iterdir()}


def _map(dirfd: int, name: str) -> shm.Mapping:
    import os

    return shm.map_segment(dirfd, name, os.stat(name, dir_fd=dirfd).st_size)
