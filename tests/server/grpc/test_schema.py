"""The messages are those of the clients, field by field and byte by byte."""

from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2, service_pb2

from falaj.server.grpc.schema import files, message, pool, services

_NOT_SERVED = ("CudaSharedMemory",)
_THEIRS: dict[str, Any] = {}
for _package, _file in (
    ("inference", service_pb2),
    ("inference", model_config_pb2),
    ("grpc.health.v1", health_pb2),
    ("grpc.reflection.v1alpha", reflection_pb2),
    ("grpc.reflection.v1", reflection_pb2),
):
    for _name in _file.DESCRIPTOR.message_types_by_name:
        if not any(word in _name for word in _NOT_SERVED):
            _THEIRS[f"{_package}.{_name}"] = getattr(_file, _name)


def _nested(descriptor: Descriptor) -> list[Descriptor]:
    return [descriptor, *(inner for one in descriptor.nested_types for inner in _nested(one))]


def _fields(descriptor: Descriptor) -> dict[str, tuple[Any, ...]]:
    return {field.name: _told(field) for field in descriptor.fields}


def _told(field: FieldDescriptor) -> tuple[Any, ...]:
    kind = field.message_type or field.enum_type
    name = kind.full_name.replace("v1alpha", "v1") if kind is not None else None
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        name = "map"  # which is called after its field, in ways of its own
    return field.number, field.type, field.is_repeated, name, field.containing_oneof is not None


@pytest.mark.parametrize("name", sorted(_THEIRS))
def test_fields_equal_the_clients_when_compared(name: str) -> None:
    ours = {one.full_name: one for one in _nested(pool().FindMessageTypeByName(name))}
    theirs = {one.full_name: one for one in _nested(_THEIRS[name].DESCRIPTOR)}
    if name.startswith("grpc.reflection.v1."):
        theirs = {full.replace("v1alpha", "v1"): one for full, one in theirs.items()}
    assert {full for full in ours if not ours[full].GetOptions().map_entry} == {
        full for full in theirs if not theirs[full].GetOptions().map_entry
    }
    for full in ours.keys() & theirs.keys():
        assert _fields(ours[full]) == _fields(theirs[full]), full
        enums = {enum.name: dict(enum.values_by_name) for enum in ours[full].enum_types}
        for enum in theirs[full].enum_types:
            numbers = {value.name: value.number for value in enum.values}
            assert {label: value.number for label, value in enums[enum.name].items()} == numbers


def test_every_message_is_the_clients_when_it_is_described() -> None:
    ours = {f"{file.package}.{one.name}" for file in files().values() for one in file.message_type}
    listing = {
        "grpc.health.v1.HealthListRequest",
        "grpc.health.v1.HealthListResponse",
    }  # newer than the client
    assert ours == _THEIRS.keys() | listing


def test_methods_equal_the_clients_when_compared() -> None:
    assert services() == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    ]
    for name, theirs in (
        ("inference.GRPCInferenceService", service_pb2),
        ("grpc.health.v1.Health", health_pb2),
        ("grpc.reflection.v1alpha.ServerReflection", reflection_pb2),
    ):
        ours = {method.name: _streams(method) for method in pool().FindServiceByName(name).methods}
        wanted = {
            method.name: _streams(method)
            for method in theirs.DESCRIPTOR.services_by_name[name.rpartition(".")[2]].methods
            if not any(word in method.name for word in _NOT_SERVED)
        }
        assert {key: value for key, value in ours.items() if key != "List"} == wanted


def _streams(method: Any) -> tuple[bool, bool, str, str]:
    return (
        method.client_streaming, method.server_streaming,
        method.input_type.full_name, method.output_type.full_name,
    )  # fmt: skip


_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
    FieldDescriptor.TYPE_FLOAT: st.floats(allow_nan=False, width=32),
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: st.text(max_size=5),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=5),
}


def _fill(draw: Any, made: Any, depth: int) -> None:
    """Set some fields of a message, and of those within it."""
    for field in made.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            key = draw(_SCALARS[inner.fields_by_name["key"].type])
            value = inner.fields_by_name["value"]
            if value.message_type is None:
                getattr(made, field.name)[key] = draw(_SCALARS[value.type])
            elif depth:
                _fill(draw, getattr(made, field.name)[key], depth - 1)
        elif inner is not None and depth:
            part = getattr(made, field.name)
            if field.is_repeated:
                _fill(draw, part.add(), depth - 1)
            else:
                part.SetInParent()
                _fill(draw, part, depth - 1)
        elif inner is None:
            kinds = _SCALARS | {
                FieldDescriptor.TYPE_ENUM: st.sampled_from([v.number for v in field.enum_type.values])
                if field.enum_type
                else st.nothing()
            }
            if field.is_repeated:
                getattr(made, field.name).extend(draw(st.lists(kinds[field.type], max_size=3)))
            else:
                setattr(made, field.name, draw(kinds[field.type]))


@st.composite
def _messages(draw: st.DrawFn) -> tuple[str, Any]:
    name = draw(st.sampled_from(sorted(_THEIRS)))
    made = _THEIRS[name]()
    _fill(draw, made, 3)
    return name, made


@settings(max_examples=300, deadline=None)
@given(_messages())
def test_bytes_are_read_by_both_when_either_wrote_them(made: tuple[str, Any]) -> None:
    name, theirs = made
    ours = message(name)()
    ours.ParseFromString(theirs.SerializeToString())
    assert json_format.MessageToDict(ours) == json_format.MessageToDict(theirs)
    back = _THEIRS[name]()
    back.ParseFromString(ours.SerializeToString())
    assert back == theirs
