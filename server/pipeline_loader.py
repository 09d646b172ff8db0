"""Makes a served model of a pipeline, whose models are in service."""

import time
from collections.abc import Callable
from typing import Any

from falaj import _core
from falaj.server.errors import ConfigError
from falaj.server.labels import read_labels
from falaj.server.loader import LoadedVersion, Source, queue_levels
from falaj.server.pipeline_config import PipelineConfig, PipelineInput, graph_of
from falaj.server.pipeline_plan import PipelinePlan, StepModel, native_plan, plan_pipeline
from falaj.server.probe import Probe
from falaj.server.tune import Choice

PLATFORM = "ensemble"  # Triton's name for it
_MAX_REQUEST_ROWS = 1 << 20

Served = Callable[[str, int | None], LoadedVersion]
"""Finds a version in service, the highest where none is named. Raises NotFound or Unavailable."""


def load_pipeline(runtime: _core.Runtime, source: Source, served: Served) -> LoadedVersion:
    """Make a pipeline of the models in service. Nothing is published.

    Raises ConfigError where they do not fit, Unavailable where one is not in service.
    """
    begin = time.monotonic()
    graph = graph_of(source.config)
    if graph is None:
        raise _core.InternalError(f"model '{source.name}' is no pipeline")
    try:
        plan = plan_pipeline(graph, _models(graph, served))
    except ConfigError as error:
        raise error.from_source(source.name) from error
    except _core.Error as error:
        raise _core.Unavailable(f"pipeline '{source.name}': {error}") from error
    native = native_plan(source.name, source.version, graph, plan)
    model = _core.load_pipeline(runtime, native, _options(source, plan))
    batches = plan.max_batch_size > 0
    why = "each step's model batches what it is asked" if batches else "its tensors have no batch dimension"
    return LoadedVersion(
        name=source.name,
        version=source.version,
        model=model,
        config=source.config,
        inputs=plan.inputs,
        outputs=plan.outputs,
        platform=PLATFORM,
        placement="pipeline",
        choice=Choice(0, 0, plan.max_batch_size, "a pipeline has no instances, its models have them"),
        probe=Probe(batches, why, None, plan.outputs),
        notes=(),
        folder=source.folder,
        sequences=plan.sequences,
        load_seconds=time.monotonic() - begin,
    )


def why_not_fit(loaded: LoadedVersion, served: Served) -> str | None:
    """Why a loaded pipeline cannot be asked at the moment: a model of it is not in service, or was replaced
    by a version that takes or gives something else. None: it fits, or `loaded` is no pipeline."""
    graph = graph_of(loaded.config)
    if graph is None:
        return None
    try:
        models = _models(graph, served)
        now = plan_pipeline(_as_published(graph, loaded), models)
    except ConfigError as error:
        return f"its models have changed and fit no more: {error}"
    except _core.Error as error:
        return str(error)
    if (loaded.sequences is None) != (now.sequences is None):
        return "its models have changed: one keeps sequences now, or none does any more; reload the pipeline"
    for before, after in zip(loaded.outputs, now.outputs, strict=True):
        if before.datatype != after.datatype or not _is_within(after.shape, before.shape):
            return (
                f"its models have changed and fit no more: output '{before.name}' was {before.datatype} "
                f"{list(before.shape)}, it would be {after.datatype} {list(after.shape)}; reload the pipeline"
            )
    return None


def _models(graph: PipelineConfig, served: Served) -> list[StepModel]:
    models = []
    for step in graph.step:
        try:
            found = served(step.model, step.version)
        except _core.Error as error:
            raise _core.Unavailable(f"step '{step.name}': {error}") from error
        rows = found.choice.max_batch_size
        models.append(
            StepModel(found.name, found.version, found.inputs, found.outputs, rows, found.sequences)
        )
    return models


def _as_published(graph: PipelineConfig, loaded: LoadedVersion) -> PipelineConfig:
    """The graph with the inputs that clients were told of."""
    told: Any = [PipelineInput(t.name, t.datatype, t.shape) for t in loaded.inputs]  # type: ignore[arg-type]
    rows = loaded.choice.max_batch_size
    same = {name: getattr(graph, name) for name in graph.__struct_fields__}
    return PipelineConfig(**{**same, "input": tuple(told), "max_batch_size": rows})


def _is_within(shape: tuple[int, ...], told: tuple[int, ...]) -> bool:
    return len(shape) == len(told) and all(b in (-1, a) for a, b in zip(shape, told, strict=True))


def _options(source: Source, plan: PipelinePlan) -> dict[str, Any]:
    """As falaj.server.loader makes them of models."""
    config = source.config
    return {
        "model": source.name,
        "version": source.version,
        "inputs": [tensor.as_tuple() for tensor in plan.inputs],
        "outputs": [tensor.as_tuple() for tensor in plan.outputs],
        "input_plan": [(index, False, -1, 0.0, tensor.datatype) for index, tensor in enumerate(plan.inputs)],
        "output_plan": [(False, -1, -1) for _ in plan.outputs],
        "labels": read_labels(source.name, source.folder.parent, config.output),
        "max_batch_size": plan.max_batch_size,
        "max_request_rows": config.max_batch_size or _MAX_REQUEST_ROWS,
        "instances": 1,
        "cores_per_batch": 0,
        "max_queue_rows": config.max_queue_rows,
        "slo": None,
        "levels": queue_levels(config),
        "default_level": config.default_priority,
        "run_on_submitter": config.run_on_submitter,
        "tells_members": False,
        "decoupled": False,
        "sequences": plan.sequences and plan.sequences.as_tuple(),
        "cache_bytes": 0,
        "cache_ttl": None,
        "needs_elements": False,
    }
