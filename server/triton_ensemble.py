"""Triton's `ensemble_scheduling` as a pipeline."""

from typing import Any

from falaj.server.errors import ConfigError
from falaj.server.model_config import InputConfig, OutputConfig, VersionPolicy
from falaj.server.pipeline_config import (
    PipelineConfig,
    PipelineInput,
    PipelineModel,
    PipelineOutput,
    StepConfig,
    pipeline_model,
)
from falaj.server.strict_toml import override

PLATFORM = "ensemble"
_LATEST = (-1, 0)
# Keys of a pipeline.toml, as config.pbtxt spells what they were made of.
_STEP = "ensemble_scheduling.step"
_MAPS = {
    ".inputs": ".input_map",
    ".outputs": ".output_map",
    ".version": ".model_version",
    ".model": ".model_name",
}
_IGNORED = ("instance_group", "model_warmup", "default_model_filename", "optimization")


def is_ensemble(proto: Any) -> bool:
    """Whether a ModelConfig describes a pipeline."""
    return proto.platform == PLATFORM or bool(proto.HasField("ensemble_scheduling"))


def read_ensemble(
    proto: Any,
    inputs: tuple[InputConfig, ...],
    outputs: tuple[OutputConfig, ...],
    versions: VersionPolicy,
    own: dict[str, str],
    warnings: list[str],
) -> PipelineModel:
    """Return the pipeline of a ModelConfig whose tensors and version policy have been read.

    Args:
        own: Keys of pipeline.toml that parameters set, to their texts.
        warnings: Grows by a sentence for each field that does nothing.

    Raises ConfigError with the key as config.pbtxt spells it.
    """
    if proto.platform not in ("", PLATFORM) or proto.backend:
        raise ConfigError("contradicts ensemble_scheduling", key="backend" if proto.backend else "platform")
    warnings.extend(f"{name} is ignored: a pipeline's models have their own" for name in _set_of(proto))
    try:
        steps = _steps(proto, {output.name for output in outputs}, warnings)
        config = PipelineConfig(
            step=steps,
            input=tuple(PipelineInput(one.name, one.datatype, one.shape) for one in inputs),
            output=tuple(
                PipelineOutput(
                    one.name, datatype=one.datatype, shape=one.shape, label_filename=one.label_filename
                )
                for one in outputs
            ),
            # Triton's default: an ensemble without it has no batch dimension.
            max_batch_size=proto.max_batch_size,
            versions=versions,
        )
        return pipeline_model(override(config, own, source="") if own else config)
    except ConfigError as error:
        raise ConfigError(error.problem, key=_triton_key(error.key)) from error


def _set_of(proto: Any) -> list[str]:
    return [field.name for field, _ in proto.ListFields() if field.name in _IGNORED]


def _steps(proto: Any, wanted: set[str], warnings: list[str]) -> tuple[StepConfig, ...]:
    used = wanted | {tensor for step in proto.ensemble_scheduling.step for tensor in step.input_map.values()}
    steps: list[StepConfig] = []
    for index, step in enumerate(proto.ensemble_scheduling.step):
        key = f"step[{index}]"
        dropped = sorted(name for name, tensor in step.output_map.items() if tensor not in used)
        for name in dropped:
            warnings.append(f"{_STEP}[{index}].output_map['{name}'] is ignored: nothing uses its tensor")
        if step.model_version < -1:
            raise ConfigError(f"expected a version, or -1 for the latest, got {step.model_version}", key=key)
        is_named = step.model_name not in {one.name for one in steps}
        try:
            made = StepConfig(
                step.model_name,
                step.model_name if is_named else f"{step.model_name} ({index})",
                None if step.model_version in _LATEST else step.model_version,
                dict(sorted(step.input_map.items())),
                {name: tensor for name, tensor in sorted(step.output_map.items()) if name not in dropped},
            )
        except ConfigError as error:
            raise error.within(key) from error
        steps.append(made)
    return tuple(steps)


def _triton_key(key: str) -> str:
    if not key.startswith("step"):
        return key.replace("].tensor", "].name")  # its outputs are called as their tensors
    for ours, theirs in _MAPS.items():
        key = key.replace(ours, theirs)
    return f"ensemble_scheduling.{key}"
