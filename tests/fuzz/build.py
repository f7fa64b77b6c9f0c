"""What a fuzzer runs: the sources, at times with a fault, and the C target with its oracle."""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import blake3

from fuzz.faults import Fault

TOP = Path(__file__).parents[2]
HERE = Path(__file__).parent
BUILD = TOP / "build" / "fuzz"

_C = (
    *("blake3", "blake3_portable", "blake3_x86", "crc32c", "crc32c_x86"),
    *("cpu_x86", "digest", "digest_path"),
)
_SOURCES = [f"csrc/{name}.c" for name in (*_C, "file", "segment")]
_WARN = ["-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wshadow", "-g"]
# Comparing is all that hashing does: telling libFuzzer of each comparison takes most of the time.
_FUZZ = [
    "-O1",
    "-fsanitize=fuzzer,address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-sanitize-coverage=trace-cmp",
]
_SIZES = (0, 1, 63, 64, 65, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 32767, 32768, 32769, 65537)


def python_command(target: str, where: Path, fault: Fault | None) -> tuple[list[str], Path]:
    """The command that fuzzes a Python target, and what its module path starts with."""
    sources = where / "sources"
    shutil.rmtree(sources, ignore_errors=True)
    skip = shutil.ignore_patterns("__pycache__")
    for package in ("client/tetris", "tetrisd"):
        shutil.copytree(TOP / package, sources / package, ignore=skip)
    for native in Path(sysconfig.get_path("platlib"), "tetris").glob("_native*.so"):
        shutil.copy(native, sources / "client/tetris")
    if fault is not None:
        fault.plant(sources)
    return [sys.executable, "-m", "fuzz.drive", target], sources


def digest_command(where: Path, fault: Fault | None) -> list[str]:
    """Compile the C target; the command that runs it.

    Raises:
        SystemExit: no clang that can fuzz is to be had, or the oracle is wrong.
    """
    clang, sources = _clang(), TOP
    if fault is not None:
        sources = where / "sources"
        shutil.rmtree(sources, ignore_errors=True)
        shutil.copytree(TOP / "csrc", sources / "csrc")
        fault.plant(sources)
    plain = [clang, *_WARN, "-O2"]
    fuzzed = [clang, *_WARN, *_FUZZ, f"-I{TOP / 'csrc'}"]
    oracle = _object(plain, HERE / "c/oracle.c")
    _run([*plain, HERE / "c/oracle_main.c", oracle, "-o", where / "oracle"])
    _check_oracle(where / "oracle")
    objects = [_object(fuzzed, sources / source) for source in _SOURCES]
    objects += [_object(fuzzed, HERE / "c/digest.c"), oracle]
    _run([*fuzzed, *objects, "-o", where / "digest"])
    return [str(where / "digest")]


def _object(command: list[str], source: Path) -> Path:
    """The object of ``source``; by its content and that of all headers, since it takes long."""
    headers = sorted((*(TOP / "csrc").glob("*.h"), *(HERE / "c").glob("*.h")))
    text = " ".join(command).encode() + b"".join(p.read_bytes() for p in (source, *headers))
    made = BUILD / "objects" / f"{source.stem}-{blake3.blake3(text).hexdigest(16)}.o"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        draft = made.with_suffix(".draft")
        _run([*command, "-c", source, "-o", draft])
        draft.rename(made)
    return made


def _clang() -> str:
    ask = [TOP / "tools/clang", BUILD / "clang"]
    found = subprocess.run(ask, stdout=subprocess.PIPE, text=True)
    if found.returncode:
        raise SystemExit(1)  # it said why
    return found.stdout.strip()


def _check_oracle(program: Path) -> None:
    """The oracle in C is right: it agrees with the official package."""
    rng = random.Random(1)
    inputs = [rng.randbytes(n) for n in (*_SIZES, *(rng.randrange(300_000) for _ in range(60)))]
    feed = b"".join(struct.pack("<Q", len(data)) + data for data in inputs)
    made = subprocess.run([program], input=feed, stdout=subprocess.PIPE, check=True).stdout
    for data, line in zip(inputs, made.decode().splitlines(), strict=True):
        if line.split()[0] != blake3.blake3(data).hexdigest():
            raise SystemExit(f"the oracle of the C target is wrong for {len(data)} bytes")


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run(command, check=True)
