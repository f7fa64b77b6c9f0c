"""``python -m fuzz.run``: fuzz, replay a finding, prove that faults are found, shrink the corpus.

Fails with a finding, and says the command that replays it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from fuzz.build import BUILD, HERE, TOP, digest_command, python_command
from fuzz.corpus import choose
from fuzz.faults import FAULTS, Fault
from support.daemon import die_with_parent
from support.tmpfs import enter_namespace, tmpfs

TARGETS = ("index", "manifest", "rpc", "digest")
_SECONDS_PER_INPUT = 30
_PLANTED = ("-runs=50000", "-seed=1")  # far more than any fault took, on a machine of any speed
_WRITTEN = re.compile(r"Test unit written to (\S+)")
_COVERAGE = re.compile(r"^#(\d+)\s+(INITED|\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)


class Report(NamedTuple):
    """What one run did; counts at its begin and end."""

    target: str
    executions: int
    cpu_seconds: float
    edges: tuple[int, int]
    features: tuple[int, int]
    inputs: tuple[int, int]
    findings: list[Path]

    def __str__(self) -> str:
        numbers = [f"{a} → {b}" for a, b in (self.edges, self.features, self.inputs)]
        found = str(len(self.findings)) if self.findings else "none"
        return (
            f"{self.target:9} {self.executions:10,} {self.cpu_seconds:8.0f} {numbers[0]:>14} "
            f"{numbers[1]:>14} {numbers[2]:>12}  {found}"
        )


_HEAD = (
    f"{'target':9} {'executions':>10} {'CPU s':>8} {'edges':>14} {'features':>14} {'inputs':>12}"
    "  findings"
)


class Fuzzer:
    """One target, ready to run.

    Args:
        target: its name.
        where: a directory for what it makes.
        fault: what to plant first.
    """

    def __init__(self, target: str, where: Path, fault: Fault | None = None) -> None:
        self.target = target
        self.where = where
        where.mkdir(parents=True, exist_ok=True)
        path = [str(HERE.parent)]
        if target == "digest":
            self._command = digest_command(where, fault)
            # libFuzzer starts short and takes long to get long: a program has many steps at once.
            self._command += [f"-max_len={_module(target).MAX_SIZE}", "-len_control=0"]
        else:
            self._command, sources = python_command(target, where, fault)
            path = [str(sources / "client"), str(sources), *path]
        self._environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

    def run(self, *arguments: str | Path) -> tuple[int, str, float]:
        """Run to the end; exit status, what it wrote, and the CPU seconds it took."""
        with tmpfs("size=64m") as memory:
            log = self.where / "log"
            with log.open("wb") as out:
                child = subprocess.Popen(
                    [*self._command, *map(str, arguments)],
                    stdout=out,
                    stderr=out,
                    env={
                        **self._environment,
                        "TETRIS_FUZZ_MEMORY": str(memory),
                        "TMPDIR": str(memory),
                    },
                    cwd=self.where,
                    preexec_fn=die_with_parent,
                )
                _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        return child.returncode, log.read_text(errors="replace"), used.ru_utime + used.ru_stime

    def fuzz(self, corpora: list[Path], findings: Path, *until: str) -> Report:
        """Run until something is found or the flags ``until`` say so; new inputs go to the first
        corpus.
        """
        findings.mkdir(parents=True, exist_ok=True)
        status, text, cpu = self.run(
            *corpora,
            *until,
            f"-timeout={_SECONDS_PER_INPUT}",
            "-rss_limit_mb=2048",
            f"-artifact_prefix={findings}/",
        )
        seen = [[int(n) for n in m.group(1, 3, 4, 5)] for m in _COVERAGE.finditer(text)]
        if not seen and not status:
            raise SystemExit(f"{self.target} did not run:\n{text[-2000:]}")
        first, last = (seen[0], seen[-1]) if seen else ([0] * 4, [0] * 4)
        found = [Path(p) for p in _WRITTEN.findall(text) if "/slow-unit-" not in p]
        if status and not found:
            raise SystemExit(f"{self.target} ended with status {status}:\n{text[-2000:]}")
        pairs = [(first[i], last[i]) for i in (1, 2, 3)]
        return Report(self.target, last[0], cpu, pairs[0], pairs[1], pairs[2], found)


def _module(target: str) -> ModuleType:
    return importlib.import_module(f"fuzz.{target}")


def _with_seeds(target: str, directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in _module(target).seeds().items():
        (directory / name).write_bytes(data)
    return directory


def fuzz(targets: list[str], seconds: int) -> int:
    """Fuzz each target; 1 with a finding."""
    reports = []
    for target in targets:
        print(f"fuzzing {target} for {seconds} s", flush=True)
        work = _with_seeds(target, BUILD / "corpus" / target)
        fuzzer = Fuzzer(target, BUILD / target)
        corpora, findings = [work, HERE / "corpus" / target], BUILD / "findings" / target
        reports.append(fuzzer.fuzz(corpora, findings, f"-max_total_time={seconds}"))
    print(_HEAD, *reports, sep="\n")
    for report in reports:
        for path in report.findings:
            print(f"FOUND: make fuzz-replay TARGET={report.target} FILE={path.relative_to(TOP)}")
            print(f"       what happened is in build/fuzz/{report.target}/log")
    return int(any(report.findings for report in reports))


def planted(targets: list[str]) -> int:
    """Plant each fault, start from valid inputs alone, and see it found; 1 if one is not."""
    missed = 0
    for number, fault in enumerate(f for f in FAULTS if f.target in targets):
        where = BUILD / "planted" / f"{fault.target}-{number}"
        shutil.rmtree(where, ignore_errors=True)
        seeds = _with_seeds(fault.target, where / "seeds")
        fuzzer = Fuzzer(fault.target, where, fault)
        status, text, _ = fuzzer.run("-runs=0", seeds)
        if status:
            raise SystemExit(f"{fault.target}: a valid input fails already:\n{text[-2000:]}")
        report = fuzzer.fuzz([seeds], where / "findings", *_PLANTED)
        missed += not report.findings
        how = f"found after {report.executions:,} executions" if report.findings else "NOT FOUND"
        print(f"{fault.target}: {fault.what}: {how}, {report.cpu_seconds:.0f} s of CPU", flush=True)
    return int(missed > 0)


def replay(target: str, file: Path) -> int:
    """Run one input and show what it does."""
    status, text, _ = Fuzzer(target, BUILD / target).run(file.absolute())
    print(text)
    return int(status != 0)


def shrink(targets: list[str]) -> int:
    """Make the committed corpus anew from the seeds, itself and what fuzzing found since."""
    for target in targets:
        kept = HERE / "corpus" / target
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as directory:
            pool = _with_seeds(target, Path(directory))
            for path in (p for d in (kept, BUILD / "corpus" / target) for p in d.glob("*")):
                shutil.copy(path, pool)
            chosen = choose(Fuzzer(target, BUILD / target).run, pool)
            for path in kept.iterdir():
                path.unlink()
            for path in chosen:
                shutil.copy(path, kept)
        nbytes = sum(path.stat().st_size for path in kept.iterdir())
        print(f"{target}: {len(chosen)} inputs, {nbytes} bytes")
    return 0


def main() -> int:
    """Do what the flags say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="per target")
    parser.add_argument("--planted", action="store_true", help="plant faults and find them")
    parser.add_argument("--shrink", action="store_true", help="renew tests/fuzz/corpus")
    parser.add_argument("--replay", type=Path, help="an input to run")
    given = parser.parse_args()
    targets = given.targets or list(TARGETS)
    enter_namespace()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as ^C: clean up
    if given.replay:
        return replay(targets[0], given.replay)
    if given.planted:
        return planted(targets)
    return shrink(targets) if given.shrink else fuzz(targets, given.seconds)


if __name__ == "__main__":
    sys.exit(main())
