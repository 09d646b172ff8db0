"""What a model says about its tensors, and what its configuration adds."""

from dataclasses import dataclass, replace

from falaj import _core
from falaj.server.errors import ConfigError
from falaj.server.model_config import InputConfig, OutputConfig


@dataclass(frozen=True)
class Tensor:
    """An input or output. `shape` includes the batch dimension; -1 is variable."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    symbols: tuple[str, ...] = ()
    optional: bool = False
    """An input that may be left out, or an output for those who ask: features that are looked up."""

    def with_shape(self, shape: tuple[int, ...]) -> "Tensor":
        """The same tensor with another shape; names of dimensions stay where the rank does."""
        return replace(self, shape=shape, symbols=self.symbols if len(shape) == len(self.shape) else ())

    def as_tuple(self) -> tuple[str, str, tuple[int, ...], bool]:
        """As the native core takes it."""
        return (self.name, self.datatype, self.shape, self.optional)


def of_backend(backend: _core.Backend) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and outputs as the model file declares them."""
    inputs = tuple(Tensor(*described) for described in backend.inputs)
    return inputs, tuple(Tensor(*described) for described in backend.outputs)


def check_configured(
    kind: str, tensors: tuple[Tensor, ...], configured: tuple[InputConfig | OutputConfig, ...], where: str
) -> None:
    """Compare what the configuration says with what the model has. Raises ConfigError."""
    by_name = {tensor.name: tensor for tensor in tensors}
    for index, config in enumerate(configured):
        path = f"{where}: `{kind}[{index}]`"
        tensor = by_name.get(config.name)
        if tensor is None:
            names = ", ".join(f"'{name}'" for name in by_name)
            raise ConfigError(f"{path}: the model has no {kind} '{config.name}'; it has {names}")
        if config.datatype is not None and config.datatype != tensor.datatype:
            raise ConfigError(
                f"{path}: '{config.name}' is {tensor.datatype} in the model, the configuration says "
                f"{config.datatype}"
            )
        if config.shape is not None and not _compatible(config.shape, tensor.shape):
            raise ConfigError(
                f"{path}: '{config.name}' has shape {list(tensor.shape)} in the model, the configuration "
                f"says {list(config.shape)}"
            )


def _compatible(configured: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(configured) == len(declared) and all(
        a == b or -1 in (a, b) for a, b in zip(configured, declared, strict=True)
    )
