"""What a hostile client may send, or not send, over the socket: the others are served meanwhile."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import grpc
import pytest

from support import raw
from support.daemon import Daemon, wait_until
from tetris import errors
from tetris.rpc import Rpc
from tetris.v1 import tetris_pb2 as pb

MIB = 1 << 20
HALF_A_FRAME = raw.frame(raw.HEADERS, raw.END_HEADERS, 1, bytes(4096))[:20]
SOON = 3.0  # seconds that an answer may take before the one who asks counts as starved


def answers(daemon) -> bool:
    """Whether somebody else is answered."""
    try:
        Rpc(daemon.socket).call("GetStats", pb.GetStatsRequest(), timeout=SOON)
    except errors.UnavailableError:
        return False
    return True


def send(target, method: str, *messages: bytes):
    """A call with messages of our own making."""
    channel = grpc.insecure_channel(f"unix:{target.daemon.socket}")
    with channel:
        call = channel.stream_unary(f"/tetris.v1.Tetris/{method}")
        return call(iter(messages), timeout=30)


@pytest.mark.parametrize(
    "first",
    [b"", raw.PREFACE, raw.PREFACE + raw.SETTINGS, raw.PREFACE + raw.SETTINGS + HALF_A_FRAME],
    ids=["nothing", "a preface", "a greeting", "half a frame"],
)
def test_two_hundred_idle_connections_cost_others_nothing(target, first):
    """However far they get before they fall silent."""
    with target.unharmed(), raw.connections(target.daemon.socket, 200, first):
        for _ in range(3):
            target.works_for_others()


@pytest.mark.parametrize(
    "first",
    [
        b"\0" * 4096,
        b"\xff" * 4096,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
        raw.PREFACE + b"\xff" * 4096,
        raw.PREFACE + raw.SETTINGS + raw.frame(raw.DATA, 0, 1, bytes(4096)),
        raw.PREFACE + raw.SETTINGS + raw.frame(raw.HEADERS, raw.END_HEADERS, 1, b"\xff" * 4096),
        raw.PREFACE + raw.SETTINGS + raw.frame(raw.HEADERS, 0, 1, raw.headers("/x")) * 50,
    ],
    ids=["zeros", "ones", "HTTP/1", "no frames", "data first", "bad headers", "endless headers"],
)
def test_garbage_costs_others_nothing(target, first):
    with target.unharmed():
        for _ in range(5):
            try:
                with raw.connections(target.daemon.socket, 4, first):
                    target.works_for_others()
            except (BrokenPipeError, ConnectionResetError):
                pass  # it was hung up on while it was still talking
        target.works_for_others()


def test_a_client_that_sends_a_byte_at_a_time_costs_others_nothing(target):
    """Others are served between any two of its bytes."""
    body = raw.PREFACE + raw.SETTINGS + raw.open_call(1, "/tetris.v1.Tetris/GetStats")
    with target.unharmed(), raw.connections(target.daemon.socket, 20) as clients:
        for position in range(len(body)):
            for client in clients:
                client.sendall(body[position : position + 1])
            if position % 32 == 0:
                target.works_for_others()


SILENT = [
    "tetris.v1.Tetris/Attach",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    "grpc.health.v1.Health/Watch",
]


@pytest.mark.parametrize("method", SILENT)
def test_calls_whose_request_never_comes_cost_others_nothing(target, method):
    """A hundred of them, over few connections."""
    calls = b"".join(raw.open_call(2 * i + 1, f"/{method}") for i in range(25))
    first = raw.PREFACE + raw.SETTINGS + calls
    with raw.connections(target.daemon.socket, 4, first):
        time.sleep(0.5)  # for all of them to be taken up
        assert answers(target.daemon)


def test_answers_that_nobody_takes_cost_others_nothing(target):
    """Flow control lets a client take as long as it likes over what is streamed to it."""
    calls = b"".join(raw.whole_call(2 * i + 1, "/tetris.v1.Tetris/ListSegments") for i in range(25))
    with raw.connections(target.daemon.socket, 4, raw.no_window() + calls):
        time.sleep(0.5)  # for all of them to be taken up
        assert answers(target.daemon)


def test_silent_calls_end_with_their_connection(target):
    """What they held is free again for others."""
    calls = b"".join(raw.open_call(2 * i + 1, f"/{SILENT[0]}") for i in range(25))
    with target.unharmed():
        with raw.connections(target.daemon.socket, 4, raw.PREFACE + raw.SETTINGS + calls):
            pass
        wait_until(lambda: answers(target.daemon), what="an answer")


def test_more_connections_than_the_usual_limit_of_files_cost_others_nothing(tmp_path, memory):
    """1,024 is what a shell gives; the daemon may have far more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        daemon = Daemon(tmp_path, root=memory / "root").start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        with raw.connections(daemon.socket, 200, raw.PREFACE + raw.SETTINGS):
            assert answers(daemon)
    finally:
        daemon.stop()


# Messages.


def test_a_message_beyond_the_limit_is_refused(target):
    """Before it is kept: the limit is the transport's."""
    with target.unharmed():
        with pytest.raises(grpc.RpcError) as refused:
            send(target, "Publish", bytes(33 * MIB))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_one_tensor_too_many_is_refused(target):
    claims = [pb.TensorClaim(name=str(i), dtype="uint8", shape=[0]) for i in range(50_001)]
    message = pb.PublishRequest(
        header=pb.PublishHeader(fingerprint=b"t" * 32, name="m", tensors=claims)
    )
    with target.unharmed(), pytest.raises(errors.InvalidModelError, match="at most 50000"):
        target.publish([message])


BAD_TEXT = b"\xc3\x28"  # no UTF-8, which protobuf demands of a string


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("Publish", b"\x0a\x04\x12\x02" + BAD_TEXT),  # header.name
        ("Publish", b"\x0a\x06\x1a\x04\x0a\x02" + BAD_TEXT),  # header.tensors[0].name
        ("Release", b"\x0a\x02" + BAD_TEXT),
        ("GetModel", b"\x0a\x02" + BAD_TEXT),
        ("PublishPath", b"\x0a\x02" + BAD_TEXT),
        ("Attach", b"\x12\x04\x12\x02" + BAD_TEXT),  # holder.command
        ("Attach", b"\x0a\xff\xff\xff\xff\x0f"),  # longer than the message
        ("Publish", b"\x0b" * 1000),  # groups in groups
        ("GetStats", b"\xff" * 1000),
    ],
)
def test_a_message_that_is_no_protobuf_is_refused(target, method, message):
    """Bad UTF-8 in any name, lengths beyond the end, endless nesting."""
    with target.unharmed():
        with pytest.raises(grpc.RpcError) as refused:
            send(target, method, message)
        assert refused.value.code() in (
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.INVALID_ARGUMENT,
        )


def memory_of(daemon) -> int:
    """The most that the daemon has had in memory so far."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def publish(daemon, message: pb.PublishRequest) -> None:
    with Rpc(daemon.socket).stub() as stub:
        stub.Publish(iter([message]))


def a_model_of(tensor: pb.TensorClaim) -> pb.PublishRequest:
    fingerprint = os.urandom(32)
    return pb.PublishRequest(
        header=pb.PublishHeader(fingerprint=fingerprint, name="m", tensors=[tensor])
    )


def test_a_tensor_of_a_million_empty_strings_is_refused(daemon):
    """On the wire an empty string is two bytes; in the daemon, and for ever, far more."""
    strings = pb.TensorClaim(name="t", dtype="string", shape=[1_100_000], strings=[b""] * 1_100_000)
    with pytest.raises(errors.InvalidModelError, match="strings"):
        publish(daemon, a_model_of(strings))


def test_a_shape_of_millions_of_dimensions_costs_little(daemon):
    """It is refused before it is converted: a message of 8 MB must not cost the daemon 180."""
    before = memory_of(daemon)
    flat = pb.TensorClaim(name="t", dtype="uint8", shape=[1] * (8 * MIB), nbytes=1)
    with pytest.raises(errors.InvalidModelError):
        publish(daemon, a_model_of(flat))
    assert memory_of(daemon) < before + 180 * MIB
