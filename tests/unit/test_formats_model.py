"""Finding a model's files: the four ways to name it, its fingerprint, its shards."""

from __future__ import annotations

import ast
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bundle_writer as w
from tetris import formats
from tetris.errors import (
    InvalidModelError,
    NotAllowedError,
    NotFoundError,
    SystemCallError,
    TetrisError,
)
from tetris.formats import CheckpointFiles, PlainDirectory, locate, locate_prefix
from tetris.shm import digest

TENSORS = {"a": ((2,), b"8 bytes."), "b": ((), b"four")}
NOBODY = 65534


@pytest.fixture
def saved_model(tmp_path: Path) -> Path:
    home = tmp_path / "vgg16" / "1"
    w.write(home / "variables" / "variables", TENSORS)
    (home / "saved_model.pb").write_bytes(b"graph")
    return home


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    w.write(tmp_path / "run3" / "ckpt-7", TENSORS)
    return tmp_path / "run3" / "ckpt-7"


def names(files: CheckpointFiles) -> list[str]:
    return [entry.name for entry in files.bundle.entries]


def test_the_reader_stays_small() -> None:
    """The daemon imports it: no TensorFlow, no numpy, no other part of the client."""
    allowed = {
        "tetris.errors",
        "tetris.manifest",
        "tetris.formats",
        "tetris.shm",
        "google.protobuf",
    }
    for path in Path(formats.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                known = name.split(".")[0] in sys.stdlib_module_names
                assert known or ".".join(name.split(".")[:2]) in allowed, f"{path.name}: {name}"


# Four ways to name a model


@pytest.mark.parametrize(
    "end", ["", "/", "//", "/variables/variables", "/variables/variables.index"]
)
def test_every_way_to_name_a_saved_model_is_the_same_model(saved_model: Path, end: str) -> None:
    """The directory, its variables' prefix and its index: one fingerprint, one name."""
    files = locate(f"{saved_model}{end}")
    assert names(files) == ["a", "b"]
    assert files.name == "vgg16/1"
    assert files.fingerprint == locate(str(saved_model)).fingerprint


def test_tensorflows_prefix_gives_the_saved_model(saved_model: Path) -> None:
    """What RestoreV2 is told leads to what the user published."""
    for prefix in ("variables/variables", "variables//variables", "./variables/variables"):
        files = locate_prefix(f"{saved_model}/{prefix}")
        assert files.fingerprint == locate(str(saved_model)).fingerprint
        assert files.name == "vgg16/1"


@pytest.mark.parametrize("end", ["", ".index"])
def test_a_checkpoint_is_named_by_its_prefix(checkpoint: Path, end: str) -> None:
    """With or without the ending; the name has the directory, since many are called ckpt."""
    files = locate(f"{checkpoint}{end}")
    assert (names(files), files.name) == (["a", "b"], "run3/ckpt-7")
    assert files.fingerprint == locate_prefix(str(checkpoint)).fingerprint


@pytest.mark.parametrize(
    "state",
    [
        'model_checkpoint_path: "ckpt-7"\nall_model_checkpoint_paths: "ckpt-6"\n',
        'all_model_checkpoint_paths: "x"\n  model_checkpoint_path : "./ckpt-7"',
        'model_checkpoint_path: "{}/ckpt-7"',
        'model_checkpoint_path: "ck\\160t\\0557"',
    ],
    ids=["relative", "second line", "absolute", "escaped"],
)
def test_a_directory_names_its_latest_checkpoint(checkpoint: Path, state: str) -> None:
    """Relative or absolute, as long as it stays below the directory."""
    (checkpoint.parent / "checkpoint").write_text(state.replace("{}", str(checkpoint.parent)))
    files = locate(str(checkpoint.parent))
    assert files.fingerprint == locate(str(checkpoint)).fingerprint
    assert files.name == "run3/ckpt-7"


@pytest.mark.parametrize("path", ["../run3/ckpt-7", "/run3/ckpt-7", "x/../../run3/ckpt-7", ".."])
def test_a_checkpoint_file_cannot_lead_elsewhere(checkpoint: Path, path: str) -> None:
    """What is outside is asked for by its own path."""
    (checkpoint.parent / "checkpoint").write_text(f'model_checkpoint_path: "{path}"')
    with pytest.raises(InvalidModelError, match="not below it"):
        locate(str(checkpoint.parent))


@pytest.mark.parametrize("state", ["", "model_checkpoint_path: 7", 'model_checkpoint_path: "a'])
def test_a_checkpoint_file_that_names_nothing(tmp_path: Path, state: str) -> None:
    """The sentence names the file."""
    (tmp_path / "checkpoint").write_text(state)
    with pytest.raises(InvalidModelError, match="/checkpoint names no checkpoint"):
        locate(str(tmp_path))


def test_a_checkpoint_file_that_is_behind(tmp_path: Path) -> None:
    """It names a checkpoint that was deleted."""
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-9"')
    with pytest.raises(NotFoundError, match=r"ckpt-9\.index"):
        locate(str(tmp_path))


def test_relative_paths_and_roots(saved_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is relative to the working directory or to the directory given."""
    monkeypatch.chdir(saved_model.parent)
    expected = locate(str(saved_model)).fingerprint
    beneath = PlainDirectory(str(saved_model.parent))
    for files in (locate("1"), locate("1", beneath), locate("", PlainDirectory(str(saved_model)))):
        assert (files.name, files.fingerprint) == ("vgg16/1", expected)
        os.close(files.open_shard(0))


@pytest.mark.parametrize(
    ("path", "name"), [("m/bert", "bert"), ("m/bert/12", "bert/12"), ("m/v2", "v2")]
)
def test_a_saved_model_is_named_by_its_directory(tmp_path: Path, path: str, name: str) -> None:
    """A version number alone says nothing, so it brings its parent."""
    (tmp_path / path).mkdir(parents=True)
    (tmp_path / path / "saved_model.pb").write_bytes(b"")
    assert locate(str(tmp_path / path)).name == name


def test_names_are_text(tmp_path: Path) -> None:
    """A file name that is no text still gives a name that is."""
    home = tmp_path / os.fsdecode(b"\xff")
    home.mkdir()
    (home / "saved_model.pb").write_bytes(b"")
    assert locate(str(home)).name == "?"


def test_a_saved_model_without_variables_has_no_tensors(tmp_path: Path) -> None:
    """It is a model all the same."""
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    files = locate(str(tmp_path))
    assert names(files) == []
    assert files.fingerprint == defined(("saved_model.pb", b"graph"))
    with pytest.raises(NotFoundError, match=r"variables\.index"):
        locate_prefix(str(tmp_path / "variables" / "variables"))


def test_text_graphs_make_a_saved_model(saved_model: Path) -> None:
    """The text form serves as well, and is another model for the fingerprint."""
    binary = locate(str(saved_model)).fingerprint
    (saved_model / "saved_model.pb").rename(saved_model / "saved_model.pbtxt")
    assert names(locate(str(saved_model))) == ["a", "b"]
    assert locate(str(saved_model)).fingerprint != binary


# Fingerprints


def defined(*parts: tuple[str, bytes]) -> bytes:
    """The definition spelled out, independently."""
    text = b"tetris model 1\0"
    for label, data in parts:
        for piece in (label.encode(), data):
            text += len(piece).to_bytes(8, "little") + piece
    return digest(text)


def test_the_fingerprint_is_what_its_definition_says(saved_model: Path) -> None:
    """Of all graph files there are, and the index."""
    index = (saved_model / "variables" / "variables.index").read_bytes()
    parts = [("saved_model.pb", b"graph"), ("index", index)]
    assert locate(str(saved_model)).fingerprint == defined(*parts)
    (saved_model / "saved_model.pbtxt").write_bytes(b"")
    parts.insert(1, ("saved_model.pbtxt", b""))
    assert locate(str(saved_model)).fingerprint == defined(*parts)


def test_the_fingerprint_is_blake3(checkpoint: Path) -> None:
    """Compared with the official package."""
    blake3 = pytest.importorskip("blake3")
    index = Path(f"{checkpoint}.index").read_bytes()
    text = b"tetris model 1\0\5\0\0\0\0\0\0\0index" + len(index).to_bytes(8, "little") + index
    assert locate(str(checkpoint)).fingerprint == blake3.blake3(text).digest()


def test_moving_keeps_the_fingerprint_and_any_change_gives_another(
    saved_model: Path, tmp_path: Path
) -> None:
    """Graph and index count; where they are does not."""
    before = locate(str(saved_model)).fingerprint
    moved = tmp_path / "moved"
    shutil.move(saved_model, moved)
    assert locate(str(moved)).fingerprint == before
    (moved / "saved_model.pb").write_bytes(b"other graph")
    other = locate(str(moved)).fingerprint
    (moved / "saved_model.pb").write_bytes(b"graph")
    w.write(moved / "variables" / "variables", {"a": ((2,), b"8 other.")})
    assert len({before, other, locate(str(moved)).fingerprint}) == 3


def test_a_fingerprint_needs_no_valid_index(checkpoint: Path) -> None:
    """It is taken of the bytes; only asking for the tensors reads them."""
    Path(f"{checkpoint}.index").write_bytes(b"nonsense")
    files = locate(str(checkpoint))
    with pytest.raises(InvalidModelError, match=r"ckpt-7\.index"):
        _ = files.bundle


# Shards


def test_shards_are_opened_by_number(checkpoint: Path) -> None:
    """The descriptor reads the bytes the index speaks of."""
    files = locate(str(checkpoint))
    fd = files.open_shard(0)
    a, b = files.bundle.entries
    assert os.pread(fd, a.nbytes, a.offset) == b"8 bytes."
    assert os.pread(fd, b.nbytes, b.offset) == b"four"
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_a_missing_shard_is_named(checkpoint: Path) -> None:
    """And the model with it."""
    Path(f"{checkpoint}.data-00000-of-00001").unlink()
    with pytest.raises(NotFoundError, match=r"run3/ckpt-7 lacks .*ckpt-7\.data-00000-of-00001"):
        locate(str(checkpoint)).open_shard(0)


@pytest.mark.parametrize("size", [0, 7, 11])
def test_a_tensor_beyond_its_shard_is_named(checkpoint: Path, size: int) -> None:
    """Truncated anywhere, also in the last byte of the last tensor."""
    os.truncate(f"{checkpoint}.data-00000-of-00001", size)
    with pytest.raises(InvalidModelError, match=r"tensor b ends at byte 12 .*only"):
        locate(str(checkpoint)).open_shard(0)


def test_a_shard_may_be_longer(checkpoint: Path) -> None:
    """Padding after the last tensor hurts nobody."""
    os.truncate(f"{checkpoint}.data-00000-of-00001", 4096)
    os.close(locate(str(checkpoint)).open_shard(0))


def test_what_cannot_be_shared_is_not_checked(checkpoint: Path) -> None:
    """A tensor that nobody reads here may lie anywhere."""
    lost = w.entry(dtype=21, size=9, offset=1 << 40)
    Path(f"{checkpoint}.index").write_bytes(w.index(("lost", lost)))
    os.close(locate(str(checkpoint)).open_shard(0))


def test_no_descriptor_stays_open(checkpoint: Path, saved_model: Path) -> None:
    """Neither after success nor after any failure."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    locate(str(checkpoint))
    locate(str(saved_model))
    os.truncate(f"{checkpoint}.data-00000-of-00001", 3)
    with pytest.raises(InvalidModelError):
        locate(str(checkpoint)).open_shard(0)
    with pytest.raises(NotFoundError):
        locate(str(checkpoint.parent))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_strings_are_read_from_their_shard(tmp_path: Path) -> None:
    """Of a string tensor, and of no other."""
    body, crc = w.strings(b"x", b"yz")
    text = w.entry((2,), dtype=w.STRING, offset=4, size=len(body), crc32c=w.mask(crc))
    (tmp_path / "m.index").write_bytes(w.index(("f", w.entry()), ("s", text)))
    (tmp_path / "m.data-00000-of-00001").write_bytes(b"four" + body)
    files = locate(str(tmp_path / "m"))
    fd = files.open_shard(0)
    number, words = files.bundle.entries
    assert files.read_strings(words, fd) == (b"x", b"yz")
    with pytest.raises(InvalidModelError, match="tensor f holds no strings"):
        files.read_strings(number, fd)
    os.close(fd)


# What is not there, may not be read, or is something else


@pytest.mark.parametrize("path", ["nothing", "nothing/1", "file", "file/1", ".", "x.index"])
def test_no_model(tmp_path: Path, path: str) -> None:
    """One sentence that says what was looked for."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotFoundError, match=r"there is no model at .*: no saved_model\.pb in it"):
        locate(f"{tmp_path}/{path}")


@pytest.mark.parametrize("prefix", ["nothing", "gs://bucket/m", "variables/variables", ""])
def test_no_checkpoint(prefix: str) -> None:
    """Remote prefixes are as absent as others."""
    with pytest.raises(NotFoundError, match=r"\.index"):
        locate_prefix(prefix)


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_paths_that_cannot_be(path: str) -> None:
    """NUL, or what no file name can be made from."""
    with pytest.raises(InvalidModelError, match="not a possible file name"):
        locate(path)


def test_a_path_too_long(tmp_path: Path) -> None:
    """What the kernel refuses is named with the call."""
    with pytest.raises(SystemCallError, match=r"open .*name too long"):
        locate(str(tmp_path / ("x" * 300)))


@pytest.mark.parametrize("kind", ["directory", "pipe"])
def test_only_regular_files_are_read(checkpoint: Path, kind: str) -> None:
    """A directory or a pipe in place of index or shard is refused and never waited for."""
    makers: dict[str, Callable[[Path], None]] = {"directory": Path.mkdir, "pipe": os.mkfifo}
    files = locate(str(checkpoint))
    for end in (".data-00000-of-00001", ".index"):
        path = Path(f"{checkpoint}{end}")
        path.unlink()
        makers[kind](path)
    with pytest.raises(InvalidModelError, match="not a regular file"):
        files.open_shard(0)
    with pytest.raises(InvalidModelError, match="not a regular file"):
        locate(str(checkpoint))


def test_files_too_large_are_not_read(checkpoint: Path, saved_model: Path) -> None:
    """Nobody has that many tensors, nor such a graph."""
    os.truncate(f"{checkpoint}.index", 1 << 30)
    with pytest.raises(InvalidModelError, match="1,073,741,824 bytes"):
        locate(str(checkpoint))
    os.truncate(saved_model / "saved_model.pb", 1 << 40)
    with pytest.raises(InvalidModelError, match="1,099,511,627,776 bytes"):
        locate(str(saved_model))


def test_links_are_followed_and_loops_are_refused(saved_model: Path, tmp_path: Path) -> None:
    """The client sees the file system as any program does."""
    (tmp_path / "link").symlink_to(saved_model)
    assert locate(str(tmp_path / "link")).fingerprint == locate(str(saved_model)).fingerprint
    (tmp_path / "loop.index").symlink_to("loop.index")
    with pytest.raises(SystemCallError, match=r"open .*loop"):
        locate(str(tmp_path / "loop"))


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public_dir() -> Iterator[Path]:
    """A directory that others may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_an_unreadable_directory(public_dir: Path) -> None:
    """Not allowed is told apart from not there."""
    w.write(public_dir / "m" / "ckpt", TENSORS)
    (public_dir / "m").chmod(0)
    with unprivileged(), pytest.raises(NotAllowedError, match=r"m/saved_model\.pb may not be read"):
        locate(str(public_dir / "m"))
    (public_dir / "m").chmod(0o755)


def test_an_unreadable_shard(public_dir: Path) -> None:
    """The file that may not be read is named."""
    w.write(public_dir / "ckpt", TENSORS)
    (public_dir / "ckpt.data-00000-of-00001").chmod(0)
    with unprivileged(), pytest.raises(NotAllowedError, match=r"ckpt\.data-00000-of-00001 may not"):
        locate(str(public_dir / "ckpt")).open_shard(0)


class Memory:
    """A directory that is no file system: what the daemon's may be like."""

    root = "/models"

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def open(self, name: str) -> int:
        if name not in self.files:
            raise NotFoundError(f"open {name}: there is none")
        with tempfile.TemporaryFile() as file:
            file.write(self.files[name])
            file.flush()
            return os.dup(file.fileno())


def test_another_directory_can_be_given() -> None:
    """Names stay relative to it, and messages and names use its root."""
    files = Memory({"m/3/saved_model.pb": b"graph", "m/3/variables/variables.index": w.index()})
    assert locate("m/3", files).name == "m/3"
    assert locate_prefix("m/3/variables/variables", files).fingerprint == (
        locate("m/3", files).fingerprint
    )
    absolute = b'model_checkpoint_path: "/models/c/ckpt"'
    assert locate("c", Memory({"c/checkpoint": absolute, "c/ckpt.index": w.index()})).name == (
        "c/ckpt"
    )


@given(st.binary(max_size=200), st.binary(max_size=200), st.booleans())
def test_arbitrary_files_raise_nothing_else(state: bytes, index: bytes, quoted: bool) -> None:
    """Whatever the files hold, the error is one of ours."""
    if quoted:
        state = b'model_checkpoint_path: "' + state + b'"'
    for files in ({"checkpoint": state}, {"m.index": index}, {"saved_model.pb": index}):
        with contextlib.suppress(TetrisError):
            _ = locate("m" if "m.index" in files else "", Memory(files)).bundle
