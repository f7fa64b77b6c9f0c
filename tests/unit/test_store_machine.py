"""The store against a model of it in a few lines, through any sequence of events."""

from __future__ import annotations

import itertools
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tetris import shm
from tetris.attachment import Attachment
from tetris.errors import ConflictError, CorruptDataError, NotFoundError
from tetris.manifest import Claim, Manifest
from tetrisd.clock import Clock
from tetrisd.leases import PENDING_SECONDS
from tetrisd.root import Root
from tetrisd.settings import Settings, TenantSettings
from tetrisd.store import Store
from tetrisd.tenant import Tenant

SECOND = 1_000_000_000
KEEP_ALIVE = 600
# Each letter is a tensor, the dash an empty one: the models share some, and one holds one twice.
FAMILY = {"ab": "ab", "bccd": "bccd", "d-": "d-"}


def body(letter: str) -> bytes:
    return b"" if letter == "-" else letter.encode() * (100 + ord(letter))


DIGESTS = {x: shm.digest(body(x)) for x in "abcd"}
FINGERPRINTS = {name: shm.digest(name.encode()) for name in FAMILY}
Key = tuple[str, str]  # tenant, model


class Letters:
    """A model of the family on its way in; ``damaged`` makes its last tensor another one."""

    def __init__(self, name: str, *, rereadable: bool, damaged: bool = False) -> None:
        self.name = name
        self.fingerprint = FINGERPRINTS[name]
        self.data = [body(x) for x in FAMILY[name]]
        self.claims = [
            Claim(f"t{i}", "uint8", (len(b),), len(b), shm.crc32c(b))
            for i, b in enumerate(self.data)
        ]
        self.rereadable = rereadable
        self.sent = not rereadable
        if damaged:
            last = max(i for i, b in enumerate(self.data) if b)
            self.data[last] = bytes(len(self.data[last]))

    def same(self, index, memory, progress):
        return self.rereadable and memory.buffer() == self.data[index]

    def fill(self, index, memory, total, progress):
        total.copy(memory, 0, self.data[index])

    def finish(self):
        pass


class Driver:
    """All that the machine knows of the store's interface."""

    tenants = ("red", "blue")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_ns = 1000 * SECOND
        self.start()

    def start(self) -> None:
        self.root = Root(self.path)
        tenants = tuple(TenantSettings(name) for name in self.tenants)
        limits = Settings(tenants=tenants, keep_alive=KEEP_ALIVE, headroom=0)
        self.store = Store(self.root, limits, Clock(lambda: self.now_ns, lambda: self.now_ns))
        self.store.recover()

    def stop(self) -> None:
        self.root.close()

    def tenant(self, name: str) -> Tenant:
        return self.store.tenant(name)

    def published(self, tenant: str) -> set[bytes]:
        return {manifest.fingerprint for manifest in self.tenant(tenant).models.all()}

    def leases(self, tenant: str) -> dict[str, bool]:
        """Every lease, and whether it is pending."""
        return {lease.id: lease.pending for lease in self.tenant(tenant).leases.live()}

    def pin(self, key: Key, pinned: bool) -> None:
        tenant = self.tenant(key[0])
        tenant.change(tenant.models.lookup(key[1]), pinned=pinned)

    def files(self, directory: str) -> dict[str, Path]:
        """Files below a directory of the root, by name."""
        return {p.name: p for p in (self.path / directory).rglob("*") if p.is_file()}


@dataclass
class Model:
    """What the machine believes of a published model."""

    keep_alive: int
    used: int
    pinned: bool = False


@dataclass
class Client:
    """What it believes of a lease; without an attachment its lock is still to be taken."""

    key: Key
    manifest: Manifest
    made: int
    attachment: Attachment | None = None


class StoreMachine(RuleBasedStateMachine):
    """Rules do to the store what can happen to it; the invariants hold after each."""

    directory: Path
    driver_class = Driver
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.driver = self.driver_class(self.directory / f"root{next(self.numbers)}")
        self.models: dict[Key, Model] = {}
        self.clients: dict[str, Client] = {}
        self.mapped: list[tuple[str, shm.Mapping]] = []
        # Unmapped while no model named them: they stay until the next look.
        self.lingering: set[str] = set()
        self.ever: set[tuple[str, str]] = set()

    def teardown(self) -> None:
        self.clients.clear()
        self.mapped.clear()
        self.driver.stop()
        shutil.rmtree(self.driver.path)

    # What clients do.

    keys = st.tuples(st.sampled_from(Driver.tenants), st.sampled_from(sorted(FAMILY)))

    @initialize()
    def begin(self) -> None:
        assert self.driver.files("objects") == {}

    @rule(key=keys, rereadable=st.booleans(), keep_alive=st.sampled_from([None, 0, 30]))
    def publish(self, key: Key, rereadable: bool, keep_alive: int | None) -> None:
        options = {} if keep_alive is None else {"keep_alive": keep_alive}
        source = Letters(key[1], rereadable=rereadable)
        _, published = self.driver.tenant(key[0]).publish(source, **options)
        assert published == (key not in self.models)
        if published:
            stays = KEEP_ALIVE if keep_alive is None else keep_alive
            self.models[key] = Model(stays, self.driver.now_ns)
        self.ever |= {(key[0], x) for x in FAMILY[key[1]]}

    @rule(key=keys, rereadable=st.booleans())
    def fail_to_publish(self, key: Key, rereadable: bool) -> None:
        if key not in self.models:
            source = Letters(key[1], rereadable=rereadable, damaged=True)
            with pytest.raises(CorruptDataError):
                self.driver.tenant(key[0]).publish(source)

    @rule(key=keys)
    def ask_for_what_is_not_published(self, key: Key) -> None:
        if key not in self.models:
            with pytest.raises(NotFoundError):
                self.driver.tenant(key[0]).attach(FINGERPRINTS[key[1]], 1, "", "")

    def some(self, data: st.DataObject) -> Key:
        return data.draw(st.sampled_from(sorted(self.models)))

    def any_published(self) -> bool:
        return bool(self.models)

    @precondition(any_published)
    @rule(data=st.data())
    def attach(self, data: st.DataObject) -> None:
        self.ask(data)

    def ask(self, data: st.DataObject) -> str:
        key = self.some(data)
        tenant = self.driver.tenant(key[0])
        lease, manifest = tenant.attach(FINGERPRINTS[key[1]], 1, "", "")
        assert [t.digest for t in manifest.tensors] == [DIGESTS.get(x, b"") for x in FAMILY[key[1]]]
        self.clients[lease.id] = Client(key, manifest, self.driver.now_ns)
        self.models[key].used = self.driver.now_ns
        return lease.id

    @precondition(any_published)
    @rule(data=st.data(), writable=st.booleans(), done=st.booleans())
    def use(self, data: st.DataObject, writable: bool, done: bool) -> None:
        """Attach, lock and map in one, as most clients do; an array may outlive its lease."""
        lease = self.ask(data)
        self.take(lease)
        self.map_one(lease, data, writable)
        if done:
            self.ended(lease)

    def pick(self, data: st.DataObject, held: bool) -> str:
        which = [i for i, c in self.clients.items() if bool(c.attachment) == held]
        return data.draw(st.sampled_from(which))

    def any_pending(self) -> bool:
        return any(c.attachment is None for c in self.clients.values())

    def any_held(self) -> bool:
        return any(c.attachment for c in self.clients.values())

    @precondition(any_pending)
    @rule(data=st.data())
    def lock(self, data: st.DataObject) -> None:
        self.take(self.pick(data, held=False))

    def take(self, lease: str) -> None:
        client = self.clients[lease]
        view = Path(self.driver.tenant(client.key[0]).view())
        client.attachment = Attachment(view, lease, client.manifest)

    @precondition(any_held)
    @rule(data=st.data(), writable=st.booleans())
    def map(self, data: st.DataObject, writable: bool) -> None:
        self.map_one(self.pick(data, held=True), data, writable)

    def map_one(self, lease: str, data: st.DataObject, writable: bool) -> None:
        client = self.clients[lease]
        tensors = [t for t in client.manifest.tensors if t.nbytes]
        tensor = data.draw(st.sampled_from(tensors))
        letter = FAMILY[client.key[1]][client.manifest.tensors.index(tensor)]
        self.mapped.append((letter, client.attachment.map(tensor, writable=writable)))

    @precondition(lambda self: self.mapped)
    @rule(data=st.data())
    def unmap(self, data: st.DataObject) -> None:
        letter, _ = self.mapped.pop(data.draw(st.integers(0, len(self.mapped) - 1)))
        if letter not in self.named():
            self.lingering.add(letter)

    @precondition(any_held)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """The kernel drops its lock; the lease is gone at the next look."""
        self.ended(self.pick(data, held=True))

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), early=st.booleans())
    def release(self, data: st.DataObject, early: bool) -> None:
        lease = data.draw(st.sampled_from(list(self.clients)))
        client = self.clients[lease]
        tenant = self.driver.tenant(client.key[0])
        if early and client.attachment:
            assert not tenant.release(lease)
            return
        self.ended(lease)
        assert tenant.release(lease)
        with pytest.raises(NotFoundError):
            tenant.release(lease)

    def ended(self, lease: str) -> None:
        client = self.clients.pop(lease)
        client.attachment = None
        if client.key in self.models:
            self.models[client.key].used = self.driver.now_ns

    # What time and the daemon do.

    @rule(seconds=st.sampled_from([1, PENDING_SECONDS, 31, KEEP_ALIVE]))
    def advance(self, seconds: int) -> None:
        self.driver.now_ns += seconds * SECOND
        for lease, client in list(self.clients.items()):
            age = self.driver.now_ns - client.made
            if client.attachment is None and age >= PENDING_SECONDS * SECOND:
                self.ended(lease)
        self.look()  # as the daemon does every second

    @rule()
    def restart(self) -> None:
        self.driver.stop()
        self.driver.start()
        self.lingering.clear()

    # What policy and administrators do.

    def look(self) -> None:
        self.driver.store.look()
        for key, model in list(self.models.items()):
            if self.driver.now_ns - model.used >= model.keep_alive * SECOND:
                self.drop(key)
        self.lingering.clear()

    @rule()
    def collect(self) -> None:
        self.driver.store.collect()
        for key in list(self.models):
            self.drop(key)
        self.lingering.clear()

    @precondition(lambda self: self.models)
    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        key = self.some(data)
        if self.models[key].pinned:
            with pytest.raises(ConflictError):
                self.driver.store.evict(*key)
            return
        evicted = self.driver.store.evict(*key)
        assert evicted.leases == sum(c.key == key for c in self.clients.values())
        assert evicted.removed == self.drop(key)
        if not evicted.removed:
            self.models[key].keep_alive = 0

    @precondition(lambda self: self.models)
    @rule(data=st.data(), pinned=st.booleans())
    def pin(self, data: st.DataObject, pinned: bool) -> None:
        key = self.some(data)
        self.driver.pin(key, pinned)
        self.models[key].pinned = pinned

    def drop(self, key: Key) -> bool:
        """A model goes unless it is pinned or somebody has a lease on it."""
        if self.models[key].pinned or any(c.key == key for c in self.clients.values()):
            return False
        del self.models[key]
        return True

    def named(self, tenant: str = "") -> set[str]:
        keys = [key for key in self.models if tenant in ("", key[0])]
        return {x for _, name in keys for x in FAMILY[name] if x != "-"}

    # What always holds.

    @invariant()
    def exactly_the_published_models_and_the_living_leases_are_there(self) -> None:
        for tenant in self.driver.tenants:
            names = {name for owner, name in self.models if owner == tenant}
            assert self.driver.published(tenant) == {FINGERPRINTS[n] for n in names}
            assert self.driver.leases(tenant) == {
                lease: client.attachment is None
                for lease, client in self.clients.items()
                if client.key[0] == tenant
            }

    @invariant()
    def what_is_named_or_mapped_is_resident_and_nothing_else(self) -> None:
        objects = self.driver.files("objects")
        letters = {DIGESTS[x].hex(): x for x in DIGESTS}
        resident = {letters[name] for name in objects}
        needed = self.named() | {letter for letter, _ in self.mapped}
        assert needed <= resident <= needed | self.lingering
        for name, path in objects.items():
            assert path.read_bytes() == body(letters[name])

    @invariant()
    def a_view_shows_its_tenants_segments_and_every_link_has_its_object(self) -> None:
        objects = self.driver.files("objects")
        for tenant in self.driver.tenants:
            leases = {f"{lease}.lease" for lease in self.driver.leases(tenant)}
            links = self.driver.files(f"tenants/{tenant}")
            shown = links.keys() - leases
            published = {DIGESTS[x].hex() for t, x in self.ever if t == tenant and x != "-"}
            assert {DIGESTS[x].hex() for x in self.named(tenant)} <= shown <= published
            assert all(os.path.samefile(links[name], objects[name]) for name in shown)

    @invariant()
    def what_is_mapped_has_its_bytes(self) -> None:
        assert all(mapping.buffer() == body(letter) for letter, mapping in self.mapped)


def test_the_store_agrees_with_its_model(memory):
    machine = type("Machine", (StoreMachine,), {"directory": memory})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("MACHINE_EXAMPLES", "100")),
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
