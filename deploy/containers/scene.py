"""The scene: VGG16 in two containers of 256 MB that share it, next to two stock containers.

``make demo-containers``, or with images of your own ``scene.py --daemon IMAGE --client IMAGE``. It
needs root for a tmpfs of its own, and podman; nothing it starts has a network, and nothing is left.

The daemon is a container too, as a DaemonSet would have it: the table then shows whom the
weights are charged to.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY / "bench"))

import machine  # noqa: E402
import memory  # noqa: E402
from models import MODELS, ensure  # noqa: E402

MIB = 1 << 20
USER = "65532"  # of the daemon's image
CGROUPS = Path("/sys/fs/cgroup")
MODEL = "/models/vgg16/1"
LIMITS = (256, 512, 768, 1024, 1280, 1536, 2048, 3072, 4096)
CLIENT = ("python", "/app/classify.py", MODEL)


def podman(*arguments: object) -> str:
    """One command of podman; what it printed."""
    command = ["podman", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"podman {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


@dataclass(frozen=True)
class Row:
    """What one container costs, in bytes, and what it said.

    Attributes:
        charged, peak: its memory control group's, now and at most.
        anonymous, segments, cache: what it is charged for: pages it wrote; those of a tmpfs that
            it was the first to touch; and those of other files that it was the first to read, which
            the kernel drops when room is needed.
        private, proportional: of its processes, the store's pages left out.
    """

    name: str
    limit: int
    charged: int
    peak: int
    anonymous: int
    segments: int
    cache: int
    private: int
    proportional: int
    load_s: float | None
    output: str


class Container:
    """A running container; a context manager that removes it."""

    def __init__(self, name: str, limit_mib: int, *arguments: object) -> None:
        self.name = name
        self.limit = limit_mib * MIB
        limits = (f"--memory={self.limit}", f"--memory-swap={self.limit}") if limit_mib else ()
        always = ("--detach", "--pull=never", "--network=none", "--read-only")
        self.id = podman("run", *always, *limits, *arguments)
        self.facts: dict[str, str] = {}

    @property
    def pid(self) -> int:
        """Of its first process; 0 when that has ended."""
        return int(podman("inspect", "--format={{.State.Pid}}", self.id))

    def log(self) -> str:
        """What it wrote."""
        command = ["podman", "logs", self.id]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def wait(self, seconds: float = 180) -> bool:
        """Wait for its answer; False when it ended, or was killed, before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in self.log().splitlines():
                if line.startswith("{"):
                    self.facts = json.loads(line)
                    return True
            if not self.pid:
                return False
            time.sleep(0.2)
        return False

    def row(self) -> Row:
        """What it costs now."""
        group = control_group(self.pid)
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        pids = (group / "cgroup.procs").read_text().split()
        costs = [memory.cost(pid) for pid in pids]
        return Row(
            self.name,
            self.limit,
            first_number(group, "memory.current", "memory.usage_in_bytes"),
            first_number(group, "memory.peak", "memory.max_usage_in_bytes"),
            int(stat.get("anon", stat.get("rss", 0))),
            int(stat["shmem"]),
            int(stat.get("file", stat.get("cache", 0))) - int(stat["shmem"]),
            sum(cost.written for cost in costs),
            sum(cost.proportional for cost in costs),
            self.facts.get("load_s"),
            self.facts.get("output", ""),
        )

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        podman("rm", "--force", "--time=0", self.id)


def control_group(pid: int) -> Path:
    """The memory control group of a process, in either version of the interface."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return CGROUPS / "memory" / path.lstrip("/")
    return CGROUPS / path.lstrip("/")


def first_number(group: Path, *names: str) -> int:
    """Of the first of these files that is there."""
    return next(int((group / n).read_text()) for n in names if (group / n).exists())


def forget_pages(image: str) -> None:
    """Drop the image's files from the page cache, so that whoever reads them is charged."""
    top = podman("image", "mount", image)
    try:
        for directory, _, files in os.walk(top):
            for name in files:
                with suppress(OSError):
                    fd = os.open(os.path.join(directory, name), os.O_RDONLY | os.O_NOFOLLOW)
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                    os.close(fd)
    finally:
        podman("image", "umount", image)


@contextmanager
def tmpfs() -> Iterator[Path]:
    """What a host's administrator mounts once at /dev/shm/tetris."""
    with tempfile.TemporaryDirectory(prefix="tetris-scene-", dir="/dev/shm") as directory:
        options = f"huge=within_size,size=75%,mode=0755,uid={USER},gid={USER},nosuid,nodev"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tetris", directory], check=True)
        try:
            yield Path(directory)
        finally:
            subprocess.run(["umount", "--lazy", directory], check=True)


def occupied(directory: Path) -> int:
    """Bytes of a tmpfs, which no link counts twice."""
    fs = os.statvfs(directory)
    return (fs.f_blocks - fs.f_bfree) * fs.f_frsize


def say(words: str) -> None:
    """A line for whoever watches."""
    print(words, file=sys.stderr, flush=True)


def stock(image: str, models: str) -> tuple[list[int], list[Row]]:
    """Limits, in MiB, in which a stock container was killed; and two in the least that it needs."""
    killed: list[int] = []
    for limit in LIMITS:
        say(f"two stock containers of {limit} MiB …")
        with ExitStack() as stack:
            living = []
            for number in (1, 2):
                run = ("--volume", models, "--entrypoint", CLIENT[0], image, *CLIENT[1:])
                living.append(stack.enter_context(Container(f"stock {number}", limit, *run)))
                if not living[-1].wait():
                    killed.append(limit)
                    break
            else:
                return killed, [container.row() for container in living]
    raise SystemExit(f"stock containers were killed in {killed} MiB: this needs a larger host")


@contextmanager
def daemon(image: str, models: str, root: Path) -> Iterator[Container]:
    """The daemon in a container, and VGG16 published."""
    run = ("--tmpfs=/tmp", "--volume", f"{root}:/dev/shm/tetris", "--volume", models)
    with Container("tetrisd", 0, *run, image, "--model-root=/models") as container:
        view = root / "tenants" / "default"
        while not (view / "tetrisd.sock").exists():
            if not container.pid:
                raise SystemExit("the daemon does not start: look at `podman logs`")
            time.sleep(0.1)
        podman("exec", container.id, "tetrisctl", "publish", MODEL)
        yield container


def sharing(images: argparse.Namespace, models: str, limit: int) -> tuple[list[Row], list[int]]:
    """Three rows: the daemon and two clients; and what the tmpfs held after each."""
    forget_pages(images.client)
    with tmpfs() as root, ExitStack() as stack:
        living = [stack.enter_context(daemon(images.daemon, models, root))]
        held = [occupied(root)]
        view = f"{root}/tenants/default:/run/tetris/default:ro"
        for number in (1, 2):
            say(f"a sharing container of {limit} MiB …")
            run = ("--volume", view, "--volume", models, images.client, MODEL)
            living.append(stack.enter_context(Container(f"sharing {number}", limit, *run)))
            if not living[-1].wait():
                raise SystemExit(f"it ended in {limit} MiB: {living[-1].log()[-500:]}")
            held.append(occupied(root))
        return [container.row() for container in living], held


def megabytes(nbytes: int) -> str:
    """As the tables have it."""
    return f"{nbytes / 1e6:,.0f}" if nbytes else "-"


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown, in MB."""
    head = ("container", "limit", "charged", "peak", "written", "segments", "file cache", "private")
    lines = [(*head, "proportional", "load")]
    lines.append(("---", *("--:" for _ in lines[0][1:])))
    for row in rows:
        charged = (row.charged, row.peak, row.anonymous, row.segments, row.cache)
        load = f"{row.load_s:.2f} s" if row.load_s is not None else "-"
        lines.append(
            (row.name, *map(megabytes, (row.limit, *charged, row.private, row.proportional)), load)
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(
    limit: int, shared: list[Row], held: list[int], killed: list[int], plain: list[Row]
) -> str:
    """All that was found, for people."""
    total = total_of(shared) + held[-1]
    return f"""{table((*shared, *plain))}

The weights are {megabytes(held[0])} MB on the tmpfs, once; the second container added \
{held[2] - held[1]:,} bytes to it.
Host total: {megabytes(total)} MB with the daemon and the tmpfs, {megabytes(total_of(plain))} MB \
stock.
Stock was killed in {", ".join(map(str, killed)) or "no"} MiB; sharing lives in {limit}.
Outputs are {"equal, bit by bit" if same(shared, plain) else "DIFFERENT"}."""


def same(shared: list[Row], plain: list[Row]) -> bool:
    """Whether all said the same."""
    return len({row.output for row in (*shared[1:], *plain)}) == 1


def total_of(rows: Sequence[Row]) -> int:
    """Fair shares of all processes."""
    return sum(row.proportional for row in rows)


@contextmanager
def chdir_to_scratch() -> Iterator[None]:
    """Another working directory: conmon leaves a file `oom` in its own when a limit kills."""
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            yield
        finally:
            os.chdir(here)


def main() -> int:
    """Play it; 1 when outputs differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--daemon", default="tetrisd", help="image of Containerfile.daemon")
    parser.add_argument("--client", default="classify", help="image of Containerfile.client")
    parser.add_argument("--memory", type=int, default=256, help="limit of a client, in MiB")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args()
    ensure("vgg16", MODELS)
    models = f"{MODELS}:/models:ro"
    with chdir_to_scratch():
        shared, held = sharing(given, models, given.memory)
        killed, plain = stock(given.client, models)
    print(f"{machine.sentence()}\n\n{report(given.memory, shared, held, killed, plain)}")
    if given.json:
        figures = {
            "machine": machine.machine(),
            "containers": [asdict(row) for row in (*shared, *plain)],
            "tmpfs_bytes": held,
            "stock_killed_in_mib": killed,
        }
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if same(shared, plain) else 1


if __name__ == "__main__":
    sys.exit(main())
