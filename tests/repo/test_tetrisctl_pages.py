"""What is written of tetrisctl is what its table says."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tetris.cli.exits import EXITS, code_of
from tetris.cli.main import main
from tetris.errors import CorruptDataError, SystemCallError, TetrisError

ROOT = Path(__file__).parents[2]
MAN = ROOT / "man" / "tetrisctl.1"


def manpage() -> str:
    spec = importlib.util.spec_from_file_location("manpage", ROOT / "tools" / "manpage.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.page()


def table() -> dict[int, str]:
    return {row.code: row.meaning.replace("`", "") for row in EXITS}


def test_the_man_page_is_current():
    assert manpage() == MAN.read_text(), "make man"


def test_the_man_page_is_good_roff():
    if shutil.which("groff") is None:
        pytest.skip("no groff here")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", MAN], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_man_page_has_every_exit_code():
    found = re.findall(r"^\.TP\n\.B (\d+)\n(.*)$", MAN.read_text(), re.MULTILINE)
    assert {int(code): words.replace("\\-", "-") for code, words in found} == table()


def test_the_documentation_has_every_exit_code():
    found = re.findall(r"^\| (\d+) \| (.*) \|$", (ROOT / "docs/tetrisctl.md").read_text(), re.M)
    assert {int(code): words.replace("`", "") for code, words in found} == table()


def test_the_help_has_every_exit_code(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split("exit codes:")[1].split())
    found = re.findall(r"(\d+) ([^;]+)", said)
    assert {int(code): words.replace("`", "").strip() for code, words in found} == table()


def test_every_error_ends_with_a_code():
    def kinds(kind):
        return {kind}.union(*map(kinds, kind.__subclasses__()))

    assert code_of(CorruptDataError()) == 5
    assert code_of(SystemCallError("open", "x", 1)) == 1
    for kind in kinds(TetrisError):
        assert code_of(kind.__new__(kind)) in table()
