"""What client processes do in the crash tests. Each marks its own steps, and may die at them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from support.marks import operation, reached
from tetris.attachment import Attachment
from tetris.client import Client
from tetris.errors import ConflictError, UnavailableError
from tetris.formats.model import CheckpointFiles, locate
from tetris.settings import view_path
from tetris.shm import Mapping, digest
from tetris.upload import upload
from tetris.v1 import tetris_pb2 as pb
from tetris.wire import manifest_from_wire

# Seconds after which a publisher counts as stuck.
PATIENCE = 40.0


def publish(socket: str, path: str, how: str) -> int:
    """Publish by ``"path"`` or by ``"stream"``, again and again until it is done."""
    deadline = time.monotonic() + PATIENCE
    files = locate(path)
    while True:
        try:
            (_by_path if how == "path" else by_stream)(Client(socket), files)
            return 0
        except (UnavailableError, ConflictError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _by_path(client: Client, files: CheckpointFiles) -> None:
    client.rpc.call("PublishPath", pb.PublishPathRequest(path=os.path.abspath(files.prefix)))


def by_stream(client: Client, files: CheckpointFiles) -> pb.PublishResponse:
    """Publish by stream, as :meth:`tetris.client.Client.publish` does."""
    with operation("stream"):
        with client.rpc.stub() as stub:
            answer = stub.Publish(_marked(list(upload(files))), timeout=PATIENCE)
        reached("stream: answered")
        return answer


def _marked(messages: list[pb.PublishRequest]) -> Iterator[pb.PublishRequest]:
    # gRPC asks for a message when it is done with the one before.
    for index, message in enumerate(messages):
        yield message
        if index == 0:
            reached("stream: header sent")
        if index == len(messages) // 2:
            reached("stream: half sent")
    reached("stream: all sent")


def attach(socket: str, fingerprint: str) -> tuple[Attachment, list[Mapping]]:
    """Attach and map everything, as :class:`tetris.Model` does."""
    with operation("attach"):
        request = pb.AttachRequest(fingerprint=bytes.fromhex(fingerprint))
        rpc = Client(socket).rpc
        answer = rpc.call("Attach", request)
        reached("attach: answered")
        manifest = manifest_from_wire(answer.manifest)
        view = view_path(answer.view, rpc.socket, answer.lease)
        attachment = Attachment(view, answer.lease, manifest)
        reached("attach: locked")
        mappings = []
        for tensor in manifest.tensors:
            mappings.append(attachment.map(tensor))
            reached("attach: mapped")
        return attachment, mappings


def use(socket: str, fingerprint: str) -> int:
    """Attach, check every byte, release."""
    attachment, mappings = attach(socket, fingerprint)
    for tensor, mapping in zip(attachment.manifest.tensors, mappings, strict=True):
        assert digest(mapping.buffer()) == tensor.digest, tensor.name
    with operation("release"):
        del mapping
        mappings.clear()
        reached("release: unmapped")
        lease = attachment.lease
        del attachment
        reached("release: unlocked")
        Client(socket).release(lease)
        reached("release: answered")
    return 0


def stand_still(socket: str, path: str) -> int:
    """Publish half a model by stream and wait for ever."""
    messages = list(upload(locate(path)))

    def half() -> Iterator[pb.PublishRequest]:
        yield from messages[: len(messages) // 2]
        time.sleep(PATIENCE)

    with Client(socket).rpc.stub() as stub:
        stub.Publish(half())
    return 0
