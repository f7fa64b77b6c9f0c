"""The log says each decision once, in a line that no client can forge."""

from __future__ import annotations

import io
import json
import logging
import os
import sys

import pytest

from tetris.v1 import tetris_pb2 as pb
from tetrisd import logs
from tetrisd.clock import Clock
from tetrisd.events import ABANDONED, DIED, RELEASED, Events, Kind

FORGED = "m\n2026-01-01 00:00:00,000 ERROR tetrisd: the disk is full\x1b[2J\u202e\u2028"


@pytest.fixture(autouse=True)
def _root_logger():
    """What these tests change of it."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:] = before[0]
    root.setLevel(before[1])


@pytest.fixture
def written(monkeypatch):
    """Log in a form, do something, and have the lines."""

    def run(form, do, *, level="DEBUG", journal=False):
        if journal:
            monkeypatch.setattr(logs, "_is_journal", lambda: True)
        out = io.StringIO()
        monkeypatch.setattr(sys, "stderr", out)
        logs.begin(level, form)
        do()
        return out.getvalue().splitlines()

    return run


def say(kind, tenant="red", **details):
    events = Events(Clock())
    events.listen(logs.EventLog())
    return lambda: events.say(kind, tenant, **details)


def fail():
    try:
        raise ValueError(FORGED)
    except ValueError:
        logging.getLogger("tetrisd").exception("%s failed", "Attach")


KINDS = [k for k in Kind.Kind.values() if k not in (Kind.KIND_UNSPECIFIED, Kind.EVENTS_LOST)]


@pytest.mark.parametrize("kind", KINDS, ids=Kind.Kind.Name)
@pytest.mark.parametrize("form", ["text", "json"])
def test_every_kind_of_event_is_one_line(written, kind, form):
    (line,) = written(form, say(kind, model=FORGED, reason=FORGED, error=""))
    assert line.isprintable()


def test_a_line_of_json_has_the_fields_for_programs(written):
    (line,) = written(
        "json",
        say(Kind.MODEL_PUBLISHED, model="m", fingerprint=b"\1" * 32, nbytes=5, seconds=0.25),
    )
    found = json.loads(line)
    assert found.pop("time")
    assert found == {
        "level": "INFO",
        "logger": "tetrisd",
        "message": "published m of red: 5 new bytes in 0.250 s",
        "event": "model_published",
        "tenant": "red",
        "model": "m",
        "fingerprint": "01" * 32,
        "bytes": 5,
        "seconds": 0.25,
    }


def test_json_keeps_a_strange_name_as_it_is(written):
    (line,) = written("json", say(Kind.MODEL_PUBLISHED, model=FORGED))
    assert json.loads(line)["model"] == FORGED


def test_no_name_ends_a_line_of_text_or_steers_a_terminal(written):
    (line,) = written("text", say(Kind.PUBLISH_REFUSED, model=FORGED, reason="no"))
    assert "m\\n2026-01-01" in line
    assert "\\x1b[2J\\u202e\\u2028" in line


def test_a_traceback_is_set_off_from_lines(written):
    """The message of an error may hold such a name, too."""
    first, *more = written("text", fail)
    assert first.endswith("ERROR tetrisd: Attach failed")
    assert len(more) > 2
    assert all(line.startswith("    ") and line.isprintable() for line in more)
    assert "exception" in json.loads(written("json", fail)[0])


def test_a_surrogate_does_not_stop_the_log(written):
    (line,) = written("text", lambda: logging.getLogger("tetrisd").warning("caf\udce9"))
    assert line.endswith("caf\\udce9")


@pytest.mark.parametrize(
    ("kind", "details", "priority"),
    [
        (Kind.MODEL_DAMAGED, {}, 3),
        (Kind.ATTACH_REFUSED, {"error": "no_space"}, 4),
        (Kind.PUBLISH_REFUSED, {"error": ABANDONED}, 6),
        (Kind.LEASE_ENDED, {"reason": DIED}, 6),
        (Kind.LEASE_ENDED, {"reason": RELEASED}, 7),
        (Kind.ATTACH_REFUSED, {"error": "not_found"}, 7),
        (Kind.SETTINGS_RELOADED, {}, 6),
        (Kind.SETTINGS_RELOADED, {"error": "invalid_model"}, 3),
    ],
)
def test_the_journal_gets_a_priority_before_each_line(written, kind, details, priority):
    (line,) = written("auto", say(kind, **details), journal=True)
    assert line.startswith(f"<{priority}>{{")
    json.loads(line.removeprefix(f"<{priority}>"))


def test_auto_is_text_where_no_journal_reads(written):
    (line,) = written("auto", say(Kind.MODEL_DAMAGED, model="m", reason="why"))
    assert line.endswith("ERROR tetrisd: model m of red is published no more: why")


def test_the_journal_is_known_by_its_stream(monkeypatch, tmp_path):
    with (tmp_path / "log").open("w") as file:
        monkeypatch.setattr(sys, "stderr", file)
        found = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert logs._is_journal()
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not logs._is_journal()


def test_the_level_is_what_is_asked_for(written):
    assert written("text", say(Kind.MODEL_ATTACHED, model="m"), level="INFO") == []


def test_no_event_without_what_it_says():
    fields = logs.fields_of(pb.Event(kind=Kind.DAEMON_READY, reason="ready"))
    assert fields == {"event": "daemon_ready", "reason": "ready"}


def test_a_tenant_that_floods_the_log_is_counted_and_others_are_heard(written):
    """The journal would drop lines of the whole service, also those about others."""
    seconds = [0.0]
    events = Events(Clock())
    events.listen(logs.EventLog(lambda: seconds[0]))

    def flood():
        for number in range(200):
            events.say(Kind.FALLBACK_REPORTED, "red", model=f"m{number}", reason="failed")
            events.say(Kind.MODEL_DAMAGED, "red", model=f"d{number}", reason="is damaged")
        events.say(Kind.FALLBACK_REPORTED, "blue", model="b", reason="failed")
        seconds[0] = 1.0
        events.say(Kind.FALLBACK_REPORTED, "red", model="later", reason="failed")

    lines = written("text", flood)
    of_red = [line for line in lines if "of red loaded" in line]
    assert len(of_red) == 51
    assert any("150 more of red were not logged: fallback_reported" in line for line in lines)
    assert sum("of blue loaded" in line for line in lines) == 1
    assert sum("is damaged" in line for line in lines) == 200, "no client can cause these"
