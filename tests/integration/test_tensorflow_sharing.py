"""Stock TensorFlow's loaders share memory, and nothing else about them changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.tensorflow_process import run_python

pytest.importorskip("tensorflow")

SCENARIOS = [
    *("saved_model", "keras_layer", "checkpoint", "session", "graph_function", "memory"),
    *("training", "late", "lifetime", "forks", "threads", "overwritten", "gone", "fallback"),
    *("little_private_memory", "other_version", "iterator"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    run_python("-m", "tensorflow_side.scenarios", "models", root)
    return root


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(models: Path, scenario: str) -> None:
    """What it asserts is the docstring of its function in ``tensorflow_side.scenarios``."""
    run_python("-m", "tensorflow_side.scenarios", scenario, models)


PROGRAM = """
import sys
assert "tetris.tensorflow" not in sys.modules and "tetris.shm" not in sys.modules
if "load" in sys.argv:
    import tensorflow as tf
    import tetris.tensorflow
    assert tetris.tensorflow.enabled()
    tf.saved_model.load(sys.argv[2])
    assert sum(tetris.tensorflow.report().fallbacks.values()) > 0  # no daemon here
print(__name__, sys.argv[1:], sys.path[0])
if "raise" in sys.argv:
    raise KeyError("as if run directly")
sys.exit(int(sys.argv[-1]))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    directory = tmp_path / "programs"
    directory.mkdir()
    path = directory / "program.py"
    path.write_text(PROGRAM)
    return path


def test_a_script_runs_as_if_run_directly(program: Path) -> None:
    ours = run_python("-m", "tetris", program, "a", "-m", "7", check=False)
    stock = run_python(program, "a", "-m", "7", check=False)
    assert ours.returncode == stock.returncode == 7
    assert ours.stdout == stock.stdout
    assert "__main__" in ours.stdout


def test_a_module_runs_as_if_run_directly(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(program.parent)
    ours = run_python("-m", "tetris", "-m", "program", "a", "--b", "0", check=False)
    stock = run_python("-m", "program", "a", "--b", "0", check=False)
    assert ours.returncode == stock.returncode == 0, ours.stderr
    assert ours.stdout == stock.stdout


def test_an_exception_passes_through(program: Path) -> None:
    ours = run_python("-m", "tetris", program, "raise", check=False)
    assert ours.returncode == 1
    assert "KeyError: 'as if run directly'" in ours.stderr


def test_sharing_is_on_once_tensorflow_is_imported(program: Path, models: Path) -> None:
    done = run_python("-m", "tetris", program, "load", models / "saved", "0",
                      TETRIS_SOCKET="/nowhere/tetris.socket")  # fmt: skip
    assert "is loaded without sharing" in done.stderr


@pytest.mark.parametrize(("arguments", "code"), [([], 1), (["-m"], 1), (["-x"], 1), (["-h"], 0)])
def test_wrong_arguments_get_the_usage(arguments: list[str], code: int) -> None:
    done = run_python("-m", "tetris", *arguments, check=False)
    assert done.returncode == code
    assert "usage: python -m tetris" in done.stdout + done.stderr


def test_asking_for_tensorflow_is_no_import(program: Path) -> None:
    program.write_text(
        "import importlib.util, sys\n"
        "assert importlib.util.find_spec('tensorflow')\n"
        "assert 'tensorflow' not in sys.modules\n"
        "import tensorflow, tetris.tensorflow\n"
        "assert tetris.tensorflow.enabled()\n"
    )
    run_python("-m", "tetris", program)
