"""Our restore kernel gives what the stock one gives: the same bits, or the same error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from integration.tensorflow_process import run_python

pytest.importorskip("tensorflow")

# A partitioned variable that lacks a part, of which a box is asked that is not stored as such but
# lies in one that is: the stock kernel alone can put it together, we have to read it all.
KNOWN = {"holes 4 6 0,1:-"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Runs all cases once per mode."""
    root = tmp_path_factory.mktemp("checkpoints")
    module = ("-m", "tensorflow_side.cases")
    run_python(*module, "build", root)
    known: dict[str, Any] = {}

    def run(mode: str) -> dict[str, Any]:
        if mode not in known:
            out = root / f"{mode}.json"
            run_python(*module, "run", root, mode, out)
            known[mode] = json.loads(out.read_text())
        return dict(known[mode])

    return run


@pytest.mark.parametrize("mode", ["shared", "fallback", "disabled"])
def test_every_case_ends_as_with_the_stock_kernel(outcomes: Any, mode: str) -> None:
    stock, ours = outcomes("stock"), outcomes(mode)
    shared, fallbacks = ours.pop("shared tensors"), ours.pop("fallbacks")
    different = {
        name: (_short(result), _short(ours[name]))
        for name, result in stock.items()
        if result != ours[name]
    }
    assert different.keys() == KNOWN, different
    assert len(stock) == len(ours) > 500
    assert (shared > 100) == (mode == "shared")
    assert (fallbacks > 700) == (mode == "fallback")
    assert (fallbacks == 0) == (mode == "disabled")


def test_the_cases_are_of_all_kinds(outcomes: Any) -> None:
    errors = {result[1] for result in outcomes("stock").values() if result[0] == "error"}
    assert errors >= {"InvalidArgumentError", "NotFoundError", "DataLossError", "InternalError"}


def _short(result: Any) -> str:
    return str(result)[:200]


def test_nothing_is_left_behind() -> None:
    """The child processes remove their stores."""
    assert not list(Path("/dev/shm").glob("tetris-test-child-*"))
