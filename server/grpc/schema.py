"""The messages and services that are spoken by gRPC: `inference` as Triton has it, health and reflection."""

import functools

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from falaj.server.protobuf_table import File, Method, Table, file_of
from falaj.server.triton_schema import model_config_file

_NAMED = "name=1 string, version=2 string"
_DURATIONS = (
    "success=1 StatisticDuration, fail=2 StatisticDuration, queue=3 StatisticDuration, "
    "compute_input=4 StatisticDuration, compute_infer=5 StatisticDuration, "
    "compute_output=6 StatisticDuration, cache_hit=7 StatisticDuration, cache_miss=8 StatisticDuration"
)
_MESSAGES: dict[str, str] = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "live=1 bool",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "ready=1 bool",
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "ready=1 bool",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "name=1 string, version=2 string, extensions=3 string*",
    "ModelMetadataRequest": _NAMED,
    "ModelMetadataResponse": (
        "name=1 string, versions=2 string*, platform=3 string, "
        "inputs=4 ModelMetadataResponse.TensorMetadata*, outputs=5 ModelMetadataResponse.TensorMetadata*"
    ),
    "ModelMetadataResponse.TensorMetadata": "name=1 string, datatype=2 string, shape=3 int64*",
    "InferParameter": (
        "|bool_param=1 bool, |int64_param=2 int64, |string_param=3 string, |double_param=4 double, "
        "|uint64_param=5 uint64"
    ),
    "InferTensorContents": (
        "bool_contents=1 bool*, int_contents=2 int32*, int64_contents=3 int64*, uint_contents=4 uint32*, "
        "uint64_contents=5 uint64*, fp32_contents=6 float*, fp64_contents=7 double*, bytes_contents=8 bytes*"
    ),
    "ModelInferRequest": (
        "model_name=1 string, model_version=2 string, id=3 string, parameters=4 map<string,InferParameter>, "
        "inputs=5 ModelInferRequest.InferInputTensor*, "
        "outputs=6 ModelInferRequest.InferRequestedOutputTensor*, raw_input_contents=7 bytes*"
    ),
    "ModelInferRequest.InferInputTensor": (
        "name=1 string, datatype=2 string, shape=3 int64*, parameters=4 map<string,InferParameter>, "
        "contents=5 InferTensorContents"
    ),
    "ModelInferRequest.InferRequestedOutputTensor": (
        "name=1 string, parameters=2 map<string,InferParameter>"
    ),
    "ModelInferResponse": (
        "model_name=1 string, model_version=2 string, id=3 string, parameters=4 map<string,InferParameter>, "
        "outputs=5 ModelInferResponse.InferOutputTensor*, raw_output_contents=6 bytes*"
    ),
    "ModelInferResponse.InferOutputTensor": (
        "name=1 string, datatype=2 string, shape=3 int64*, parameters=4 map<string,InferParameter>, "
        "contents=5 InferTensorContents"
    ),
    "ModelStreamInferResponse": "error_message=1 string, infer_response=2 ModelInferResponse",
    "ModelConfigRequest": _NAMED,
    "ModelConfigResponse": "config=1 ModelConfig",
    "ModelStatisticsRequest": _NAMED,
    "StatisticDuration": "count=1 uint64, ns=2 uint64",
    "InferStatistics": _DURATIONS,
    "InferResponseStatistics": (
        "compute_infer=1 StatisticDuration, compute_output=2 StatisticDuration, "
        "success=3 StatisticDuration, fail=4 StatisticDuration, empty_response=5 StatisticDuration, "
        "cancel=6 StatisticDuration"
    ),
    "InferBatchStatistics": (
        "batch_size=1 uint64, compute_input=2 StatisticDuration, compute_infer=3 StatisticDuration, "
        "compute_output=4 StatisticDuration"
    ),
    "MemoryUsage": "type=1 string, id=2 int64, byte_size=3 uint64",
    "ModelStatistics": (
        "name=1 string, version=2 string, last_inference=3 uint64, inference_count=4 uint64, "
        "execution_count=5 uint64, inference_stats=6 InferStatistics, batch_stats=7 InferBatchStatistics*, "
        "memory_usage=8 MemoryUsage*, response_stats=9 map<string,InferResponseStatistics>"
    ),
    "ModelStatisticsResponse": "model_stats=1 ModelStatistics*",
    "ModelRepositoryParameter": (
        "|bool_param=1 bool, |int64_param=2 int64, |string_param=3 string, |bytes_param=4 bytes"
    ),
    "RepositoryIndexRequest": "repository_name=1 string, ready=2 bool",
    "RepositoryIndexResponse": "models=1 RepositoryIndexResponse.ModelIndex*",
    "RepositoryIndexResponse.ModelIndex": "name=1 string, version=2 string, state=3 string, reason=4 string",
    "RepositoryModelLoadRequest": (
        "repository_name=1 string, model_name=2 string, parameters=3 map<string,ModelRepositoryParameter>"
    ),
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": (
        "repository_name=1 string, model_name=2 string, parameters=3 map<string,ModelRepositoryParameter>"
    ),
    "RepositoryModelUnloadResponse": "",
    "TraceSettingRequest": "settings=1 map<string,TraceSettingRequest.SettingValue>, model_name=2 string",
    "TraceSettingRequest.SettingValue": "value=1 string*",
    "TraceSettingResponse": "settings=1 map<string,TraceSettingResponse.SettingValue>",
    "TraceSettingResponse.SettingValue": "value=1 string*",
    "SystemSharedMemoryStatusRequest": "name=1 string",
    "SystemSharedMemoryStatusResponse": "regions=1 map<string,SystemSharedMemoryStatusResponse.RegionStatus>",
    "SystemSharedMemoryStatusResponse.RegionStatus": (
        "name=1 string, key=2 string, offset=3 uint64, byte_size=4 uint64"
    ),
    "SystemSharedMemoryRegisterRequest": "name=1 string, key=2 string, offset=3 uint64, byte_size=4 uint64",
    "SystemSharedMemoryRegisterResponse": "",
    "SystemSharedMemoryUnregisterRequest": "name=1 string",
    "SystemSharedMemoryUnregisterResponse": "",
    "LogSettingsRequest": "settings=1 map<string,LogSettingsRequest.SettingValue>",
    "LogSettingsRequest.SettingValue": "|bool_param=1 bool, |uint32_param=2 uint32, |string_param=3 string",
    "LogSettingsResponse": "settings=1 map<string,LogSettingsResponse.SettingValue>",
    "LogSettingsResponse.SettingValue": "|bool_param=1 bool, |uint32_param=2 uint32, |string_param=3 string",
}
_UNARY = (
    "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer", "ModelConfig",
    "ModelStatistics", "RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload", "LogSettings",
    "TraceSetting",
    "SystemSharedMemoryStatus", "SystemSharedMemoryRegister", "SystemSharedMemoryUnregister",
)  # fmt: skip
_INFERENCE = Table(
    "falaj_inference.proto",
    "inference",
    "proto3",
    _MESSAGES,
    services={
        "GRPCInferenceService": {
            **{name: Method(f"{name}Request", f"{name}Response") for name in _UNARY},
            "ModelStreamInfer": Method("ModelInferRequest", "ModelStreamInferResponse", True, True),
        }
    },
    depends_on=("falaj_triton_model_config.proto",),
)
_HEALTH = Table(
    "falaj_health.proto",
    "grpc.health.v1",
    "proto3",
    {
        "HealthCheckRequest": "service=1 string",
        "HealthCheckResponse": "status=1 HealthCheckResponse.ServingStatus",
        "HealthListRequest": "",
        "HealthListResponse": "statuses=1 map<string,HealthCheckResponse>",
    },
    {"HealthCheckResponse.ServingStatus": "UNKNOWN=0 SERVING=1 NOT_SERVING=2 SERVICE_UNKNOWN=3"},
    {
        "Health": {
            "Check": Method("HealthCheckRequest", "HealthCheckResponse"),
            "List": Method("HealthListRequest", "HealthListResponse"),
            "Watch": Method("HealthCheckRequest", "HealthCheckResponse", server_streams=True),
        }
    },
)
_REFLECTION_MESSAGES = {
    "ServerReflectionRequest": (
        "host=1 string, |file_by_filename=3 string, |file_containing_symbol=4 string, "
        "|file_containing_extension=5 ExtensionRequest, |all_extension_numbers_of_type=6 string, "
        "|list_services=7 string"
    ),
    "ExtensionRequest": "containing_type=1 string, extension_number=2 int32",
    "ServerReflectionResponse": (
        "valid_host=1 string, original_request=2 ServerReflectionRequest, "
        "|file_descriptor_response=4 FileDescriptorResponse, "
        "|all_extension_numbers_response=5 ExtensionNumberResponse, "
        "|list_services_response=6 ListServiceResponse, |error_response=7 ErrorResponse"
    ),
    "FileDescriptorResponse": "file_descriptor_proto=1 bytes*",
    "ExtensionNumberResponse": "base_type_name=1 string, extension_number=2 int32*",
    "ListServiceResponse": "service=1 ServiceResponse*",
    "ServiceResponse": "name=1 string",
    "ErrorResponse": "error_code=1 int32, error_message=2 string",
}


def _reflection(version: str) -> Table:
    method = Method("ServerReflectionRequest", "ServerReflectionResponse", True, True)
    return Table(
        f"falaj_reflection_{version}.proto",
        f"grpc.reflection.{version}",
        "proto3",
        _REFLECTION_MESSAGES,
        services={"ServerReflection": {"ServerReflectionInfo": method}},
    )


@functools.cache
def files() -> dict[str, File]:
    """Return the description of every file by name, each after those that it depends on."""
    described = [model_config_file()]
    tables = (_INFERENCE, _HEALTH, _reflection("v1"), _reflection("v1alpha"))
    described += [file_of(table) for table in tables]
    return {file.name: file for file in described}


@functools.cache
def pool() -> DescriptorPool:
    """Return a descriptor pool of its own: a client library in the same process may have the same names."""
    made = descriptor_pool.DescriptorPool()
    for file in files().values():
        made.Add(file)
    return made


@functools.cache
def message(name: str) -> type[Message]:
    """Return the class of a message by its full name, "inference.ServerLiveRequest"."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(name))


def services() -> list[str]:
    """Return the full names of the services."""
    return sorted(f"{file.package}.{service.name}" for file in files().values() for service in file.service)
