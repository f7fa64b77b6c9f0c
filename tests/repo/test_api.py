"""The wire of every release still holds: what an older client sends means what it meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tetris.v1 import admin_pb2, tetris_pb2

RELEASED = sorted((Path(__file__).parents[2] / "proto" / "released").glob("*.binpb"))


def meanings(files: list[FileDescriptorProto]) -> dict[str, object]:
    """Everything of an API that its other end relies on, by what identifies it on the wire."""
    found: dict[str, object] = {}
    for file in files:
        for message in file.message_type:
            for field in message.field:
                found[f"{message.name} field {field.number}"] = (
                    field.name,
                    field.type,
                    field.label,
                    field.type_name,
                    field.proto3_optional,
                    message.oneof_decl[field.oneof_index].name
                    if field.HasField("oneof_index")
                    else "",
                )
        for service in file.service:
            for method in service.method:
                found[f"/{file.package}.{service.name}/{method.name}"] = (
                    method.input_type,
                    method.output_type,
                    method.client_streaming,
                    method.server_streaming,
                )
    return found


def current() -> dict[str, object]:
    files = []
    for module in (tetris_pb2, admin_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return meanings(files)


def broken(released: dict[str, object], now: dict[str, object]) -> set[str]:
    return {what for what, meaning in released.items() if now.get(what) != meaning}


@pytest.mark.parametrize("release", RELEASED, ids=lambda path: path.stem)
def test_fields_and_methods_of_a_release_still_mean_the_same(release):
    released = meanings(list(FileDescriptorSet.FromString(release.read_bytes()).file))
    assert len(released) > 50
    assert broken(released, current()) == set()


def test_a_renumbered_field_and_a_lost_method_are_seen():
    released = current()
    now = dict(released)
    moved = now.pop("AttachRequest field 1")
    now["AttachRequest field 3"] = moved
    del now["/tetris.v1.Tetris/Release"]
    assert broken(released, now) == {"AttachRequest field 1", "/tetris.v1.Tetris/Release"}
