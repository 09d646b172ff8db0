"""Protobuf types described by tables of names, numbers and types, and built at run time.

A table is shorter than generated code, needs no compiler, and works with every version of the library.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf import descriptor_pb2

File = descriptor_pb2.FileDescriptorProto
_Field = descriptor_pb2.FieldDescriptorProto
_Message = descriptor_pb2.DescriptorProto


@dataclass(frozen=True)
class Method:
    """A method of a service: the names of its messages, and which side may send many."""

    request: str
    response: str
    client_streams: bool = False
    server_streams: bool = False


@dataclass(frozen=True)
class Table:
    """One file."""

    name: str
    package: str
    syntax: str  # "proto2": every scalar has presence; "proto3"
    messages: Mapping[str, str]
    """Name to fields, each `name=number type`, with * behind a type that repeats, map<K,V>, and | before the
    fields of a message's one oneof. A dot in a name nests it. A type that is not of this file is looked for
    in the files that it depends on, in the same package."""
    enums: Mapping[str, str] = field(default_factory=dict)
    """Name to `VALUE=number`, separated by spaces."""
    services: Mapping[str, Mapping[str, Method]] = field(default_factory=dict)
    depends_on: tuple[str, ...] = ()


def file_of(table: Table) -> File:
    """Build the description of a file."""
    file = File(
        name=table.name, package=table.package, syntax=table.syntax, dependency=list(table.depends_on)
    )
    made: dict[str, _Message] = {}
    for name in table.messages:
        outer, _, last = name.rpartition(".")
        made[name] = (made[outer].nested_type if outer else file.message_type).add(name=last)
    for name, text in table.enums.items():
        outer, _, last = name.rpartition(".")
        enum = (made[outer].enum_type if outer else file.enum_type).add(name=last)
        for value in text.split():
            label, _, number = value.partition("=")
            enum.value.add(name=label, number=int(number))
    for name, text in table.messages.items():
        for described in fields_of(text):
            _add_field(table, made[name], name, *described)
    for name, methods in table.services.items():
        service = file.service.add(name=name)
        for method, told in methods.items():
            service.method.add(
                name=method,
                input_type=f".{table.package}.{told.request}",
                output_type=f".{table.package}.{told.response}",
                client_streaming=told.client_streams,
                server_streaming=told.server_streams,
            )
    return file


def fields_of(text: str) -> list[tuple[str, int, str, bool]]:
    """Return (name, number, type, whether it belongs to the oneof) of each field."""
    rows = []
    for part in filter(None, text.split(", ")):
        left, _, type_name = part.partition(" ")
        name, _, number = left.removeprefix("|").partition("=")
        rows.append((name, int(number), type_name, left.startswith("|")))
    return rows


def _add_field(
    table: Table, message: _Message, path: str, name: str, number: int, type_name: str, one_of: bool
) -> None:
    repeated = type_name.endswith("*")
    if type_name.startswith("map<"):
        key, _, value = type_name[4:-1].partition(",")
        entry = name.title().replace("_", "") + "Entry"
        pair = message.nested_type.add(name=entry)
        pair.options.map_entry = True
        _add_field(table, pair, "", "key", 1, key, False)
        _add_field(table, pair, "", "value", 2, value, False)
        type_name, repeated = f"{path}.{entry}", True
    added = message.field.add(name=name, number=number)
    added.label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    base = type_name.removesuffix("*")
    if base.islower():
        added.type = _Field.Type.Value(f"TYPE_{base.upper()}")
    else:
        added.type = _Field.TYPE_ENUM if base in table.enums else _Field.TYPE_MESSAGE
        added.type_name = f".{table.package}.{base}"
    if one_of:
        if not message.oneof_decl:
            message.oneof_decl.add(name="choice")
        added.oneof_index = 0
