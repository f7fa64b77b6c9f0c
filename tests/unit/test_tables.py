"""Tables fit their screen, and nothing in them steers it."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tetris.cli.tables import Column, Table, render
from tetris.cli.terminal import RED, Mark, Screen, cut
from tetris.text import printable

COLUMNS = (
    Column("MODEL", least=16),
    Column("FINGERPRINT", digits=12, spare=1),
    Column("SIZE", right=True),
    Column("PUBLISHED", spare=2),
)
NAME = "a-model-of-a-team-whose-names-are-long/and-its-version/12"
ROW = (NAME, "0123456789abcdef", "1.5 GiB", "2026-11-24 11:56:42")


def lines(*rows, width=80, **screen):
    return list(render(Table(COLUMNS, rows), Screen(width, **screen)))


def columns_of(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


@given(st.lists(st.tuples(*[st.text(max_size=99)] * 4), max_size=4), st.integers(20, 120))
def test_no_line_is_wider_than_the_screen_or_steers_it(rows, width):
    for line in lines(*rows, width=width):
        assert columns_of(line) <= width
        assert line.isprintable()


def test_the_least_important_column_goes_first_and_then_the_next():
    assert lines(ROW, width=130)[0].split() == ["MODEL", "FINGERPRINT", "SIZE", "PUBLISHED"]
    assert lines(ROW, width=50)[0].split() == ["MODEL", "FINGERPRINT", "SIZE"]
    assert lines(ROW, width=30)[0].split() == ["MODEL", "SIZE"]


def test_a_name_is_cut_in_its_middle_since_both_ends_tell_it():
    name = lines(ROW, width=50)[1].split()[0]
    assert name.startswith("a-model")
    assert name.endswith("12")
    assert "…" in name
    assert cut("abcdefgh", 5, "…") == "ab…gh"


def test_wide_shows_everything():
    head, row = lines(ROW, width=10**6, wide=True)
    assert head.split() == ["MODEL", "FINGERPRINT", "SIZE", "PUBLISHED"]
    assert NAME in row
    assert "0123456789abcdef" in row


def test_a_screen_of_ascii_gets_ascii():
    assert "\n".join(lines(ROW, width=40, unicode=False)).isascii()


def test_a_mark_has_its_colour_on_a_screen_with_colours_alone():
    rows = [("m", "0", Mark("damaged", RED), "now")]
    assert "\x1b[31mdamaged\x1b[0m" in lines(*rows, colour=True)[1]
    assert "\x1b" not in lines(*rows)[1]


def test_what_steers_a_terminal_is_shown_and_not_sent():
    assert printable("a\x1b[2Jb\r\n\x9bc\u202ed\udcff") == "a\\x1b[2Jb\\r\\n\\x9bc\\u202ed\\udcff"
    assert printable("naïve 模型 🚀") == "naïve 模型 🚀"
    assert list(render("one\nline", Screen())) == ["one\\nline"]
