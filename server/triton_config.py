"""Triton's `config.pbtxt` as a ModelConfig. docs/model-config.md tells what becomes of each field."""

import json
import re
from pathlib import Path
from typing import Any, Literal

from google.protobuf import json_format, text_format

from falaj.server.errors import ConfigError
from falaj.server.model_config import (
    CacheConfig,
    DataType,
    InputConfig,
    ModelConfig,
    OutputConfig,
    QueuePolicy,
    VersionPolicy,
    Warmup,
    WarmupInput,
    apply_overrides,
)
from falaj.server.strict_toml import did_you_mean
from falaj.server.triton_coverage import check_coverage
from falaj.server.triton_ensemble import is_ensemble, read_ensemble
from falaj.server.triton_onnxruntime import (
    read_graph_optimization,
    read_instances,
    read_parameters,
    read_providers,
)
from falaj.server.triton_schema import enum_values, field_names, model_config_class
from falaj.server.triton_sequences import read_sequences

Backend = Literal["onnxruntime", "python"]

_DATA_TYPES: dict[str, DataType] = {
    "TYPE_BOOL": "BOOL",
    "TYPE_UINT8": "UINT8",
    "TYPE_UINT16": "UINT16",
    "TYPE_UINT32": "UINT32",
    "TYPE_UINT64": "UINT64",
    "TYPE_INT8": "INT8",
    "TYPE_INT16": "INT16",
    "TYPE_INT32": "INT32",
    "TYPE_INT64": "INT64",
    "TYPE_FP16": "FP16",
    "TYPE_FP32": "FP32",
    "TYPE_FP64": "FP64",
    "TYPE_STRING": "BYTES",
    "TYPE_BF16": "BF16",
}
_BACKENDS: dict[str, Backend] = {"onnxruntime": "onnxruntime", "python": "python"}
_PLATFORMS: dict[str, Backend] = {"onnxruntime_onnx": "onnxruntime"}
_DELAY = 1
_PYTHON_CLASS = (
    "backend python: Falaj calls the class Model of model.py by its own interface; a TritonPythonModel has "
    "to be adapted"
)
# A parameter with this prefix sets the key of model.toml that follows it.
_OWN_PREFIX = "falaj."
# Keys that ModelConfig's own checks blame, as config.pbtxt spells them.
_KEYS = (
    (r"priority_levels", "dynamic_batching.priority_levels"),
    (r"priority_policy\.(\d+)", r"dynamic_batching.priority_queue_policy[\1]"),
    (r"warmup\[(\d+)\]\.rows", r"model_warmup[\1].batch_size"),
    (r"instances", "instance_group.count"),
    (r"model_filename", "default_model_filename"),
    (r"list", "version_policy.specific.versions"),
    (r"list(\[\d+\])", r"version_policy.specific.versions\1"),
    (r"n", "version_policy.latest.num_versions"),
)
# The parser repeats what it could not read, however long.
_REASON_MAX = 300
_QUOTED_MAX = 60


def load_config_pbtxt(path: Path, model_name: str | None = None) -> tuple[ModelConfig, list[str]]:
    """Read a `config.pbtxt`.

    Args:
        path: The file.
        model_name: Name of the model's folder, which a `name` in the file has to equal. None: not compared.

    Returns:
        The configuration, and a sentence for each field that is set and does nothing here.

    Raises:
        ConfigError: cannot be read, a misspelt field or value or a wrong type (with line and column), a value
            out of its range, or a field that would change the answers and is not supported.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", source=str(path)) from error
    return parse_config_pbtxt(text, source=str(path), model_name=model_name)


def parse_config_pbtxt(
    text: str, *, source: str, model_name: str | None = None
) -> tuple[ModelConfig, list[str]]:
    """Parse the text of a `config.pbtxt`, as load_config_pbtxt does; errors and warnings name `source`."""
    return _read(_parse(text, source), source, model_name)


def parse_config_json(text: str, *, source: str, model_name: str) -> tuple[ModelConfig, list[str]]:
    """Parse a ModelConfig as protobuf writes it in JSON, held to what parse_config_pbtxt holds it to."""
    proto = model_config_class()()
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"expected a ModelConfig in JSON: {error}", source=source) from error
    if not isinstance(table, dict):
        raise ConfigError(f"expected a JSON object, got {text[:_QUOTED_MAX]!r}", source=source)
    try:
        json_format.ParseDict(table, proto)
    except json_format.ParseError as error:
        raise ConfigError(_explain_json(str(error)), source=source) from error
    return _read(proto, source, model_name)


def _read(proto: Any, source: str, model_name: str | None) -> tuple[ModelConfig, list[str]]:
    try:
        warnings = check_coverage(proto)
        if model_name is not None and proto.name and proto.name != model_name:
            raise ConfigError(f"expected the model's name '{model_name}', got {proto.name!r}", key="name")
        config = _convert(proto, warnings)
    except ConfigError as error:
        raise error.from_source(source) from error
    return config, [f"{source}: {warning}" for warning in warnings]


def _parse(text: str, source: str) -> Any:
    proto = model_config_class()()
    try:
        text_format.Parse(text, proto)
    except text_format.ParseError as error:
        line, column = error.GetLine(), error.GetColumn()
        where = f"{source}:{line}:{column}" if line else source
        raise ConfigError(_explain(str(error), text, line), source=where) from error
    except (ValueError, RecursionError) as error:  # a number of too many digits; too deep
        raise ConfigError(f"not a usable protobuf text: {error}", source=source) from error
    return proto


def _explain(problem: str, text: str, line: int | None) -> str:
    """Return the parser's sentence without position and line, with the name nearest to an unknown one."""
    field = re.search(r'Message type "inference\.([\w.]+)" has no field named "([^"]{,60})', problem)
    if field:
        return f"unknown field '{field[2]}' of {field[1]}{did_you_mean(field[2], field_names(field[1]))}"
    enum = re.search(r'Enum type "inference\.([\w.]+)" has no value (?:named|with number) (\w{,60})', problem)
    if enum:
        return f"unknown {enum[1]} {enum[2]}{did_you_mean(enum[2], enum_values(enum[1]))}"
    lines = text.split("\n")
    quoted = f"'{lines[line - 1]}': " if line and line <= len(lines) else ""
    reason = re.sub(r"^\d+:\d+ : ", "", problem).removeprefix(quoted).replace("inference.", "")
    return reason if len(reason) <= _REASON_MAX else f"{reason[:_REASON_MAX]}..."


def _explain_json(problem: str) -> str:
    """Return the parser's sentence with the name nearest to an unknown one."""
    field = re.search(r'Message type "(?:inference\.)?([\w.]+)" has no field named "([^"]{,60})"', problem)
    if field:
        return f"unknown field '{field[2]}' of {field[1]}{did_you_mean(field[2], field_names(field[1]))}"
    reason = problem.replace("inference.", "").rstrip(".")
    return reason if len(reason) <= _REASON_MAX else f"{reason[:_REASON_MAX]}..."


def _convert(proto: Any, warnings: list[str]) -> ModelConfig:
    if is_ensemble(proto):
        return _convert_ensemble(proto, warnings)
    backend = _backend(proto)
    max_batch_size = proto.max_batch_size if proto.HasField("max_batch_size") else None
    if max_batch_size and not proto.HasField("dynamic_batching"):
        warnings.append(
            "dynamic_batching is absent: Falaj batches requests together all the same, which delays none"
        )
    own, others = _parameters(proto)
    batched = bool(max_batch_size)
    inputs = tuple(_input(item, index, batched) for index, item in enumerate(proto.input))
    outputs = tuple(_output(item, index, batched) for index, item in enumerate(proto.output))
    warmups = tuple(_warmup(item, index, proto, inputs) for index, item in enumerate(proto.model_warmup))
    try:
        config = ModelConfig(
            backend=backend,
            model_filename=proto.default_model_filename or None,
            max_batch_size=max_batch_size,
            instances=read_instances(proto, warnings),
            input=inputs,
            output=outputs,
            versions=_versions(proto.version_policy),
            warmup=warmups,
            sequence=read_sequences(proto),
            decoupled=proto.model_transaction_policy.decoupled,
            cache=CacheConfig() if proto.response_cache.enable else None,
            **_queue(proto.dynamic_batching, warnings),
            **_backend_settings(proto, backend, others, warnings),
        )
        return apply_overrides(config, own)
    except ConfigError as error:
        key = f"parameters['{_OWN_PREFIX}{error.key}']" if error.key in own else _triton_key(error.key)
        raise ConfigError(error.problem, key=key) from error


def _parameters(proto: Any) -> tuple[dict[str, str], dict[str, str]]:
    """Return the parameters that set keys of our own, without their prefix, and the others."""
    texts = {name: proto.parameters[name].string_value for name in sorted(proto.parameters)}
    own = {k.removeprefix(_OWN_PREFIX): v for k, v in texts.items() if k.startswith(_OWN_PREFIX)}
    return own, {k: v for k, v in texts.items() if not k.startswith(_OWN_PREFIX)}


def _convert_ensemble(proto: Any, warnings: list[str]) -> ModelConfig:
    batched = bool(proto.max_batch_size)
    inputs = tuple(_input(item, index, batched) for index, item in enumerate(proto.input))
    outputs = tuple(_output(item, index, batched) for index, item in enumerate(proto.output))
    own, others = _parameters(proto)
    warnings.extend(f"parameters[{name!r}] is ignored: a pipeline's models have their own" for name in others)
    return read_ensemble(proto, inputs, outputs, _versions(proto.version_policy), own, warnings)


def _triton_key(key: str) -> str:
    for pattern, replacement in _KEYS:
        match = re.fullmatch(pattern, key)
        if match:
            return match.expand(replacement)
    return key


def _backend(proto: Any) -> Backend | None:
    found: dict[str, Backend] = {}
    for key, text, known in (
        ("platform", proto.platform, _PLATFORMS),
        ("backend", proto.backend, _BACKENDS),
    ):
        if text and text not in known:
            served = " or ".join(f"'{name}'" for name in known)
            raise ConfigError(f"not supported: {text!r}; Falaj serves {served}", key=key)
        if text:
            found[key] = known[text]
    if len(set(found.values())) > 1:
        raise ConfigError(f"'{proto.backend}' contradicts platform '{proto.platform}'", key="backend")
    return next(iter(found.values()), None)


def _backend_settings(
    proto: Any, backend: Backend | None, texts: dict[str, str], warnings: list[str]
) -> dict[str, Any]:
    """Return the arguments of ModelConfig that depend on what runs the model."""
    if backend == "python":
        warnings.append(_PYTHON_CLASS)
        if "EXECUTION_ENV_PATH" in texts:
            warnings.append("parameters['EXECUTION_ENV_PATH'] is ignored: it runs in the server's Python")
        if read_providers(proto, {}, []):
            warnings.append("KIND_GPU and execution_accelerators are ignored: python models choose a device")
        if proto.optimization.graph.level:
            warnings.append("optimization.graph.level is ignored: a python model has no graph to rewrite")
        return {"parameters": texts}
    sorted_ = read_parameters(texts, warnings)
    if backend == "onnxruntime":
        warnings.extend(f"parameters[{name!r}] is ignored: Falaj does not know it" for name in sorted_.others)
    return {
        "threads": sorted_.threads,
        "session": sorted_.session,
        "parameters": sorted_.others,
        "provider": read_providers(proto, sorted_.cuda, warnings),
        "graph_optimization": read_graph_optimization(proto),
    }


def _input(item: Any, index: int, batched: bool) -> InputConfig:
    key = f"input[{index}]"
    try:
        return InputConfig(item.name, _data_type(item), _shape(item.dims, batched))
    except ConfigError as error:
        raise error.within(key) from error


def _output(item: Any, index: int, batched: bool) -> OutputConfig:
    key = f"output[{index}]"
    try:
        return OutputConfig(
            item.name,
            _data_type(item),
            _shape(item.dims, batched),
            label_filename=item.label_filename or None,
        )
    except ConfigError as error:
        raise error.within(key) from error


def _data_type(item: Any) -> DataType | None:
    if not item.HasField("data_type"):
        return None
    name = enum_values("DataType")[item.data_type]
    if name not in _DATA_TYPES:
        raise ConfigError(f"expected a data type such as TYPE_FP32, got {name}", key="data_type")
    return _DATA_TYPES[name]


def _shape(dims: Any, batched: bool) -> tuple[int, ...] | None:
    """Return dims as a shape; absent dims leave it to the model file."""
    if not dims:
        return None
    for index, size in enumerate(dims):
        if size < 1 and size != -1:
            raise ConfigError(f"expected a size of 1 or more, or -1, got {size}", key=f"dims[{index}]")
    return (-1, *dims) if batched else tuple(dims)


def _versions(policy: Any) -> VersionPolicy:
    try:
        if policy.HasField("all"):
            return VersionPolicy("all")
        if policy.HasField("specific"):
            return VersionPolicy("specific", list=tuple(policy.specific.versions))
        return VersionPolicy("latest", n=policy.latest.num_versions or 1)
    except ConfigError as error:
        raise ConfigError(error.problem, key=_triton_key(error.key)) from error


def _queue(batching: Any, warnings: list[str]) -> dict[str, Any]:
    """Return the arguments of ModelConfig about priorities, timeouts and bounds of the queue."""
    key = "dynamic_batching"
    levels, default = batching.priority_levels, batching.default_priority_level
    if (levels or default) and not 1 <= default <= levels:
        wanted = f"a level of 1 to priority_levels ({levels})"
        raise ConfigError(f"expected {wanted}, got {default}", key=f"{key}.default_priority_level")
    result: dict[str, Any] = {"priority_levels": levels or 1, "default_priority": default or 1}
    if batching.HasField("default_queue_policy"):
        policy = _queue_policy(batching.default_queue_policy, f"{key}.default_queue_policy", warnings)
        result["max_queue_requests"] = policy.max_queue_requests
        result["default_timeout_ms"] = policy.default_timeout_ms
        result["allow_timeout_override"] = policy.allow_timeout_override
    policies = batching.priority_queue_policy
    result["priority_policy"] = {
        level: _queue_policy(policies[level], f"{key}.priority_queue_policy[{level}]", warnings)
        for level in sorted(policies)
    }
    return result


def _queue_policy(policy: Any, key: str, warnings: list[str]) -> QueuePolicy:
    timeout_us = policy.default_timeout_microseconds
    if policy.timeout_action == _DELAY:
        if timeout_us or policy.allow_timeout_override:
            warnings.append(
                f"{key}.timeout_action DELAY: Falaj answers late requests in their turn, without a timeout"
            )
        return QueuePolicy(policy.max_queue_size, None, False)
    try:
        return QueuePolicy(
            policy.max_queue_size, timeout_us / 1000 if timeout_us else None, policy.allow_timeout_override
        )
    except ConfigError as error:  # of its values, only the timeout can be out of range
        raise ConfigError(error.problem, key=f"{key}.default_timeout_microseconds") from error


def _warmup(item: Any, index: int, proto: Any, inputs: tuple[InputConfig, ...]) -> Warmup:
    key = f"model_warmup[{index}]"
    declared = {tensor.name: tensor.datatype for tensor in inputs}
    made: dict[str, WarmupInput] = {}
    for name in sorted(item.inputs):
        entry = item.inputs[name]
        try:
            datatype = _data_type(entry)
            if datatype is not None and declared.get(name) not in (None, datatype):
                raise ConfigError(f"{datatype} contradicts the input's {declared[name]}", key="data_type")
            fill: Literal["zero", "random"] = "random" if entry.random_data else "zero"
            made[name] = WarmupInput(_shape(entry.dims, batched=False) or (), fill)
        except ConfigError as error:
            raise error.within(f"{key}.inputs[{name!r}]") from error
    try:
        return Warmup(item.name or f"warmup {index}", item.batch_size or 1, item.count or 1, made)
    except ConfigError as error:
        name = error.key.replace("rows", "batch_size")
        raise ConfigError(error.problem, key=f"{key}.{name}") from error
