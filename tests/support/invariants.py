"""What must hold of a root, whatever died: read from its files, and not from a daemon's word.

Each check answers the violations it found, one sentence each: an empty list is a pass.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tetris import shm
from tetris.v1 import tetris_pb2 as pb

_DIGEST = re.compile(r"[0-9a-f]{64}")


def manifests(root: Path) -> dict[str, list[pb.Manifest]]:
    """Every published model, by tenant; one may be evicted while we look."""
    found: dict[str, list[pb.Manifest]] = {}
    for tenant in (root / "models").iterdir():
        found[tenant.name] = []
        for file in tenant.iterdir():
            if _DIGEST.fullmatch(file.name):
                with suppress(FileNotFoundError):
                    stored = file.read_bytes()
                    found[tenant.name].append(pb.Manifest.FromString(stored[shm.DIGEST_SIZE :]))
    return found


def _named(models: list[pb.Manifest]) -> set[str]:
    return {t.digest.hex() for m in models for t in m.tensors if t.nbytes}


def leaked(root: Path) -> list[str]:
    """Files that nothing accounts for, and names that lead nowhere."""
    return [
        *(f"{path} was left half-written" for path in root.rglob(".*")),
        *_objects(root),
        *_links(root),
        *_leases(root),
    ]


def _objects(root: Path) -> Iterator[str]:
    for pool in (root / "objects").iterdir():
        found = {p.name for p in pool.iterdir()}
        models = [
            m for t, all_ in manifests(root).items() if pool_of(root, t) == pool for m in all_
        ]
        named = _named(models)
        for name in found - named:
            if not _mapped(pool, name):
                yield f"{pool / name} is in no manifest and nobody maps it"
        for name in named - found:
            yield f"{pool / name} is gone, and a manifest names it"


def pool_of(root: Path, tenant: str) -> Path:
    """Where the segments of a tenant are."""
    own = root / "objects" / tenant
    return own if own.exists() else root / "objects/_shared"


def _links(root: Path) -> Iterator[str]:
    for tenant, models in manifests(root).items():
        view = root / "tenants" / tenant
        links = {p.name for p in view.iterdir() if _DIGEST.fullmatch(p.name)}
        named = _named(models)
        for name in links - named:
            if not _mapped(view, name):
                yield f"{view / name}: no model of the tenant names it"
        yield from (f"{view / name} is missing" for name in named - links)
        for name in links & named:
            if not (view / name).samefile(pool_of(root, tenant) / name):
                yield f"{view / name} is another file than its object"


def _leases(root: Path) -> Iterator[str]:
    leases = {p.stat().st_ino for p in (root / "leases").rglob("*") if p.is_file()}
    links = {p.stat().st_ino: p for p in (root / "tenants").glob("*/*.lease")}
    yield from (f"{links[i]} leads to no lease" for i in links.keys() - leases)
    if lost := leases - links.keys():
        yield f"{len(lost)} leases are in no view"


def _mapped(directory: Path, name: str) -> bool:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return shm.is_referenced(fd, name)
    finally:
        os.close(fd)


def unaccounted(mount: Path) -> list[str]:
    """Pages and files of a tmpfs that no directory shows: what is unlinked, and still held."""
    entries = [mount, *mount.rglob("*")]
    files = {s.st_ino: s.st_blocks * 512 for s in (p.lstat() for p in entries) if not _is_dir(s)}
    fs = os.statvfs(mount)
    used = (fs.f_blocks - fs.f_bfree) * fs.f_frsize
    shown = sum(files.values())
    found = [f"{used} bytes are in use, its files have {shown}"] if used != shown else []
    # A tmpfs counts every link as a file.
    if fs.f_files - fs.f_ffree != len(entries):
        found.append(f"{fs.f_files - fs.f_ffree} files are in use, {len(entries)} are shown")
    return found


def _is_dir(found: os.stat_result) -> bool:
    return stat.S_ISDIR(found.st_mode)


def wrong(root: Path) -> list[str]:
    """Segments whose bytes are not what their name says, or that somebody could change."""
    found = []
    for path in (root / "objects").glob("*/*"):
        if not _DIGEST.fullmatch(path.name):
            continue
        with suppress(FileNotFoundError):
            if shm.digest(path.read_bytes()).hex() != path.name:
                found.append(f"objects/{path.name} has other bytes than its name says")
            if path.stat().st_mode & 0o222:
                found.append(f"objects/{path.name} can be written to")
    return found
