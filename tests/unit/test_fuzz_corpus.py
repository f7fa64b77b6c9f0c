"""What fuzzing found worth keeping holds in every run; ``make fuzz`` looks further."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz import digest, index, manifest, rpc
from fuzz.corpus import MOST
from support.tmpfs import can_mount

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
TARGETS = {"digest": digest, "index": index, "manifest": manifest, "rpc": rpc}


def inputs(name: str) -> dict[str, bytes]:
    kept = {path.name: path.read_bytes() for path in sorted((CORPUS / name).iterdir())}
    return {**TARGETS[name].seeds(), **kept}


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_holds(name):
    """A session may claim as much as the tmpfs has, so it needs a small one of its own."""
    if name in ("manifest", "rpc") and not can_mount():
        pytest.skip("needs leave to mount a tmpfs")
    for which, data in inputs(name).items():
        try:
            TARGETS[name].run(data)
        except BaseException as failed:
            failed.args = (f"{name}/{which}: {failed}",)
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_stays_small(name):
    kept = list((CORPUS / name).iterdir())
    assert 0 < len(kept) <= MOST
    assert sum(path.stat().st_size for path in kept) < 250_000
