"""What is done with each field of Triton's ModelConfig that is not simply mapped.

A path in a table stands for the field and everything below it. A test holds every field of the schema to be
in one of the three tables, so that a new one cannot be dropped unseen.
"""

from collections.abc import Iterator, MutableMapping
from typing import Any

from google.protobuf.message import Message

from falaj.server.errors import ConfigError

# Read by triton_config, triton_onnxruntime and triton_ensemble. Names of instance groups change nothing.
MAPPED = frozenset(
    {
        "name",
        "platform",
        "backend",
        "max_batch_size",
        "input.name",
        "input.data_type",
        "input.dims",
        "output.name",
        "output.data_type",
        "output.dims",
        "output.label_filename",
        "version_policy",
        "dynamic_batching.priority_levels",
        "dynamic_batching.default_priority_level",
        "dynamic_batching.default_queue_policy",
        "dynamic_batching.priority_queue_policy",
        "instance_group.name",
        "instance_group.kind",
        "instance_group.count",
        "instance_group.gpus",
        "default_model_filename",
        "parameters",
        "model_warmup.name",
        "model_warmup.batch_size",
        "model_warmup.count",
        "model_warmup.inputs.data_type",
        "model_warmup.inputs.dims",
        "model_warmup.inputs.zero_data",
        "model_warmup.inputs.random_data",
        "sequence_batching.max_sequence_idle_microseconds",
        "sequence_batching.control_input",
        "sequence_batching.state.input_name",
        "sequence_batching.state.output_name",
        "sequence_batching.state.data_type",
        "sequence_batching.state.dims",
        "sequence_batching.state.initial_state",
        "sequence_batching.oldest.max_candidate_sequences",
        "optimization.graph",
        "response_cache",
        "model_transaction_policy",
        "optimization.execution_accelerators",
        "ensemble_scheduling.step.model_name",
        "ensemble_scheduling.step.model_version",
        "ensemble_scheduling.step.input_map",
        "ensemble_scheduling.step.output_map",
    }
)

_NO_DELAY = "Falaj's batcher needs no delay, it takes what is there; slo_ms in model.toml bounds the latency"
# The model serves without: what Falaj does instead.
IGNORED: dict[str, str] = {
    "runtime": "Falaj finds its runtimes itself",
    "dynamic_batching.preferred_batch_size": "Falaj learns from the model's run times which batches pay",
    "dynamic_batching.max_queue_delay_microseconds": _NO_DELAY,
    "dynamic_batching.preserve_ordering": "each answer goes out when it is ready, with its request's id",
    "sequence_batching.state.use_same_buffer_for_input_output": "Falaj keeps states itself",
    "sequence_batching.state.use_growable_memory": "Falaj keeps states itself",
    "sequence_batching.direct.max_queue_delay_microseconds": _NO_DELAY,
    "sequence_batching.direct.minimum_slot_utilization": _NO_DELAY,
    "sequence_batching.oldest.preferred_batch_size": _NO_DELAY,
    "sequence_batching.oldest.max_queue_delay_microseconds": _NO_DELAY,
    "sequence_batching.oldest.preserve_ordering": "the requests of a sequence are answered in order anyway",
    "input.format": "Falaj takes dims as they are written and rearranges nothing",
    "input.optional": "Falaj requires every input and refuses a request without it",
    "input.is_non_linear_format_io": "it is TensorRT's own",
    "output.is_non_linear_format_io": "it is TensorRT's own",
    "optimization.priority": "Falaj does not rank models against each other",
    "optimization.cuda": "give the CUDA provider's options in model.toml ([[provider]] options)",
    "optimization.input_pinned_memory.enable": "Falaj decides about staging buffers itself",
    "optimization.output_pinned_memory.enable": "Falaj decides about staging buffers itself",
    "optimization.gather_kernel_buffer_threshold": "Falaj assembles batches in place",
    "optimization.eager_batching": "Falaj always assembles a batch while the one before runs",
    "instance_group.rate_limiter": "Falaj's instances share its executor threads in turn",
    "instance_group.secondary_devices": "Falaj runs a model on one device",
    "instance_group.profile": "it is TensorRT's own",
    "instance_group.passive": "Falaj makes no instances that serve nothing, the group is not counted",
    "instance_group.host_policy": "Falaj does not pin threads or memory",
    "cc_model_filenames": "default_model_filename is used on every device",
    "metric_tags": "Falaj's metrics carry the labels model and version",
    "model_metrics": "Falaj chooses the bins of its histograms itself",
    "ensemble_scheduling.max_inflight_requests": (
        "max_queue_rows (falaj.max_queue_rows among the parameters) bounds what is under way"
    ),
}

# Serving without would give other answers than were asked for, or none.
REFUSED: dict[str, str] = {
    "sequence_batching.iterative_sequence": "requests that are run again and again by themselves",
    "ensemble_scheduling.step.model_namespace": "models of the same name in several namespaces",
    "batch_input": "inputs made from the batch",
    "batch_output": "outputs cut by an input's shape; unpad_axis in model.toml cuts padded ones",
    "input.reshape": "a request shape that differs from the model's; declare the model's own shape in dims",
    "output.reshape": "an answer shape that differs from the model's; declare the model's own shape in dims",
    "input.is_shape_tensor": "shape tensors, which are TensorRT's own",
    "output.is_shape_tensor": "shape tensors, which are TensorRT's own",
    "input.allow_ragged_batch": "ragged batches; pad_axis and mask in model.toml batch different lengths",
    "model_warmup.inputs.input_data_file": "warm-up data from a file; use zero_data or random_data",
    "model_operations": "custom operator libraries",
    "model_repository_agents": "repository agents",
}


def check_coverage(config: Message) -> list[str]:
    """Return a warning for each ignored field that is set. Raises ConfigError for a refused one."""
    warnings = []
    for shown, path in _set_fields(config, "", ""):
        if path in REFUSED:
            raise ConfigError(f"not supported yet: {REFUSED[path]}", key=shown)
        if path in IGNORED:
            warnings.append(f"{shown} is ignored: {IGNORED[path]}")
    return list(dict.fromkeys(warnings))


def _set_fields(message: Message, shown: str, path: str) -> Iterator[tuple[str, str]]:
    """Yield each field that says something, as (path with indices, path in the tables)."""
    for field, value in message.ListFields():
        name = field.name if not path else f"{path}.{field.name}"
        here = field.name if not shown else f"{shown}.{field.name}"
        if isinstance(value, str | int | float) and value == field.default_value:
            continue
        yield here, name
        for label, item in _messages_in(value):
            yield from _set_fields(item, f"{here}{label}", name)


def _messages_in(value: Any) -> Iterator[tuple[str, Message]]:
    if isinstance(value, Message):
        yield "", value
    elif isinstance(value, MutableMapping):
        for key in sorted(value):
            if isinstance(value[key], Message):
                yield f"[{key!r}]", value[key]
    elif not isinstance(value, str | int | float):
        for index, item in enumerate(value):
            if isinstance(item, Message):
                yield f"[{index}]", item
