"""Models, readers, rates and memory, live."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from tetris.cli import lists, stat
from tetris.cli.fullscreen import FullScreen
from tetris.cli.rates import NAMES, Counted, Rates
from tetris.cli.tables import Body, Column, Moment, Table, counted, duration, render, size
from tetris.cli.terminal import RED, YELLOW, Mark, screen_of
from tetris.errors import TetrisError, UnavailableError
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

_COLUMNS = (
    Column("MODEL", least=20),
    Column("SIZE", right=True),
    Column("READERS", right=True),
    Column("ATTACHES/s", right=True),
    Column("STAYS"),
    Column("PUBLISHED", spare=1),
)


class Frame(NamedTuple):
    """What was seen at one moment.

    Attributes:
        stats: numbers of the tenant or of the host.
        models: rows of the models, those with most readers first.
        publishing: publishes under way.
        counted: events since the frame before.
    """

    stats: pb.GetStatsResponse
    models: list[lists.Row]
    publishing: list[pb.Publishing]
    counted: Counted


def top(arguments: argparse.Namespace) -> None:
    """Draw again and again; one frame only where there is no terminal to draw on."""
    with Rates(arguments) as rates:
        if sys.stdout.isatty() and arguments.output != "json":
            with FullScreen() as screen:
                _live(arguments, rates, screen)
        else:
            _batch(arguments, rates)


def _live(arguments: argparse.Namespace, rates: Rates, screen: FullScreen) -> None:
    frames = arguments.count or sys.maxsize
    for _ in range(frames):
        columns, lines = shutil.get_terminal_size()
        show = screen_of(sys.stdout)._replace(width=columns)
        screen.draw(list(render(_body(arguments, rates), show))[:lines])
        if screen.key(arguments.delay) in ("q", "Q", "\x04"):
            return


def _batch(arguments: argparse.Namespace, rates: Rates) -> None:
    for index in range(arguments.count or 1):
        if index:
            time.sleep(arguments.delay)
        if arguments.output == "json":
            print(json.dumps(_data(look(arguments, rates))), flush=True)  # noqa: T201
            continue
        show = screen_of(sys.stdout, wide=arguments.output == "wide")
        body = [*([""] if index else []), *text(look(arguments, rates))]
        print(*render(body, show), sep="\n", flush=True)  # noqa: T201


def _body(arguments: argparse.Namespace, rates: Rates) -> Body:
    try:
        return text(look(arguments, rates))
    except UnavailableError as failed:
        return [Mark(str(failed), RED)]


def look(arguments: argparse.Namespace, rates: Rates) -> Frame:
    """See what is there now."""
    counted = rates.take()
    models = lists.rows(arguments, lists.MODELS)
    for m in models:
        attaches = counted.attaches[m.get("tenant", ""), m["fingerprint"]]
        m["attaches_per_second"] = attaches / counted.seconds if counted.seconds else None
    models.sort(
        key=lambda m: (-m["leases"], -(m["attaches_per_second"] or 0), -m["bytes"], m["name"])
    )
    return Frame(stat.ask(arguments), models, _publishing(arguments), counted)


def _publishing(arguments: argparse.Namespace) -> list[pb.Publishing]:
    if not arguments.all_tenants:
        with suppress(TetrisError):
            rpc = Rpc(arguments.socket)
            return rpc.collect("ListPublishes", pb.ListPublishesRequest(), lambda p: p)
    return []


def text(frame: Frame) -> list[str | Table]:
    """A frame for people."""
    s = frame.stats
    up = duration(time.time() - s.started_unix_ns / 1e9) if s.started_unix_ns else "?"
    return [
        f"tetrisd {s.version}, up {up}: {counted(s.models, 'model')}, "
        f"{counted(s.leases, 'lease')}, {counted(s.segments, 'segment')}, "
        f"{s.references} of them mapped",
        stat.saving(s),
        _rates(frame.counted),
        "",
        Table(_columns(frame), [*_publishes(frame), *map(_cells, frame.models)]),
    ]


def _columns(frame: Frame) -> tuple[Column, ...]:
    whose = any("tenant" in m for m in frame.models)
    return (lists.TENANT, *_COLUMNS) if whose else _COLUMNS


def _rates(counted: Counted) -> str:
    if not counted.seconds:
        return "per second (from the next look on)"
    rates = (f"{round(counted.kinds[name] / counted.seconds, 1):g} {name}" for name in NAMES)
    return f"per second {', '.join(rates)}"


def _publishes(frame: Frame) -> Iterator[tuple[object, ...]]:
    for p in frame.publishing:
        part = p.bytes_done / p.bytes_total if p.bytes_total else 0.0
        yield (p.name, size(p.bytes_total), "", "", Mark(f"{part:.0%} published", YELLOW), "")


def _cells(m: lists.Row) -> tuple[object, ...]:
    rate = m["attaches_per_second"]
    return (
        *([m["tenant"]] if "tenant" in m else []),
        m["name"],
        size(m["bytes"]),
        m["leases"],
        "" if rate is None else f"{rate:.1f}",
        lists.stays(m),
        Moment(m["published_unix_ns"]),
    )


def _data(frame: Frame) -> dict[str, Any]:
    seconds = frame.counted.seconds
    return {
        "at_unix_ns": time.time_ns(),
        "stat": stat.row(frame.stats),
        "per_second": {n: frame.counted.kinds[n] / seconds for n in NAMES} if seconds else None,
        "models": frame.models,
        "publishing": [
            {"model": p.name, "bytes_done": p.bytes_done, "bytes_total": p.bytes_total}
            for p in frame.publishing
        ],
    }
