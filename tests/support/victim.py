"""A daemon under attack, another client of it, and the check that neither took any harm."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tetris
from support.daemon import Daemon
from support.hostile import Hostile
from support.models import let_through, random_model
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb


class Victim:
    """A daemon whose socket everybody may open, with a model that a reader of ours maps.

    Attributes:
        view: the tenant's view, as the daemon says itself.
        segments: names of the model's segments, the first of them mapped.
        model: what the reader has attached.
        hostile: attackers of it.
        outside: a directory on the same file system that everybody may write to.
    """

    def __init__(self, daemon: Daemon, directory: Path, models: Path) -> None:
        self.daemon = daemon
        self.models = models
        self.path = random_model(models / "m", tensors=2, kib=64)
        with tetris.attach(self.path, socket=daemon.socket) as whole:
            self._bytes = [whole[name].tobytes() for name in ("t0", "t1")]
        self.model = tetris.attach(self.path, socket=daemon.socket)
        self.view = self.model._attachment.view
        self.segments = [t.segment for t in self.model.manifest.tensors]
        self._reader = self.model["t0"]
        self.outside = daemon.root.parent / "outside"
        self.outside.mkdir()
        self.outside.chmod(0o777)
        scratch = directory / "scratch"
        scratch.mkdir()
        let_through(self.view, self.outside, daemon.socket.parent, models)
        self.hostile = Hostile(self.view, daemon.socket.parent, scratch)

    def call(self, method: str, request: object) -> object:
        """One call of another client."""
        return Rpc(self.daemon.socket).call(method, request)

    def collect(self, method: str, request: object) -> list[object]:
        """The same for an answer that is a stream."""
        return Rpc(self.daemon.socket).collect(method, request, lambda x: x)

    def publish(self, messages: Iterable[pb.PublishRequest]) -> pb.PublishResponse:
        """A publish by stream, of whatever messages."""
        with Rpc(self.daemon.socket).stub() as stub:
            return stub.Publish(iter(messages))

    def state(self) -> dict[str, tuple[object, ...]]:
        """Every file below the root with its attributes and bytes, but for the times of use."""
        found = {}
        for path in [self.daemon.root, *self.daemon.root.rglob("*")]:
            name, st = str(path.relative_to(self.daemon.root)), path.lstat()
            kept = (st.st_mode, st.st_uid, st.st_gid, st.st_nlink, st.st_size, st.st_ino)
            if path.is_file():
                kept += (path.read_bytes(),)
                if not name.startswith("models/"):  # where the daemon notes the last use
                    kept += (st.st_mtime_ns, st.st_ctime_ns)
            found[name] = kept
        return found

    def works_for_others(self) -> None:
        """Assert that another client attaches, reads the right bytes, and sees the lists."""
        with tetris.attach(self.path, socket=self.daemon.socket) as again:
            assert [again[name].tobytes() for name in ("t0", "t1")] == self._bytes
        listed = self.collect("ListSegments", pb.ListSegmentsRequest())
        assert set(self.segments) <= {row.digest.hex() for row in listed}
        self.collect("ListLeases", pb.ListLeasesRequest())
        self.call("GetStats", pb.GetStatsRequest())

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """Assert that nothing below the root changes meanwhile, and that all others go on."""
        before = self.state()
        yield
        assert self.daemon.process.poll() is None, self.daemon.log
        assert self._reader.tobytes() == self._bytes[0]
        self.works_for_others()
        assert self.state() == before
        assert [tetris.digest(b).hex() for b in self._bytes] == self.segments
        assert os.listdir(self.outside) == []


@contextmanager
def victim(directory: Path, memory: Path, *flags: str) -> Iterator[Victim]:
    """A victim whose daemon keeps its segments on ``memory``."""
    models = directory / "models"
    models.mkdir()
    everybody = ("--socket-mode=666", f"--model-root={models}")
    with Daemon(directory, *everybody, *flags, root=memory / "root") as daemon:
        made = Victim(daemon, directory, models)
        yield made
        made.hostile.close()
        made.model.release()
