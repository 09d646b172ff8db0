"""Tools that know nothing of us learn our services by reflection, and can then call them."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

pytestmark = pytest.mark.core

Request = reflection_pb2.ServerReflectionRequest


@pytest.fixture
def stub(channel: grpc.Channel) -> ServerReflectionStub:
    return ServerReflectionStub(channel)


def test_services_are_listed_when_asked(channel: grpc.Channel) -> None:
    assert set(ProtoReflectionDescriptorDatabase(channel).get_services()) == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService",
    }


def test_tool_calls_a_method_when_it_knows_only_what_it_was_told(channel: grpc.Channel) -> None:
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    method = service.methods_by_name["ModelConfig"]
    asked = message_factory.GetMessageClass(method.input_type)(name="mlp")
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelConfig")
    answer = message_factory.GetMessageClass(method.output_type).FromString(call(asked.SerializeToString()))
    assert answer.config.name == "mlp"  # type: ignore[attr-defined]
    assert {method.name for method in service.methods} >= {"ModelInfer", "ModelStreamInfer", "ServerLive"}


def test_every_request_of_a_stream_is_answered_in_turn_when_there_are_many(
    stub: ServerReflectionStub,
) -> None:
    known = ("inference.ModelInferRequest.InferInputTensor", "inference.GRPCInferenceService.ModelInfer")
    symbols = [known[0], "nope", known[1], "inference"]

    def requests() -> Iterator[Request]:
        for symbol in symbols:
            yield Request(host="h", file_containing_symbol=symbol)

    answers = list(stub.ServerReflectionInfo(requests()))
    assert [answer.original_request.file_containing_symbol for answer in answers] == symbols
    assert {answer.valid_host for answer in answers} == {"h"}
    kinds = [answer.WhichOneof("message_response") for answer in answers]
    assert kinds == ["file_descriptor_response", "error_response"] * 2
    assert answers[1].error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_file_comes_with_those_it_needs_when_asked_by_name(stub: ServerReflectionStub) -> None:
    [by_symbol] = stub.ServerReflectionInfo(
        iter([Request(file_containing_symbol="inference.ServerLiveRequest")])
    )
    parts = by_symbol.file_descriptor_response.file_descriptor_proto
    pool = descriptor_pool.DescriptorPool()
    names = [pool.AddSerializedFile(part).name for part in reversed(parts)]
    assert len(names) == 2
    [by_name] = stub.ServerReflectionInfo(iter([Request(file_by_filename=names[-1])]))
    assert by_name.file_descriptor_response == by_symbol.file_descriptor_response


@pytest.mark.parametrize(
    "request_",
    [
        Request(all_extension_numbers_of_type="inference.ModelConfig"),
        Request(file_containing_extension={"containing_type": "x", "extension_number": 1}),
        Request(),
    ],
)
def test_request_is_unimplemented_when_it_is_about_extensions(
    stub: ServerReflectionStub, request_: Request
) -> None:
    [answer] = stub.ServerReflectionInfo(iter([request_]))
    assert answer.error_response.error_code == grpc.StatusCode.UNIMPLEMENTED.value[0]
