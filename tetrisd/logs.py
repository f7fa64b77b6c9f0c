"""The log: events and everything else, for people on a terminal and as JSON for the journal."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from tetris.text import printable
from tetris.v1 import tetris_pb2 as pb
from tetrisd.events import ABANDONED, RELEASED, Kind

log = logging.getLogger("tetrisd")

FORMATS = ("auto", "text", "json")
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Lines about one tenant and of one kind in a second; journald drops a service's from 333 on.
_A_SECOND = 50
# What clients can make happen as often as they like.
_BY_CLIENTS = {
    Kind.MODEL_PUBLISHED,
    Kind.PUBLISH_REFUSED,
    Kind.MODEL_ATTACHED,
    Kind.ATTACH_REFUSED,
    Kind.LEASE_ENDED,
    Kind.FALLBACK_REPORTED,
}
# What journald makes of a line's beginning: its priority.
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))

# How much each event matters, and its sentence; fields as in ``tetris.v1.Event``.
_SENTENCES: Mapping[int, tuple[int, str]] = {
    Kind.DAEMON_READY: (logging.INFO, "{reason}"),
    Kind.DAEMON_STOPPING: (logging.INFO, "{reason}: stopping"),
    Kind.SETTINGS_RELOADED: (logging.INFO, "settings read again: {reason}"),
    Kind.MODEL_PUBLISHED: (
        logging.INFO,
        "published {model} of {tenant}: {nbytes} new bytes in {seconds:.3f} s",
    ),
    Kind.PUBLISH_REFUSED: (logging.WARNING, "{model} of {tenant} is not published: {reason}"),
    Kind.MODEL_ATTACHED: (logging.DEBUG, "pid {pid} attached {model} of {tenant}"),
    Kind.ATTACH_REFUSED: (logging.WARNING, "an attach of {tenant} was refused: {reason}"),
    Kind.LEASE_ENDED: (
        logging.INFO,
        "lease {lease} of pid {pid} on {model} of {tenant} ended, {reason}; "
        "it held {nbytes} bytes for {seconds:.0f} s",
    ),
    Kind.MODEL_EVICTED: (
        logging.INFO,
        "model {model} of {tenant} evicted, {reason}: {nbytes} bytes freed",
    ),
    Kind.MODEL_CHANGED: (logging.INFO, "model {model} of {tenant}: {reason}"),
    Kind.MODEL_DAMAGED: (
        logging.ERROR,
        "model {model} of {tenant} is published no more: {reason}",
    ),
    Kind.QUOTA_CHANGED: (logging.INFO, "the quota of {tenant} is {nbytes} bytes"),
    Kind.GARBAGE_COLLECTED: (logging.INFO, "garbage collected: {reason}, {nbytes} bytes freed"),
    Kind.SCRUB_ENDED: (logging.INFO, "scrubbed {nbytes} bytes in {seconds:.0f} s: {reason}"),
    Kind.FALLBACK_REPORTED: (
        logging.WARNING,
        "a client of {tenant} loaded {model} without sharing: {reason}",
    ),
}


def begin(level: str, form: str) -> None:
    """Log to the standard error.

    Args:
        level: the least that is logged.
        form: ``text``, ``json``, or ``auto``: JSON where the journal reads it.
    """
    handler = logging.StreamHandler()
    as_json = form == "json" or (form == "auto" and _is_journal())
    handler.setFormatter(_Json(_is_journal()) if as_json else _Text(_TEXT))
    logging.basicConfig(level=level, handlers=[handler], force=True)


class EventLog:
    """Logs events: a listener of :class:`tetrisd.events.Events`.

    What one tenant does may fill the log, and the journal then drops lines about others. So of each
    kind that clients cause, a tenant has some lines a second, and then one that counts the rest.

    Args:
        now: seconds, for the rate.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._mutex = threading.Lock()
        self._lines: dict[tuple[str, int], tuple[int, int]] = {}

    def __call__(self, event: pb.Event) -> None:
        """Log one."""
        level, sentence = _sentence(event)
        if not log.isEnabledFor(level):
            return
        within, more = True, 0
        if event.kind in _BY_CLIENTS:
            within, more = self._count(event.tenant, event.kind)
        if more:
            name = Kind.Kind.Name(event.kind).lower()
            log.warning("%d more of %s were not logged: %s", more, event.tenant, name)
        if within:
            fields = fields_of(event)
            log.log(level, "%s", sentence.format_map(_all(event)), extra={"fields": fields})

    def _count(self, tenant: str, kind: int) -> tuple[bool, int]:
        """Whether a line is left in this second, and how many too many the last one had."""
        second = int(self._now())
        with self._mutex:
            then, lines = self._lines.get((tenant, kind), (second, 0))
            more = max(0, lines - _A_SECOND) if then != second else 0
            lines = 1 if then != second else lines + 1
            self._lines[tenant, kind] = second, lines
        return lines <= _A_SECOND, more


def _sentence(event: pb.Event) -> tuple[int, str]:
    if event.kind == Kind.SETTINGS_RELOADED and event.error:
        return logging.ERROR, "the settings are not read again: {reason}"
    level, sentence = _SENTENCES[event.kind]
    if event.error == ABANDONED:
        level = logging.INFO  # nobody is refused anything
    if event.reason == RELEASED or event.error == "not_found":
        level = logging.DEBUG  # what every client does, many times a second
    return level, sentence


def fields_of(event: pb.Event) -> dict[str, object]:
    """An event for programs: what it says, and nothing that it does not say."""
    fields: dict[str, object] = {"event": Kind.Kind.Name(event.kind).lower()}
    for field, value in event.ListFields():
        if field.name not in ("kind", "at_unix_ns"):
            fields[_NAMES.get(field.name, field.name)] = (
                value.hex() if isinstance(value, bytes) else value
            )
    return fields


_NAMES = {"nbytes": "bytes"}


def _all(event: pb.Event) -> dict[str, object]:
    return {field.name: getattr(event, field.name) for field in event.DESCRIPTOR.fields}


def _is_journal() -> bool:
    """Whether the standard error is the journal: its name is in the environment."""
    try:
        found = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class _Text(logging.Formatter):
    """A line for people. Names in it are a client's: none may end the line, or move the cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """A traceback, set off from lines: its last one may hold such a name, too."""
        lines = super().formatException(ei).splitlines()
        return "\n".join(f"    {printable(line)}" for line in lines)


class _Json(logging.Formatter):
    """One JSON object a line; for the journal behind the priority that it takes off again."""

    def __init__(self, priorities: bool) -> None:
        super().__init__()
        self._priorities = priorities

    def format(self, record: logging.LogRecord) -> str:
        said = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        if not self._priorities:
            return json.dumps(said)
        priority = next((p for level, p in _PRIORITIES if record.levelno >= level), 7)
        return f"<{priority}>{json.dumps(said)}"
