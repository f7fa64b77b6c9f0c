"""Whoever dies at whatever step: no byte leaks, none goes early, none is wrong, nobody is stuck."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from support import invariants
from support.daemon import wait_until
from support.host import MODULES, Host
from support.layouts import to_layout_1
from support.marks import Marks, steps_in
from support.models import data_file, write_model
from support.tmpfs import tmpfs
from support.zygote import Zygote
from tetris.errors import TetrisError
from tetris.formats.model import locate
from tetris.rpc import AdminRpc, Rpc
from tetris.v1 import admin_pb2
from tetris.v1 import tetris_pb2 as pb

ROOT = Path(__file__).parents[2]
KIB = 1024

WRITE = ["write: opened", "write: written", "write: named"]
SETTLE = [
    "settle: begins",
    "settle: claimed",
    "settle: unlinked",
    "settle: removed",
    "settle: ends",
]
RELEASE = ["release: begins", "release: claimed", "release: unlinked", "release: ends"]
PUBLISH = [
    "publish: begins",
    "publish: has the turn",
    "publish: admitted",
    "publish: reserved",
    "publish: filled",
    "publish: sealed",
    "publish: shown",
    *WRITE,
    "publish: committed",
    "publish: ends",
]

# Every step of the daemon, by an operation that comes past it.
STEPS = {
    "publish by path": [*PUBLISH, "publish: reused"],
    "publish by stream": PUBLISH,
    "give up a publish": ["publish: given up", *SETTLE, "publish: ends"],
    "attach": [
        "attach: begins",
        *WRITE,
        "attach: lease written",
        "attach: lease shown",
        "attach: ends",
    ],
    "release": RELEASE,
    "evict": ["evict: begins", "evict: manifest removed", *SETTLE, "evict: ends"],
    "collect": ["evict: begins", "evict: manifest removed", *SETTLE, "evict: ends"],
    "pin": ["change: begins", *WRITE, "change: committed", "change: ends"],
    "quarantine": [
        "quarantine: begins",
        "evict: manifest removed",
        "quarantine: unlinked",
        "quarantine: moved",
        "quarantine: ends",
        *SETTLE,
    ],
    "start": [
        "start: begins",
        "start: root opened",
        "start: root locked",
        *WRITE,
        "start: layout checked",
        "start: directory made",
        "start: directories opened",
        "recover: begins",
        "recover: ends",
        "start: socket's place clear",
        "start: bound",
        "start: answering",
        "start: ends",
    ],
    "start on ruins": [
        "recover: begins",
        "recover: manifest dropped",
        "recover: dead lease link removed",
        *RELEASE,
        "recover: leases read",
        "recover: drafts swept",
        *SETTLE,
        "recover: dead link removed",
        "recover: ends",
    ],
    "start on an older layout": ["migrate: begins", "migrate: moved", "migrate: ends", *WRITE],
    "stop": ["stop: begins", "stop: idle", "stop: socket removed", "stop: ends"],
}

# Steps that the operation comes past more than once; dying at the second is another matter.
TWICE = {"publish: shown", "migrate: moved"}

CLIENT_STEPS = {
    "publish": [
        "stream: begins",
        "stream: header sent",
        "stream: half sent",
        "stream: all sent",
        "stream: answered",
        "stream: ends",
    ],
    "use": [
        "attach: begins",
        "attach: answered",
        "attach: locked",
        "attach: mapped",
        "attach: ends",
        "release: begins",
        "release: unmapped",
        "release: unlocked",
        "release: answered",
        "release: ends",
    ],
}


def occurrences(steps: dict[str, list[str]]) -> list:
    return [
        pytest.param(operation, step, n, id=f"{operation}-{step}-{n}")
        for operation, names in steps.items()
        for step in names
        for n in ((1, 2) if step in TWICE else (1,))
    ]


def test_no_step_of_the_daemon_is_left_out():
    """The table above has every step that the sources name, and no other."""
    assert set().union(*STEPS.values()) == steps_in(*(ROOT / "tetrisd").glob("*.py"))


def test_no_step_of_a_client_is_left_out():
    """So has the clients' table those of their programs."""
    programs = ROOT / "tests/support/programs.py"
    assert set().union(*CLIENT_STEPS.values()) == steps_in(programs)


@pytest.fixture(scope="module")
def zygote():
    with Zygote(*MODULES) as made:
        yield made


@pytest.fixture
def host(zygote, tmp_path):
    with tmpfs() as mount:
        made = Host(zygote, mount, tmp_path)
        yield made
        if made.daemon is not None:
            made.stop(signal.SIGKILL)


SHARED = os.urandom(40 * KIB)


def model(host: Host, name: str, tensors: int = 3) -> Path:
    """A model that shares its first tensor with every other."""
    bodies = [SHARED, *(os.urandom(24 * KIB) for _ in range(tensors - 1))]
    shaped = {f"t{i}": ((len(b) // 4,), b) for i, b in enumerate(bodies)}
    return write_model(host.models / name, shaped)


def fingerprint(path: Path) -> str:
    return locate(str(path)).fingerprint.hex()


def assert_reads(attached, path: Path) -> None:
    """A reader gets the bytes of the source, all of them."""
    found = b"".join(attached[name].tobytes() for name in sorted(attached))
    assert found == data_file(path).read_bytes()


class Operations:
    """Each starts one operation of the daemon at ``host`` and comes back at once."""

    def __init__(self, host: Host, kept: Path, fresh: Path) -> None:
        self.host, self.kept, self.fresh = host, kept, fresh
        self.publishers = []
        self.prepared = None

    def prepare(self, operation: str) -> None:
        """What must have happened before."""
        if operation in ("evict", "collect", "pin", "quarantine"):
            self.host.attach(self.fresh).release()
        if operation == "quarantine":
            damage(self.host, self.fresh)
        if operation == "release":
            self.prepared = self.host.call("Attach", self._attach()).lease
        if operation == "give up a publish":
            body = bytearray(data_file(self.fresh).read_bytes())
            body[-1] ^= 1
            data_file(self.fresh).write_bytes(body)

    def begin(self, operation: str) -> None:
        if operation.startswith("publish by "):
            # Two: whichever leads, the other waits for it.
            how = operation.removeprefix("publish by ")
            for _ in range(2):
                self.publishers.append(self._publisher(how))
        elif operation == "give up a publish":
            self._ask("PublishPath", pb.PublishPathRequest(path=str(self.fresh)))
        elif operation == "attach":
            self._ask("Attach", self._attach())
        elif operation == "release":
            self._ask("Release", pb.ReleaseRequest(lease=self.prepared))
        elif operation == "stop":
            self.host.daemon.kill(signal.SIGTERM)
        elif operation == "collect":
            self._ask("CollectGarbage", admin_pb2.CollectGarbageRequest(), AdminRpc)
        elif operation == "quarantine":
            self._ask("Verify", admin_pb2.VerifyRequest(), AdminRpc)
        elif operation in ("evict", "pin"):
            request = admin_pb2.ModelRequest(tenant="default", model=fingerprint(self.fresh))
            self._ask(operation.capitalize(), request, AdminRpc)

    def end(self, operation: str) -> None:
        """What must be possible afterwards."""
        assert [publisher.wait() for publisher in self.publishers] == [0] * len(self.publishers)
        if operation == "give up a publish":
            body = bytearray(data_file(self.fresh).read_bytes())
            body[-1] ^= 1
            data_file(self.fresh).write_bytes(body)
        if operation == "quarantine":  # killed before, it has found nothing yet
            self.begin(operation)

    def _publisher(self, how: str):
        program = "support.programs:publish"
        log = str(self.fresh.parent / "publisher.log")
        return self.host.zygote.fork(program, str(self.host.socket), str(self.fresh), how, log=log)

    def _attach(self) -> pb.AttachRequest:
        return pb.AttachRequest(fingerprint=bytes.fromhex(fingerprint(self.kept)))

    def _ask(self, method: str, request, rpc=Rpc) -> None:
        socket = self.host.socket if rpc is Rpc else self.host.admin_socket
        with suppress(TetrisError), rpc(socket).stub() as stub:  # its daemon died
            answer = getattr(stub, method)(request, timeout=60)
            if method == "Verify":
                list(answer)


def damage(host: Host, path: Path) -> None:
    """Flip a bit of the last tensor of a model, as only root can."""
    manifest = host.call("GetModel", pb.GetModelRequest(model=fingerprint(path))).manifest
    file = host.root / "objects/_shared" / manifest.tensors[-1].digest.hex()
    file.chmod(0o644)
    with file.open("r+b") as out:
        byte = out.read(1)
        out.seek(0)
        out.write(bytes([byte[0] ^ 1]))
    file.chmod(0o444)


def older(host: Host) -> None:
    """Put the root into the layout that the first release had, under its readers."""
    host.stop(signal.SIGKILL)
    to_layout_1(host.root)


def ruins(host: Host) -> None:
    """What dead daemons and dead clients may leave, all at once."""
    lost = model(host, "lost")
    with host.attach(lost):
        host.call("Attach", pb.AttachRequest(fingerprint=bytes.fromhex(fingerprint(lost))))
        host.stop(signal.SIGKILL)
        manifest = host.root / "models/default" / fingerprint(lost)
        manifest.write_bytes(b"damaged")
    objects, view = host.root / "objects/_shared", host.root / "tenants/default"
    for name in ("half", "quarter"):
        (objects / f".{name}").write_bytes(bytes(9999))
        (host.root / "leases/default" / f".{name}").write_bytes(b"{")
        (view / f"{name}.lease").write_bytes(b"{")
        (view / os.urandom(32).hex()).write_bytes(bytes(9999))
    shown = next(p for p in objects.iterdir() if (view / p.name).exists() and p.name[0] != ".")
    (view / shown.name).unlink()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("operation", "step", "n"), occurrences(STEPS))
def test_the_daemon_dies_at(host, operation, step, n):
    """Killed at this step, it leaves a root on which the next one loses and leaks nothing."""
    kept, fresh = model(host, "kept"), model(host, "fresh")
    if operation == "start":
        host.start(step=step, occurrence=n)
        assert host.daemon.wait() == -signal.SIGKILL
        host.start()
    else:
        host.start()
    reader = host.attach(kept)
    operations = Operations(host, kept, fresh)
    operations.prepare(operation)
    if operation.startswith("start on"):
        (ruins if operation == "start on ruins" else older)(host)
        host.start(step=step, occurrence=n)
    elif operation != "start":
        host.marks.arm(step, n)
        operations.begin(operation)
    if operation != "start":
        assert host.daemon.wait() == -signal.SIGKILL
        assert host.marks.in_flight() is not None
        host.start()
    assert_reads(reader, kept)
    operations.end(operation)
    host.check()
    for path in (kept, fresh):
        with host.attach(path) as attached:
            assert_reads(attached, path)
    host.check()
    reader.release()


def start_client(host: Host, marks: Marks, operation: str, fresh: Path, kept: Path):
    program = f"support.programs:{operation}"
    what = [str(fresh), "stream"] if operation == "publish" else [fingerprint(kept)]
    return host.zygote.fork(
        program, str(host.socket), *what, marks=str(marks.path), log=str(host.models / "log")
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("operation", "step", "n"), occurrences(CLIENT_STEPS))
def test_a_client_dies_at(host, tmp_path, operation, step, n):
    """Killed at this step, it leaves nothing, and the same publish then succeeds."""
    kept, fresh = model(host, "kept"), model(host, "fresh", tensors=200)
    host.start()
    with host.attach(kept) as reader:
        marks = Marks(tmp_path / "client.marks")
        marks.arm(step, n)
        client = start_client(host, marks, operation, fresh, kept)
        assert client.wait() == -signal.SIGKILL, (host.models / "log").read_text()
        assert marks.in_flight() is not None
        host.comes_clean()
        if step != "attach: answered":  # that lease waits ten seconds for its holder
            wait_until(lambda: len(host.leases()) == 1, what="the end of the dead one's lease")
        with host.attach(fresh) as attached:
            assert_reads(attached, fresh)
        assert_reads(reader, kept)
    host.check()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("n", [2, 3])
def test_a_client_dies_with_part_of_its_model_mapped(host, tmp_path, n):
    """The kernel takes its references back; the lease ends at the next look."""
    kept = model(host, "kept")
    host.start()
    host.attach(kept).release()
    marks = Marks(tmp_path / "client.marks")
    marks.arm("attach: mapped", n)
    assert start_client(host, marks, "use", kept, kept).wait() == -signal.SIGKILL
    assert host.leases() == []
    assert host.call("GetStats", pb.GetStatsRequest()).references == 0
    host.check()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGSTOP])
def test_a_waiting_publisher_takes_over(zygote, tmp_path, signal_):
    """From a leader that died, and from one that stands still for longer than the idle limit."""
    with tmpfs() as mount:
        host = Host(zygote, mount, tmp_path, "--idle-seconds=1")
        fresh = model(host, "fresh", tensors=200)
        host.start()
        marks = Marks(tmp_path / "leader.marks")
        leader = zygote.fork(
            "support.programs:stand_still", str(host.socket), str(fresh), marks=str(marks.path)
        )
        objects = host.root / "objects/_shared"
        wait_until(lambda: any(objects.iterdir()), what="the leader's first tensor")
        waiter = zygote.fork("support.programs:publish", str(host.socket), str(fresh), "stream")
        leader.kill(signal_)
        assert waiter.wait() == 0
        host.comes_clean()
        leader.kill(signal.SIGKILL)
        leader.wait()
        host.stop()


def test_the_checks_see_what_they_are_for(host):
    """A draft, a stray object, a missing link, a flipped byte: each is a violation."""
    kept = model(host, "kept")
    host.start()
    host.attach(kept).release()
    host.check()
    objects, view = host.root / "objects/_shared", host.root / "tenants/default"
    one = next(view.glob("?" * 64))
    (objects / ".draft").write_bytes(b"x")
    (objects / ("0" * 64)).write_bytes(b"x")
    one.unlink()
    assert len(invariants.leaked(host.root)) == 4  # the draft is no segment, either
    assert len(invariants.wrong(host.root)) == 2
    with (objects / ".draft").open("rb"):
        (objects / ".draft").unlink()
        assert len(invariants.unaccounted(host.mount)) == 2
