"""The pages in docs/ name all that there is, and nothing that there is not."""

from __future__ import annotations

import argparse
import importlib
import re

import pytest

from support import pages
from tetris import errors, status
from tetris.cli import exits
from tetris.v1 import admin_pb2, tetris_pb2
from tetrisd import events, settings
from tetrisd.keeper import Keeper
from tetrisd.metrics import Metrics

# As it stands in code, at the begin of a word.
_FLAG = r"(?:^|(?<=[\s\[]))(--?[A-Za-z][a-z-]*)"

cli = importlib.import_module("tetris.cli.main")  # the package has a function of that name


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command of tetrisctl; that of all as the empty one."""
    top = cli._parser()
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return {"": top, **commands.choices}


def flags_of(*found: argparse.ArgumentParser) -> set[str]:
    """Every spelling of every flag but that for help."""
    return {flag for spellings in options_of(*found) for flag in spellings}


def options_of(*found: argparse.ArgumentParser) -> list[list[str]]:
    options = [a.option_strings for parser in found for a in parser._actions if a.option_strings]
    return [spellings for spellings in options if "--help" not in spellings]


def kinds() -> set[str]:
    return {n.lower() for n in list(events.Kind.Kind.keys()) if n != "KIND_UNSPECIFIED"}


def variables() -> set[str]:
    """Environment variables that the code reads by name."""
    return {s for s in pages.literals("client", "tetrisd") if re.fullmatch(r"TETRIS_[A-Z_]+", s)}


def setting_variables() -> set[str]:
    flags = flags_of(settings._parser())
    return {"TETRISD_" + flag[2:].replace("-", "_").upper() for flag in flags}


def rpcs() -> set[str]:
    services = [s for m in (tetris_pb2, admin_pb2) for s in m.DESCRIPTOR.services_by_name.values()]
    return {f"{service.name}.{method.name}" for service in services for method in service.methods}


def test_each_setting_is_in_the_tables_of_the_operating_page():
    assert set(pages.firsts(pages.text("operating.md"), "flag")) == flags_of(settings._parser())


def test_each_command_of_tetrisctl_is_in_the_tables_of_its_page():
    named = {words.split()[0] for words in pages.firsts(pages.text("tetrisctl.md"), "command")}
    assert named == {command.name for command in cli.COMMANDS if command.help}


def test_each_flag_of_tetrisctl_is_on_its_page():
    page = pages.text("tetrisctl.md")
    code = "\n".join([*pages.codes(page), *pages.lines_of_code(page)])
    named = set(re.findall(_FLAG, code, re.M))
    assert [o for o in options_of(*parsers().values()) if not named & set(o)] == []
    assert named <= flags_of_all()


def test_each_metric_is_in_the_tables_of_the_observing_page(stored):
    registry = Metrics(stored.store, Keeper(stored.store)).registry
    ends = {"counter": "_total"}
    found = {family.name + ends.get(family.type, "") for family in registry.collect()}
    own = {name for name in found if not name.startswith("process_")}
    assert set(pages.firsts(pages.text("observing.md"), "metric")) == own


def test_each_kind_of_event_is_in_the_table_of_the_observing_page():
    assert set(pages.firsts(pages.text("observing.md"), "event")) == kinds()


def test_each_field_of_an_event_is_in_the_table_of_the_observing_page():
    fields = {f.name for f in tetris_pb2.Event.DESCRIPTOR.fields} - {"kind", "at_unix_ns", "nbytes"}
    named = set(pages.firsts(pages.text("observing.md"), "field"))
    assert named == fields | {"bytes", "event", "time", "level", "logger", "message", "exception"}


def test_each_rpc_has_a_comment_of_which_its_page_is_made():
    without = [
        rpc
        for file in sorted((pages.ROOT / "proto" / "tetris" / "v1").glob("*.proto"))
        for rpc in re.findall(r"^(?! *//).*\n *rpc (\w+)", file.read_text(), re.M)
    ]
    assert without == []


def test_each_error_is_in_the_table_of_the_rpc_page_with_its_status_and_exit_code():
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, Exception)]
    table = {
        codes[0]: codes[1:]
        for row in pages.rows(pages.text("rpc.md"), "error")
        if (codes := pages.codes(" ".join(row)))
    }
    assert table == {kind.__name__: spellings(kind) for kind in kinds}


def spellings(kind: type[errors.TetrisError]) -> list[str]:
    error = kind("open", "x", 1) if kind is errors.SystemCallError else kind("x")
    return [status.code_of(error).name, events.error_name(kind), str(exits.code_of(error))]


def test_each_environment_variable_is_in_the_table_of_the_operating_page():
    assert set(pages.firsts(pages.text("operating.md"), "variable")) == variables()


@pytest.mark.parametrize("name", pages.guides())
def test_a_page_names_nothing_that_is_not_there(name):
    markdown = pages.text(name)
    code = "\n".join([*pages.codes(markdown), *pages.lines_of_code(markdown)])
    assert set(
        re.findall(r"\bTETRISD?_[A-Z_]*[A-Z]\b", code)
    ) <= variables() | setting_variables() | {"TETRISD_NAME"}
    assert set(re.findall(r"\b(?:Tetris|Admin)\.[A-Z]\w+", code)) <= rpcs()
    assert set(re.findall(r"^--[a-z-]+", code, re.M)) <= flags_of_all()
    for words in re.findall(r"^(?:\S*/)?tetrisd +(.+)", code, re.M):
        assert set(re.findall(r"--[a-z-]+", words)) <= flags_of(settings._parser()), words
    # What is in brackets may be left out; what is wrong there, the test of flags finds.
    for words in re.findall(r"\btetrisctl +([^|;&#\n]+)", re.sub(r"\[[^]]*\]", "", code)):
        assert wrong_words(words.split()) == [], words


def flags_of_all() -> set[str]:
    return flags_of(*parsers().values(), settings._parser())


def wrong_words(words: list[str]) -> list[str]:
    """Of what follows ``tetrisctl``: a command that is none, or flags that it has not."""
    known = parsers()
    command = next((w for w in words if re.fullmatch(r"[a-z][a-z-]*", w)), "")
    given = {flag for word in words for flag in re.findall(r"^--[a-z-]+", word)}
    mine = flags_of(known.get(command, known[""]), known[""]) | {"--help"}
    return [*([command] if command not in known else []), *sorted(given - mine)]


def test_a_symptom_is_a_sentence_that_the_code_says():
    sentences = "\n".join(pages.literals("client", "tetrisd"))
    symptoms = re.findall(r"^### `(.+)`$", pages.text("troubleshooting.md"), re.M)
    assert len(symptoms) > 10
    assert [s for s in symptoms if s not in sentences] == []


def test_each_page_is_in_the_navigation_once():
    nav = re.findall(r"^ *- ([\w.-]+\.md)$", (pages.ROOT / "mkdocs.yml").read_text(), re.M)
    # The site itself finds the decisions.
    assert sorted(nav) == sorted([*pages.guides(), *pages.AT_THE_ROOT])


@pytest.mark.parametrize("name", [*pages.names(), *pages.AT_THE_ROOT, "README.md"])
def test_each_link_leads_somewhere(name):
    at_root = name in (*pages.AT_THE_ROOT, "README.md")
    file = (pages.ROOT if at_root else pages.DOCS) / name
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text()):
        path, _, anchor = target.partition("#")
        if not target.startswith(("http://", "https://")):
            linked = (file.parent / path).resolve() if path else file
            assert linked.exists(), target
            assert not anchor or anchor in pages.anchors(linked.read_text()) | rpcs(), target
