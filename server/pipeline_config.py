"""A pipeline's configuration: `pipeline.toml`, or `ensemble_scheduling` of Triton's `config.pbtxt`.

A struct that exists is valid by itself; falaj.server.pipeline_graph looks at how its steps fit together, and
falaj.server.pipeline_plan at how they fit the models. Each raises ConfigError that names the key.
"""

from pathlib import Path
from typing import Any

import msgspec

from falaj.server.errors import ConfigError
from falaj.server.model_checks import INT64_MAX, require_int, require_name, require_shape, require_unique
from falaj.server.model_config import DataType, ModelConfig, OutputConfig, QueuePolicy, VersionPolicy
from falaj.server.pipeline_graph import check_graph
from falaj.server.step_condition import Condition
from falaj.server.strict_toml import decode, read_toml

FILE = "pipeline.toml"
# The core looks at each step whenever one has ended.
_MOST_STEPS = 256


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every table of the file: immutable, no unknown keys."""


class PipelineInput(_Table, frozen=True):
    """A tensor that requests bring."""

    name: str
    """Its name, for requests and for steps."""
    datatype: DataType | None = None
    """V2 data type. Default: that of the steps' inputs that it goes to."""
    shape: tuple[int, ...] | None = None
    """Shape with the batch dimension first; -1 is variable. Default: what those inputs have in common."""

    def __post_init__(self) -> None:
        require_name(self.name)
        require_shape(self.shape)


class PipelineOutput(_Table, frozen=True):
    """A tensor that requests get."""

    name: str
    """Its name in answers."""
    tensor: str = ""
    """The tensor that it is. Default: the one of its own name."""
    datatype: DataType | None = None
    """V2 data type. Default: that of the step's output that makes it."""
    shape: tuple[int, ...] | None = None
    """Shape with the batch dimension first; -1 is variable. Default: that of the step's output."""
    default: float | None = None
    """What it is filled with where no branch has made it. Default: none, such a request fails."""
    label_filename: str | None = None
    """As in model.toml: names of classes, in the pipeline's folder. Default: none."""

    def __post_init__(self) -> None:
        require_name(self.name)
        require_shape(self.shape)
        if not self.tensor:
            msgspec.structs.force_setattr(self, "tensor", self.name)


class StepConfig(_Table, frozen=True):
    """A model that is asked on the way."""

    model: str
    """Its name in the repository. It may be a pipeline itself, as long as none needs itself."""
    name: str = ""
    """What the step is called in messages. Default: the model's name."""
    version: int | None = None
    """The version that is asked. Default: the latest in service, looked up for each request."""
    inputs: dict[str, str] = {}
    """Input of the model to tensor. Every required input is given."""
    outputs: dict[str, str] = {}
    """Output of the model to the tensor that it is called from there on. What is not needed is left out."""
    when: Condition | None = None
    """Run only for requests of which this holds. Default: for all."""

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("expected a model's name, got ''", key="model")
        if not self.name:
            msgspec.structs.force_setattr(self, "name", self.model)
        if self.version is not None:
            require_int("version", self.version, 1, INT64_MAX)


class PipelineConfig(_Table, frozen=True):
    """A graph of models and how it is served."""

    step: tuple[StepConfig, ...]
    """The models, in any order."""
    input: tuple[PipelineInput, ...]
    """What requests bring."""
    output: tuple[PipelineOutput, ...]
    """What requests get."""
    max_batch_size: int | None = None
    """Rows of one request; 0: its tensors have no batch dimension. The steps' own models batch requests
    together. Default: as many as its steps take, where all of them batch."""
    max_queue_rows: int = 4096
    """Rows under way; a request beyond is refused. Default: 4096."""
    default_timeout_ms: float | None = None
    """Deadline of a request that names none, for the whole, in milliseconds from its arrival. Default:
    none."""
    allow_timeout_override: bool = True
    """Whether a request's own timeout counts. Default: true."""
    priority_levels: int = 1
    """Priority levels, which the steps' models have as far as they have levels. Default: 1."""
    default_priority: int = 1
    """Level of a request that names none. Default: 1."""
    priority_policy: dict[int, QueuePolicy] = {}
    """As in model.toml. Default: none."""
    drain_seconds: float = 30.0
    """Seconds that requests in flight are given when the pipeline is taken out of service. Default: 30."""
    versions: VersionPolicy = VersionPolicy()
    """Which versions are served, where there are version folders. Default: the latest one."""

    def __post_init__(self) -> None:
        for kind, entries in (("input", self.input), ("output", self.output), ("step", self.step)):
            if not entries:
                raise ConfigError(f"expected one [[{kind}]] or more, got none", key=kind)
            require_unique(kind, [entry.name for entry in entries])
        require_int("step", len(self.step), 1, _MOST_STEPS)
        check_graph(self.step, [tensor.name for tensor in self.input], [one.tensor for one in self.output])


class PipelineModel(ModelConfig, frozen=True):
    """A ModelConfig of a model that is a pipeline."""

    pipeline: PipelineConfig | None = None
    """The graph. Never None."""


def load_pipeline_toml(path: Path) -> PipelineModel:
    """Read and check a `pipeline.toml`. Raises ConfigError that names file, key path, got and expected."""
    source = str(path)
    config = decode(read_toml(path), PipelineConfig, source=source)
    try:
        return pipeline_model(config)
    except ConfigError as error:
        raise error.from_source(source) from error


def pipeline_model(config: PipelineConfig) -> PipelineModel:
    """Return a pipeline as the configuration of a model. Raises ConfigError."""
    same: dict[str, Any] = {
        key: getattr(config, key)
        for key in (
            "max_batch_size", "max_queue_rows", "default_timeout_ms", "allow_timeout_override",
            "priority_levels", "default_priority", "priority_policy", "drain_seconds", "versions",
        )
    }  # fmt: skip
    labels = tuple(
        OutputConfig(output.name, label_filename=output.label_filename)
        for output in config.output
        if output.label_filename is not None
    )
    return PipelineModel(output=labels, pipeline=config, **same)


def graph_of(config: ModelConfig) -> PipelineConfig | None:
    """The graph of a model that is a pipeline, None of any other."""
    return config.pipeline if isinstance(config, PipelineModel) else None


def models_of(config: ModelConfig) -> tuple[str, ...]:
    """Names of the models that a model needs, each once: those of its steps where it is a pipeline."""
    graph = graph_of(config)
    return tuple(dict.fromkeys(step.model for step in graph.step)) if graph is not None else ()
