"""Finding a model's files, and its fingerprint.

A user names a model in one of four ways:

- a SavedModel directory: ``saved_model.pb`` and, when it has variables,
  ``variables/variables.index``;
- a checkpoint prefix, as TensorFlow's savers return it: ``PREFIX.index`` exists;
- that index file itself;
- a directory whose file ``checkpoint`` names its latest prefix.

**The fingerprint** is BLAKE3-256 over ``tetris model 1`` and a zero byte, then for each part the
length of its label (8 bytes, little-endian), its label, the length of its bytes (the same) and its
bytes. The parts of a SavedModel are those of its graph files that exist, labelled by their names,
then the index, labelled ``index``. A plain checkpoint is its index alone. The index carries every
tensor's name, dtype, shape, size and CRC32C, so two models with one fingerprint hold the same
weights; the weights need not be read for it, nor the index understood. Moving a model keeps it.
"""

from __future__ import annotations

import errno
import os
import re
from functools import cached_property
from posixpath import isabs, join, normpath, split

from tetris.errors import InvalidModelError, NotFoundError, SystemCallError
from tetris.formats.bundle import Bundle, Entry, decode_strings, parse_index
from tetris.formats.directory import (
    Directory,
    PlainDirectory,
    file_size,
    pread,
    read_file,
    too_large,
)
from tetris.shm import Sum

GRAPH_FILES = ("saved_model.pb", "saved_model.pbtxt", "saved_model.cpb")
"""What makes a directory a SavedModel: binary, text, or in chunks (beyond 2 GiB)."""

_DOMAIN = b"tetris model 1\0"
_MAX_GRAPH_BYTES = 2 << 30  # protobuf's own limit
_MAX_INDEX_BYTES = 64 << 20  # about a million tensors
_MAX_STATE_BYTES = 1 << 20


class CheckpointFiles:
    """The files of one model, as they were when it was located.

    Attributes:
        directory: where they are opened.
        prefix: of the index and the shards in it.
        name: for people: ``vgg16/1``, ``run3/ckpt-7``.
        fingerprint: 32 bytes, see the module.
        bundle: the parsed index; empty for a SavedModel without variables. Parsed when first asked
            for, and then raises as ``parse_index`` does.
    """

    def __init__(
        self, directory: Directory, prefix: str, name: str, fingerprint: bytes, index: bytes | None
    ) -> None:
        self.directory = directory
        self.prefix = prefix
        self.name = name
        self.fingerprint = fingerprint
        self._index = index

    @property
    def has_index(self) -> bool:
        """Whether there are variables at all."""
        return self._index is not None

    @cached_property
    def bundle(self) -> Bundle:  # noqa: D102 (described with the attributes)
        if self._index is None:
            return Bundle(0, ())
        return parse_index(self._index, f"{self.prefix}.index")

    def shard_name(self, shard: int) -> str:
        """The name of a data file in ``directory``."""
        return f"{self.prefix}.data-{shard:05d}-of-{self.bundle.num_shards:05d}"

    def open_shard(self, shard: int) -> int:
        """Open a data file that holds all of its tensors; the caller closes the descriptor.

        Raises:
            NotFoundError: the file is missing.
            NotAllowedError: it may not be read.
            InvalidModelError: a tensor reaches past its end.
        """
        name = self.shard_name(shard)
        try:
            fd = self.directory.open(name)
        except NotFoundError:
            raise NotFoundError(
                f"model {self.name} lacks its data file {name}; copy the model again, whole"
            ) from None
        try:
            self._check_shard(shard, file_size(fd, name), name)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def read_strings(self, entry: Entry, fd: int) -> tuple[bytes, ...]:
        """The elements of string tensor ``entry``, whose shard is open as ``fd``.

        Raises:
            InvalidModelError: the tensor is no string tensor, refused, or its lengths do not add
                up.
            CorruptDataError: a checksum is wrong.
        """
        if entry.dtype != "string" or entry.refusal:
            raise InvalidModelError(entry.refusal or f"tensor {entry.name} holds no strings")
        data = pread(fd, entry.offset, entry.nbytes, self.shard_name(entry.shard))
        return decode_strings(entry, data)

    @cached_property
    def _ends(self) -> dict[int, tuple[int, str]]:
        """For each shard where the last tensor in it ends, and which that is."""
        ends: dict[int, tuple[int, str]] = {}
        for entry in self.bundle.entries:
            if entry.refusal:
                continue
            for part in entry.stored:
                end = part.offset + part.nbytes
                if part.shard not in ends or end > ends[part.shard][0]:
                    ends[part.shard] = end, entry.name
        return ends

    def _check_shard(self, shard: int, size: int, name: str) -> None:
        end, tensor = self._ends.get(shard, (0, ""))
        if end > size:
            raise InvalidModelError(
                f"tensor {tensor} ends at byte {end} of {name}, which has only {size}; "
                "the file is cut short or the index is wrong"
            )


_HERE = PlainDirectory()


def locate(path: str, directory: Directory = _HERE) -> CheckpointFiles:
    """Find the model that ``path`` names, in any of the four ways.

    Raises:
        NotFoundError: there is no model.
        NotAllowedError: a file of it may not be read.
        InvalidModelError: what is there cannot be a model.
    """
    path = path.rstrip("/") or path[:1]
    found = _saved_model(path, directory)
    if found:
        return found
    for prefix in dict.fromkeys((path, path.removesuffix(".index"))):
        found = _located(prefix, directory)
        if found:
            return found
    state = _read_if_there(directory, join(path, "checkpoint"), _MAX_STATE_BYTES)
    if state is None:
        raise NotFoundError(
            f"there is no model at {path}: no {GRAPH_FILES[0]} in it, no {path}.index and no file "
            "named checkpoint in it"
        )
    latest = join(path, _latest(state, path, directory))
    found = _located(latest, directory)
    if not found:
        raise NotFoundError(f"{path}/checkpoint names {latest}, but there is no {latest}.index")
    return found


def locate_prefix(prefix: str, directory: Directory = _HERE) -> CheckpointFiles:
    """Find the model whose weights TensorFlow restores from ``prefix``.

    The prefix of a SavedModel's variables gives the SavedModel, as ``locate`` of its directory
    does.

    Raises:
        NotFoundError: there is no ``PREFIX.index``; remote and V1 checkpoints are among these.
        NotAllowedError: a file of it may not be read.
        InvalidModelError: what is there cannot be a checkpoint.
    """
    found = _located(prefix, directory)
    if not found or not found.has_index:
        raise NotFoundError(f"there is no checkpoint {prefix}: no {prefix}.index")
    return found


def _located(prefix: str, directory: Directory) -> CheckpointFiles | None:
    head, last = split(prefix)
    home, middle = split(head)
    if (middle, last) == ("variables", "variables"):
        found = _saved_model(home, directory)
        if found:
            return found
    index = _read_if_there(directory, f"{prefix}.index", _MAX_INDEX_BYTES)
    if index is None:
        return None
    total = _Fingerprint()
    total.take("index", index)
    name = "/".join(_components(prefix, directory)[-2:])
    return CheckpointFiles(directory, prefix, name, total.result(), index)


def _saved_model(home: str, directory: Directory) -> CheckpointFiles | None:
    """The SavedModel in ``home``; without variables it has no index and no tensors."""
    total = _Fingerprint()
    if not [name for name in GRAPH_FILES if total.take_file(name, join(home, name), directory)]:
        return None
    prefix = join(home, "variables", "variables")
    index = _read_if_there(directory, f"{prefix}.index", _MAX_INDEX_BYTES)
    if index is not None:
        total.take("index", index)
    *_, parent, last = "", *_components(home, directory)
    name = f"{parent}/{last}" if parent and last.isdecimal() else last
    return CheckpointFiles(directory, prefix, name, total.result(), index)


class _Fingerprint:
    """A fingerprint as it grows, see the module."""

    def __init__(self) -> None:
        self._sum = Sum()
        self._sum.update(_DOMAIN)

    def take(self, label: str, data: bytes) -> None:
        self._start(label, len(data))
        self._sum.update(data)

    def take_file(self, label: str, name: str, directory: Directory) -> bool:
        """Take a file in without holding it in memory; False when there is none."""
        fd = _open_if_there(directory, name)
        if fd is None:
            return False
        try:
            size = file_size(fd, name)
            if size > _MAX_GRAPH_BYTES:
                raise too_large(name, size, _MAX_GRAPH_BYTES)
            self._start(label, size)
            self._skim(fd, size, name)
        finally:
            os.close(fd)
        return True

    def _skim(self, fd: int, size: int, name: str) -> None:
        try:
            self._sum.skim(fd, 0, size, name)
        except InvalidModelError:
            raise InvalidModelError(
                f"{name} is cut while it is read; wait for its writer"
            ) from None

    def result(self) -> bytes:
        return self._sum.result()[0]

    def _start(self, label: str, size: int) -> None:
        text = label.encode()
        self._sum.update(len(text).to_bytes(8, "little") + text + size.to_bytes(8, "little"))


def _open_if_there(directory: Directory, name: str) -> int | None:
    try:
        return directory.open(name)
    except NotFoundError:
        return None
    except SystemCallError as error:
        # Something on the way is a file: as absent as the rest.
        if error.errno == errno.ENOTDIR:
            return None
        raise


def _read_if_there(directory: Directory, name: str, limit: int) -> bytes | None:
    fd = _open_if_there(directory, name)
    if fd is None:
        return None
    try:
        return read_file(fd, name, limit)
    finally:
        os.close(fd)


def _components(path: str, directory: Directory) -> list[str]:
    """The whole path's components as printable text; at least one."""
    whole = os.path.abspath(join(directory.root, path))
    text = whole.encode(errors="replace").decode()
    return [part for part in text.split("/") if part] or ["/"]


def _latest(state: bytes, home: str, directory: Directory) -> str:
    """The prefix that a ``checkpoint`` file names, relative to its directory ``home``.

    The file is a protobuf message as text; savers write paths relative or absolute. Either way the
    checkpoint has to be below the directory: a model that is elsewhere is asked for by its own
    path.
    """
    match = re.search(
        rb'^\s*model_checkpoint_path\s*:\s*"((?:[^"\\\n]|\\.)*)"', state, re.MULTILINE
    )
    if match is None:
        raise InvalidModelError(f"{home}/checkpoint names no checkpoint")
    path = os.fsdecode(re.sub(rb"\\([0-7]{3}|.)", _unescape, match[1]))
    if isabs(path):
        whole = os.path.abspath(join(directory.root, home))
        path = os.path.relpath(normpath(path), whole)
    if ".." in path.split("/"):
        raise InvalidModelError(
            f"{home}/checkpoint names {path}, which is not below it; ask for that path itself"
        )
    return path


def _unescape(match: re.Match[bytes]) -> bytes:
    """What stands behind a backslash: three octal digits of a byte, or the character itself."""
    what = match[1]
    return bytes([int(what, 8) & 0xFF]) if len(what) == 3 else what
