"""Makes a served model of a version folder: read, probe, choose, load, warm up."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from falaj import _core
from falaj.features.binding import BUNDLE, read_binding
from falaj.features.errors import DefinitionError
from falaj.server import arrays
from falaj.server.errors import ConfigError
from falaj.server.give_way import give_way
from falaj.server.labels import read_labels
from falaj.server.model_config import InputConfig, ModelConfig, Warmup
from falaj.server.model_loop import ModelLoop
from falaj.server.online_features import OnlineFeatures
from falaj.server.probe import Probe, probe, sample
from falaj.server.python_model import model_factory
from falaj.server.sequences import (
    SequenceBounds,
    bound_choice,
    declared_inputs,
    declared_outputs,
    keep_sequences,
    sequence_bounds,
)
from falaj.server.tensors import Tensor, check_configured, of_backend
from falaj.server.tune import Choice, tune
from falaj.training.bundle.bundle_files import verify_bundle
from falaj.training.custom_operators import custom_operators
from falaj.training.errors import TrainingError
from falaj.training.onnx_backend import load_onnx
from falaj.training.recurrent import file_has_recurrent_layer

# Largest request of a model whose max_batch_size was not configured: more rows than a batch run alone.
_MAX_REQUEST_ROWS = 1 << 20
# How a choice begins that was taken over at a reload.
_KEPT = "kept from the version before: "


@dataclass(frozen=True)
class LoadedVersion:
    """A version that is ready to be published, and what is told about it."""

    name: str
    version: int
    model: _core.Model
    config: ModelConfig
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    platform: str
    placement: str
    choice: Choice
    probe: Probe
    notes: tuple[str, ...]  # what fell back, was ignored or could not be tried
    folder: Path  # of the version
    sequences: SequenceBounds | None = None  # of a stateful one
    load_seconds: float = 0.0  # reading, probing, choosing and warming up


@dataclass(frozen=True)
class Source:
    """A model file to be loaded, and how."""

    name: str
    version: int
    folder: Path
    config: ModelConfig


def load_version(
    runtime: _core.Runtime,
    source: Source,
    cores: int,
    kept: LoadedVersion | None,
    features: OnlineFeatures,
) -> LoadedVersion:
    """Load one version and warm it up beside whatever serves now. Nothing is published.

    `kept` is the version that serves now: its measured choices are taken over where the configuration and the
    tensors are the same, because trials beside live traffic would disturb it and be disturbed.
    Raises ConfigError, InvalidInput, Unsupported, NotFound or InternalError.
    """
    begin = time.monotonic()
    path = model_file(source)
    _check_files(source)
    if path.suffix == ".py":
        backend, choice, found = _load_python(source, path)
    else:
        backend, choice, found = _load_onnx(source, path, cores, kept)
    platform = "python" if path.suffix == ".py" else "onnxruntime_onnx"
    sequence = source.config.sequence
    if sequence is not None:
        if source.config.decoupled:
            raise ConfigError(f"{source.name}: `decoupled`: expected false beside [sequence], got true")
        if source.config.cache is not None:
            raise ConfigError(
                f"{source.name}: `cache`: expected none beside [sequence]: its answers depend on it"
            )
        choice = bound_choice(sequence, choice, backend, source.name)
        backend, found = keep_sequences(sequence, backend, choice, found, source.folder.parent, source.name)
    joined = _joined(source, backend, choice, features)
    # Code of a user's, a store elsewhere, or an image whose size only its decoder learns.
    waits = platform == "python" or (joined is not backend and features.is_shared)
    waits = waits or bool(custom_operators(path))
    loaded = _finish(runtime, source, joined, choice, found, platform, waits)
    return replace(loaded, load_seconds=time.monotonic() - begin)


def model_file(source: Source) -> Path:
    """The model's file in its version folder. Raises NotFound that says what was expected and found."""
    config, folder = source.config, source.folder
    if config.model_filename is not None:
        names = [config.model_filename]
    else:
        by_backend = {"onnxruntime": ["model.onnx"], "python": ["model.py"], None: ["model.onnx", "model.py"]}
        names = by_backend[config.backend]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise _core.NotFound(
        f"model '{source.name}' version {source.version}: expected {' or '.join(names)} in its folder, "
        f"found {', '.join(sorted(p.name for p in folder.iterdir())) or 'nothing'}"
    )


def _check_files(source: Source) -> None:
    """Raise ConfigError where a file is not the one that was exported: its answers were not proven."""
    where = f"{source.name}: {BUNDLE}"
    try:
        differ = verify_bundle(source.folder)
    except TrainingError as error:
        raise ConfigError(f"{where}: {error}") from error
    if differ:
        told = "; ".join(map(str, differ))
        raise ConfigError(f"{where}: version {source.version} is not what was exported: {told}")


def _load_onnx(
    source: Source, path: Path, cores: int, kept: LoadedVersion | None
) -> tuple[_core.Backend, Choice, Probe]:
    config = source.config
    give_way()

    def load(threads: int) -> _core.Backend:
        providers = [(provider.name, provider.options) for provider in config.provider]
        return load_onnx(
            path,
            threads=threads,
            providers=providers,
            session=config.session,
            optimization=config.graph_optimization,
            beside_traffic=kept is not None,
        )

    if config.decoupled:
        raise ConfigError(
            f"{source.name}: `decoupled`: expected false, got true: an ONNX model answers a request once; a "
            "python model may answer it several times"
        )
    first = load(kept.choice.threads if kept else 1)
    inputs, outputs = of_backend(first)
    check_configured("input", inputs, config.input, source.name)
    check_configured("output", outputs, config.output, source.name)
    give_way()
    found = probe(first, inputs, outputs)
    if kept is not None and kept.config == config and kept.probe == found:
        choice = kept.choice
        why = choice.why.removeprefix(_KEPT)
        return (
            first,
            Choice(
                choice.instances,
                choice.threads,
                choice.max_batch_size,
                _KEPT + why,
            ),
            found,
        )
    first_threads = kept.choice.threads if kept else 1

    def reuse(threads: int) -> _core.Backend:
        return first if threads == first_threads else load(threads)

    choice, backend = tune(config, cores, reuse, inputs, found.batchable, found.axis_size)
    return backend, choice, found


def _load_python(source: Source, path: Path) -> tuple[_core.Backend, Choice, Probe]:
    config = source.config
    loop = ModelLoop(source.name)
    cls, make = model_factory(
        path, source.name, config.python_class, dict(config.parameters), config.decoupled, loop
    )
    inputs = (
        *(_declared(tensor, "input", source) for tensor in config.input),
        *declared_inputs(config.sequence, source.name),
    )
    outputs = (
        *(_declared(tensor, "output", source) for tensor in config.output),
        *declared_outputs(config.sequence, source.name),
    )
    if not outputs:
        raise ConfigError(f"{source.name}: a python model needs its inputs and outputs in model.toml")
    backend = _core.load_python(
        [t.as_tuple() for t in inputs], [t.as_tuple() for t in outputs], make, loop, config.decoupled
    )
    instances = config.instances if isinstance(config.instances, int) else 1
    can_batch = bool(inputs) and all(t.shape and t.shape[0] == -1 for t in (*inputs, *outputs))
    batch = config.max_batch_size if config.max_batch_size is not None else (32 if can_batch else 0)
    why = f"class {cls.__name__}: one instance unless configured; a python model is not run to try it"
    return backend, Choice(instances, 0, batch, why), Probe(can_batch, "as declared", None, outputs)


def _declared(tensor: Any, kind: str, source: Source) -> Tensor:
    if tensor.datatype is None or tensor.shape is None:
        raise ConfigError(f"{source.name}: {kind} '{tensor.name}' of a python model needs datatype and shape")
    return Tensor(tensor.name, tensor.datatype, tuple(tensor.shape))


def _joined(source: Source, model: _core.Backend, choice: Choice, features: OnlineFeatures) -> _core.Backend:
    """The model behind the look-ups that its bundle names; itself where there are none."""
    where = f"{source.name}: {BUNDLE}"
    try:
        binding = read_binding(source.folder)
        if binding is None:
            return model
        if choice.max_batch_size == 0:
            raise ConfigError(f"{where}: a model that looks features up needs a batch dimension")
        return features.join(model, binding, source.name, source.version)
    except (DefinitionError, _core.InvalidInput) as error:
        raise ConfigError(f"{where}: {error}") from error


def _finish(
    runtime: _core.Runtime,
    source: Source,
    backend: _core.Backend,
    choice: Choice,
    found: Probe,
    platform: str,
    waits: bool,
) -> LoadedVersion:
    config = source.config
    inputs, declared = of_backend(backend)
    _check_batching(source, choice, inputs)
    masks = {tensor.mask: tensor for tensor in config.input if tensor.mask is not None}
    public = tuple(_configured(t, config) for t in inputs if t.name not in masks)
    looked_up = tuple(tensor for tensor in declared if tensor.optional)
    outputs = tuple(
        tensor if choice.max_batch_size == 0 else tensor.with_shape((-1, *tensor.shape[1:]))
        for tensor in (*found.outputs, *looked_up)
    )
    if config.cache is not None and looked_up:
        raise ConfigError(
            f"{source.name}: `cache`: expected none for a model that looks features up: its answers change "
            "with the store, not only with its inputs"
        )
    placement, notes = backend.placement, list(backend.fallbacks)
    if config.max_batch_size and not found.batchable and found.axis_size is not None:
        notes.append(f"max_batch_size is {config.max_batch_size}, but a trial says otherwise: {found.why}")
    options = _batcher_options(source, choice, inputs, public, outputs, declared, platform, waits)
    give_way()
    model = _core.Model(runtime, backend, options)
    _warm_up(model, source, choice, public, found, notes)
    return LoadedVersion(
        name=source.name,
        version=source.version,
        model=model,
        config=config,
        inputs=tuple(tensor for tensor in public if not tensor.optional),
        outputs=tuple(tensor for tensor in outputs if not tensor.optional),
        platform=platform,
        placement=placement,
        choice=choice,
        probe=found,
        notes=tuple(notes),
        folder=source.folder,
        sequences=sequence_bounds(config.sequence, choice),
    )


def _configured(tensor: Tensor, config: ModelConfig) -> Tensor:
    """An input with the sizes that the configuration narrows."""
    for entry in config.input:
        if entry.name == tensor.name and entry.shape is not None:
            return tensor.with_shape(entry.shape)
    return tensor


def _check_batching(source: Source, choice: Choice, inputs: tuple[Tensor, ...]) -> None:
    if choice.max_batch_size == 0:
        return
    for tensor in inputs:
        if not tensor.shape or tensor.shape[0] != -1:
            raise ConfigError(
                f"{source.name}: `max_batch_size`: expected 0, input '{tensor.name}' {list(tensor.shape)} "
                f"has no variable first dimension; got {choice.max_batch_size}"
            )


def _batcher_options(
    source: Source,
    choice: Choice,
    inputs: tuple[Tensor, ...],
    public: tuple[Tensor, ...],
    outputs: tuple[Tensor, ...],
    declared: tuple[Tensor, ...],
    platform: str,
    waits: bool,
) -> dict[str, Any]:
    config = source.config
    bounds = sequence_bounds(config.sequence, choice)
    return {
        "model": source.name,
        "version": source.version,
        "inputs": [tensor.as_tuple() for tensor in public],
        "outputs": [tensor.as_tuple() for tensor in outputs],
        "input_plan": [_input_plan(tensor, public, source) for tensor in inputs],
        "output_plan": [
            (seen.shape == kept.shape, *_unpadding(seen, public, config))
            for seen, kept in zip(outputs, declared, strict=True)
        ],
        "labels": read_labels(source.name, source.folder.parent, config.output),
        "max_batch_size": choice.max_batch_size,
        "max_request_rows": config.max_batch_size or _MAX_REQUEST_ROWS,
        "instances": choice.instances,
        "cores_per_batch": 0 if platform == "python" else choice.threads,
        "max_queue_rows": config.max_queue_rows,
        "slo": None if config.slo_ms is None else config.slo_ms / 1000,
        "levels": queue_levels(config),
        "default_level": config.default_priority,
        # What may wait is not run on a thread that came to ask.
        "run_on_submitter": config.run_on_submitter and not waits,
        "tells_members": (
            config.sequence is not None or config.decoupled or any(tensor.optional for tensor in outputs)
        ),
        "decoupled": config.decoupled,
        "sequences": bounds and bounds.as_tuple(),
        "cache_bytes": config.cache.max_bytes if config.cache else 0,
        "cache_ttl": config.cache.ttl_ms / 1000 if config.cache and config.cache.ttl_ms else None,
        "needs_elements": platform != "python" and file_has_recurrent_layer(model_file(source)),
    }


def queue_levels(config: ModelConfig) -> list[tuple[int, float | None, bool]]:
    """For each priority level: requests that may wait (0: any number), default timeout in seconds or None,
    whether a request's own timeout counts."""
    policies = [config.queue_policy(level) for level in range(1, config.priority_levels + 1)]
    return [
        (
            policy.max_queue_requests,
            None if policy.default_timeout_ms is None else policy.default_timeout_ms / 1000,
            policy.allow_timeout_override,
        )
        for policy in policies
    ]


def _padded(name: str, config: ModelConfig) -> InputConfig | None:
    return next((t for t in config.input if t.name == name and t.pad_axis is not None), None)


def _input_plan(
    tensor: Tensor, public: tuple[Tensor, ...], source: Source
) -> tuple[int, bool, int, float, str]:
    """(index of the public input, is a mask of it, padded axis or -1, pad value, data type)."""
    index = {t.name: i for i, t in enumerate(public)}
    for masked in source.config.input:
        if masked.mask == tensor.name and masked.pad_axis is not None:
            return index[masked.name], True, masked.pad_axis, 0.0, tensor.datatype
    padded = _padded(tensor.name, source.config)
    if padded is None or padded.pad_axis is None:
        return index[tensor.name], False, -1, 0.0, tensor.datatype
    if padded.pad_axis >= len(tensor.shape) or tensor.shape[padded.pad_axis] != -1:
        raise ConfigError(
            f"{source.name}: input '{tensor.name}': pad_axis {padded.pad_axis} is not a variable axis of "
            f"{list(tensor.shape)}"
        )
    return index[tensor.name], False, padded.pad_axis, padded.pad_value, tensor.datatype


def _unpadding(tensor: Tensor, public: tuple[Tensor, ...], config: ModelConfig) -> tuple[int, int]:
    """(axis to cut, public input whose length it has), or (-1, -1)."""
    names = [t.name for t in public]
    for entry in config.output:
        if entry.name == tensor.name and entry.unpad_axis is not None and entry.unpad_like is not None:
            return entry.unpad_axis, names.index(entry.unpad_like)
    # Without being told: an axis of the same name in the model is as long.
    for index, source in enumerate(public):
        padded = _padded(source.name, config)
        if padded is None or padded.pad_axis is None or not source.symbols or not tensor.symbols:
            continue
        symbol = source.symbols[padded.pad_axis]
        if symbol and symbol in tensor.symbols[1:]:
            return tensor.symbols.index(symbol, 1), index
    return -1, -1


def _warm_up(
    model: _core.Model,
    source: Source,
    choice: Choice,
    public: tuple[Tensor, ...],
    found: Probe,
    notes: list[str],
) -> None:
    def run(made: dict[str, Any], times: int, instances: int = choice.instances) -> None:
        give_way()
        model.warm_up(made, times, instances, arrays.from_python)

    for index, warmup in enumerate(source.config.warmup):
        _check_warmup(source.name, index, warmup, public)
        made = {}
        for tensor in public:
            entry = warmup.inputs.get(tensor.name)
            shape = entry.shape if entry else tensor.shape[1:] if choice.max_batch_size else tensor.shape
            full = (warmup.rows, *shape) if choice.max_batch_size else tuple(shape)
            full = tuple(8 if size == -1 else size for size in full)
            if entry is not None and entry.fill == "random":
                made[tensor.name] = arrays.random(tensor.datatype, full, np.random.default_rng(0))
            else:
                made[tensor.name] = arrays.zeros(tensor.datatype, full)
        run(made, warmup.count)
    if found.axis_size is None:
        return
    try:
        # The second run of a size is the first whose cost is learned. Beside live traffic the full batch,
        # which takes longest, is run once, and its cost is learned from the traffic.
        beside_traffic = choice.why.startswith(_KEPT)
        run(sample(public, 1, found.axis_size), 2)
        if choice.max_batch_size > 1:
            widest = sample(public, choice.max_batch_size, found.axis_size)
            run(widest, 1, instances=1) if beside_traffic else run(widest, 2)
    except _core.Error as error:
        notes.append(f"the default warm-up failed: {error}")


def _check_warmup(model: str, index: int, warmup: Warmup, inputs: tuple[Tensor, ...]) -> None:
    names = [tensor.name for tensor in inputs]
    for name in warmup.inputs:
        if name not in names:
            raise ConfigError(
                f"{model}: `warmup[{index}].inputs`: the model has no input '{name}'; it has "
                + ", ".join(f"'{known}'" for known in names)
            )
