"""The micro-benchmarks of ``bench/micro``, run by pytest-benchmark in one process, as figures."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from figures import Figure

HERE = Path(__file__).parent


def measure() -> list[Figure]:
    """Ratios and rates from the medians of one run."""
    with tempfile.TemporaryDirectory() as directory:
        out = Path(directory) / "micro.json"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", HERE / "micro", f"--benchmark-json={out}"],
            check=True,
            cwd=HERE.parent,
            stdout=subprocess.DEVNULL,
        )
        found = {b["name"]: b for b in json.loads(out.read_text())["benchmarks"]}
    median = {name: b["stats"]["median"] for name, b in found.items()}
    attach = found["test_attach_and_map_everything"]
    return [
        Figure(
            f"attach and map {attach['extra_info']['tensors']} tensors of ResNet152, one call",
            median["test_attach_and_map_everything"] * 1000,
            "ms",
            at_most=30,
        ),
        Figure(
            "segments opened, locked, mapped, touched, unmapped",
            1000 / median["test_thousand_references"],
            "/s",
            at_least=50_000,
        ),
        Figure(
            "digest of 512 MiB, speed against the official package",
            median["test_blake3_package"] / median["test_digest"],
            "x",
            at_least=0.9,
            detail=f"{0.536870912 / median['test_digest']:.2f} GB/s",
        ),
        Figure(
            "fused copy + BLAKE3 + CRC32C into a fresh segment, against digest",
            median["test_digest"] / median["test_fused_copy"],
            "x",
            at_least=0.6,
            detail=f"{0.536870912 / median['test_fused_copy']:.2f} GB/s",
        ),
    ]
