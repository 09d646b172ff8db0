"""gRPC server reflection: what tools such as grpcurl ask to learn the messages."""

import functools
from collections.abc import Iterator
from typing import Any

from falaj.server.grpc.schema import files, message, services
from falaj.server.protobuf_table import File

_NOT_FOUND, _UNIMPLEMENTED = 5, 12


def reflect(package: str, asked: Any) -> bytes:
    """Answer one request of ServerReflectionInfo; `package` is that of the service's version."""
    answer: Any = message(f"{package}.ServerReflectionResponse")()
    answer.valid_host = asked.host
    answer.original_request.CopyFrom(asked)
    which = asked.WhichOneof("choice")
    if which == "list_services":
        for name in services():
            answer.list_services_response.service.add(name=name)
    elif which == "file_by_filename":
        _tell_file(answer, files().get(asked.file_by_filename), asked.file_by_filename)
    elif which == "file_containing_symbol":
        _tell_file(answer, _by_symbol().get(asked.file_containing_symbol), asked.file_containing_symbol)
    else:
        answer.error_response.error_code = _UNIMPLEMENTED
        answer.error_response.error_message = f"{which or 'an empty request'}: there are no extensions"
    return bytes(answer.SerializeToString())


def _tell_file(answer: Any, file: File | None, name: str) -> None:
    if file is None:
        answer.error_response.error_code = _NOT_FOUND
        answer.error_response.error_message = f"'{name}' is not known"
        return
    for described in [file, *(files()[needed] for needed in file.dependency)]:
        answer.file_descriptor_response.file_descriptor_proto.append(described.SerializeToString())


@functools.cache
def _by_symbol() -> dict[str, File]:
    """Each message, enum, service and method by its full name. A descriptor pool does not find methods."""
    return {symbol: file for file in files().values() for symbol in _symbols(file)}


def _symbols(file: File) -> Iterator[str]:
    for one in (*file.message_type, *file.enum_type):
        yield from _nested(file.package, one)
    for service in file.service:
        yield f"{file.package}.{service.name}"
        for method in service.method:
            yield f"{file.package}.{service.name}.{method.name}"


def _nested(outer: str, one: Any) -> Iterator[str]:
    yield f"{outer}.{one.name}"
    for inner in (*getattr(one, "nested_type", ()), *getattr(one, "enum_type", ())):
        yield from _nested(f"{outer}.{one.name}", inner)
