"""The reference of the RPCs as a page, made from what the comments of ``proto/`` say."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)
from grpc_tools import protoc

PROTO = Path(__file__).parents[1] / "proto"
FILES = ("tetris/v1/tetris.proto", "tetris/v1/admin.proto")

# Numbers of fields in descriptor.proto, of which the path to a comment consists.
_MESSAGE, _ENUM, _SERVICE, _SYNTAX = 4, 5, 6, 12
_FIELD, _NESTED_ENUM, _METHOD, _VALUE = 2, 4, 2, 2

Path_ = tuple[int, ...]


def page() -> str:
    """Every service, message and enumeration, in the order of the files."""
    files = [(file, _comments(file)) for file in _descriptors().file]
    services = [line for file, said in files for line in _services(file, said)]
    messages = [line for file, said in files for line in _messages(file, said)]
    return "\n".join([*services, "", "## Messages", *messages, ""])


def _descriptors() -> FileDescriptorSet:
    with tempfile.NamedTemporaryFile(suffix=".binpb") as out:
        options = [f"-I{PROTO}", "--include_source_info", f"--descriptor_set_out={out.name}"]
        if protoc.main(["protoc", *options, *FILES]):
            raise SystemExit(f"protoc does not read {', '.join(FILES)}")
        return FileDescriptorSet.FromString(Path(out.name).read_bytes())


def _comments(file: FileDescriptorProto) -> dict[Path_, str]:
    """What is said of each element: above it, or behind it on its line."""
    return {
        tuple(place.path): _text(place.leading_comments or place.trailing_comments)
        for place in file.source_code_info.location
        if place.leading_comments or place.trailing_comments
    }


def _text(comment: str) -> str:
    return "\n".join(line.strip() for line in comment.strip().splitlines())


def _services(file: FileDescriptorProto, said: dict[Path_, str]) -> Iterator[str]:
    for number, service in enumerate(file.service):
        yield f"\n## {file.package}.{service.name}\n"
        yield said[_SYNTAX,]
        for position, method in enumerate(service.method):
            yield f"\n### {method.name} {{ #{service.name}.{method.name} }}\n"
            yield _signature(method) + "\n"
            yield said.get((_SERVICE, number, _METHOD, position)) or _missing(method.name)


def _missing(method: str) -> NoReturn:
    raise SystemExit(f"proto/: say above rpc {method} what it does")


def _signature(method: MethodDescriptorProto) -> str:
    asked = ("stream of " if method.client_streaming else "") + _link(method.input_type)
    answered = ("stream of " if method.server_streaming else "") + _link(method.output_type)
    return f"{asked} → {answered}"


def _messages(file: FileDescriptorProto, said: dict[Path_, str]) -> Iterator[str]:
    for number, message in enumerate(file.message_type):
        path = (_MESSAGE, number)
        yield from _heading(message.name, said.get(path))
        yield from _fields(message, path, said)
        for position, enum in enumerate(message.enum_type):
            inner = (*path, _NESTED_ENUM, position)
            yield from _heading(f"{message.name}.{enum.name}", said.get(inner))
            yield from _values(enum, inner, said)


def _heading(name: str, comment: str | None) -> Iterator[str]:
    yield f"\n### {name} {{ #{name} }}\n"
    if comment:
        yield comment + "\n"


def _fields(message: DescriptorProto, path: Path_, said: dict[Path_, str]) -> Iterator[str]:
    if not message.field:
        yield "No fields."
        return
    rows = [
        (str(field.number), f"`{field.name}`", _type(field), said.get((*path, _FIELD, position)))
        for position, field in enumerate(message.field)
    ]
    yield from _table(("", "field", "type", "meaning"), rows)


def _values(enum: EnumDescriptorProto, path: Path_, said: dict[Path_, str]) -> Iterator[str]:
    rows = [
        (str(value.number), f"`{value.name}`", said.get((*path, _VALUE, position)))
        for position, value in enumerate(enum.value)
    ]
    yield from _table(("", "value", "meaning"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str | None]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|---" * len(heads) + "|"
    for row in rows:
        yield f"| {' | '.join((cell or '').replace('|', '&#124;') for cell in row)} |"


def _type(field: FieldDescriptorProto) -> str:
    name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    if field.type_name:
        name = _link(field.type_name)
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    if field.proto3_optional:
        return f"optional {name}"
    return f"{name}, one of these" if field.HasField("oneof_index") else name


def _link(full_name: str) -> str:
    name = full_name.removeprefix(".tetris.v1.")
    return f"[{name}](#{name})"


if __name__ == "__main__":
    sys.stdout.write(page())
