"""Events as they come: one line each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from tetris.cli.tables import Moment, duration, size
from tetris.cli.terminal import RED, YELLOW, Mark, Screen, cut, fit, screen_of
from tetris.rpc import AdminRpc, Rpc
from tetris.text import printable
from tetris.v1 import tetris_pb2 as pb

_WORDS = {
    pb.Event.DAEMON_READY: "ready",
    pb.Event.DAEMON_STOPPING: "stopping",
    pb.Event.SETTINGS_RELOADED: "reloaded",
    pb.Event.MODEL_PUBLISHED: "published",
    pb.Event.PUBLISH_REFUSED: Mark("refused", YELLOW),
    pb.Event.MODEL_ATTACHED: "attached",
    pb.Event.ATTACH_REFUSED: Mark("refused", YELLOW),
    pb.Event.LEASE_ENDED: "ended",
    pb.Event.MODEL_EVICTED: "evicted",
    pb.Event.MODEL_CHANGED: "changed",
    pb.Event.MODEL_DAMAGED: Mark("damaged", RED),
    pb.Event.QUOTA_CHANGED: "quota",
    pb.Event.GARBAGE_COLLECTED: "collected",
    pb.Event.SCRUB_ENDED: "scrubbed",
    pb.Event.FALLBACK_REPORTED: Mark("fallback", YELLOW),
    pb.Event.EVENTS_LOST: Mark("lost", RED),
}
_TENANT, _KIND, _MODEL = 8, 9, 20


def watch(arguments: argparse.Namespace) -> None:
    """Print what happens from now on, until the daemon ends or somebody has seen enough."""
    say = _printer(arguments)
    with daemon_of(arguments).stub() as stub:
        for event in begin(stub, all_tenants=arguments.all_tenants):
            say(event)


def daemon_of(arguments: argparse.Namespace) -> Rpc:
    """The daemon, on the socket that tells what the command wants to know."""
    if arguments.all_tenants:
        return AdminRpc(arguments.admin_socket)
    return Rpc(arguments.socket)


def begin(stub: Any, *, all_tenants: bool) -> Any:
    """The call that answers events."""
    return (stub.WatchHost if all_tenants else stub.Watch)(pb.WatchRequest())


def row(event: pb.Event) -> dict[str, Any]:
    """An event for programs."""
    return {
        "kind": pb.Event.Kind.Name(event.kind).lower() if event.kind in _WORDS else event.kind,
        "at_unix_ns": event.at_unix_ns,
        "tenant": event.tenant,
        "model": event.model,
        "fingerprint": event.fingerprint.hex(),
        "bytes": event.nbytes,
        "seconds": event.seconds,
        "reason": event.reason,
        "lease": event.lease,
        "pid": event.pid,
    }


def line(event: pb.Event, screen: Screen, *, tenant: bool) -> str:
    """An event for people."""
    word = _WORDS.get(event.kind, f"event {event.kind}")
    whose = fit(printable(event.tenant), _TENANT, screen.ellipsis) + "  " if tenant else ""
    about = fit(printable(event.model), _MODEL, screen.ellipsis)
    when = Moment(event.at_unix_ns)
    head = f"{when if screen.wide else when.short()}  {whose}"
    rest = f"  {about}  {printable(_details(event))}".rstrip()
    kind = fit(word, _KIND, screen.ellipsis)
    room = screen.width - len(head) - len(kind)
    return head + screen.paint(kind, word) + cut(rest, room, screen.ellipsis)


def _details(event: pb.Event) -> str:
    if event.kind == pb.Event.EVENTS_LOST:
        return f"{event.nbytes} events that came too fast"
    if event.kind == pb.Event.LEASE_ENDED:
        return f"{event.reason or 'ended'} after {duration(event.seconds)}, pid {event.pid}"
    # Of an attach the bytes are the model's: nothing was written or freed.
    nbytes = 0 if event.kind == pb.Event.MODEL_ATTACHED else event.nbytes
    parts = (
        size(nbytes) if nbytes else "",
        _took(event.seconds) if event.seconds else "",
        f"pid {event.pid}" if event.pid else "",
        event.reason,
    )
    return ", ".join(part for part in parts if part)


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def _printer(arguments: argparse.Namespace) -> Callable[[pb.Event], None]:
    screen = screen_of(sys.stdout, wide=arguments.output == "wide")

    def say(event: pb.Event) -> None:
        if arguments.output == "json":
            text = json.dumps(row(event))
        else:
            text = line(event, screen, tenant=arguments.all_tenants)
        print(text, flush=True)  # noqa: T201

    return say
