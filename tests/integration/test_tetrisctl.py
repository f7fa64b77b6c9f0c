"""tetrisctl: tables for people, JSON for programs, exit codes for scripts."""

from __future__ import annotations

import json

import pytest

import tetris
from support.daemon import run_python
from support.models import floats, random_model, write_model
from tetris.cli.main import main


@pytest.fixture
def run(daemon, capsys):
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main([*arguments, "--socket", str(daemon.socket)])
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


@pytest.fixture
def model(tmp_path, daemon):
    return write_model(
        tmp_path / "models" / "m" / "1",
        {"kernel": ((2, 3), floats(*range(6))), "bias": ((), floats(7))},
    )


def test_publish_then_everything_shows_it(run, model, daemon):
    code, out, _ = run("publish", str(model))
    assert code == 0
    assert "m/1: 2 tensors in 2 segments, 28 B" in out
    with tetris.attach(model, socket=daemon.socket) as attached:
        kernel = attached["kernel"]
        assert run("models")[1].splitlines()[1].split()[:2][0] == "m/1"
        shown = run("show", "m/1")[1]
        assert "kernel" in shown
        assert "2x3" in shown
        assert "scalar" in shown
        assert run("segments")[1].count("yes") == 1
        assert "held" in run("leases")[1]
        assert kernel.sum() == 15


def test_json_is_for_programs(run, model, daemon):
    published = json.loads(run("publish", str(model), "--json")[1])
    assert published["bytes"] == 28
    assert json.loads(run("--json", "models")[1])[0]["fingerprint"] == published["fingerprint"]
    assert [t["name"] for t in json.loads(run("show", "m/1", "--json")[1])["tensors"]] == [
        "bias",
        "kernel",
    ]
    with tetris.attach(model, socket=daemon.socket), tetris.attach(model, socket=daemon.socket):
        stat = json.loads(run("stat", "--json")[1])
    assert (stat["leases"], stat["bytes_asked"]) == (2, 56)
    assert (stat["bytes_resident"], stat["bytes_saved"]) == (28, 28)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "nope"], 4, "no model 'nope'"),
        (["publish", "/no/such/model"], 4, "no model at"),
    ],
)
def test_failures_have_a_sentence_and_a_code(run, arguments, code, words):
    found, out, err = run(*arguments)
    assert found == code
    assert out == ""
    assert words in err
    assert err.startswith("tetrisctl: ")


def test_damaged_files_have_their_own_code(run, tmp_path):
    path = random_model(tmp_path / "models" / "r")
    (path / "variables" / "variables.index").write_bytes(b"nonsense")
    assert run("publish", str(path))[0] == 5


def test_no_daemon_has_its_own_code(tmp_path, capsys):
    assert main(["--socket", str(tmp_path / "none"), "stat"]) == 3
    assert "no daemon" in capsys.readouterr().err


def test_wrong_usage_ends_with_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["frobnicate"])
    assert caught.value.code == 2
    assert "frobnicate" in capsys.readouterr().err


def test_version_tells_of_a_daemon_that_answers_and_of_one_that_does_not(run, tmp_path, capsys):
    found = json.loads(run("version", "--json")[1])
    assert found["client"] == found["daemon"] == tetris.__version__
    assert main(["version", "-o", "json", "--socket", str(tmp_path / "none")]) == 0
    assert json.loads(capsys.readouterr().out)["daemon"] is None


def test_version_does_not_import_tensorflow(tmp_path):
    code = (
        "import sys; from tetris.cli.main import main; main(['version']); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = run_python(code, TETRIS_SOCKET=str(tmp_path / "none"))
    assert done.returncode == 0
    assert "tensorflow" in done.stdout
