"""What the server and a model are, as the protocol's metadata tells it."""

from collections.abc import Sequence
from typing import Any

from falaj import _core
from falaj.server.loader import LoadedVersion
from falaj.server.tensors import Tensor

# Named as Triton names them: clients look for these words.
_ALWAYS = ("classification", "sequence", "sequence(string_id)", "model_configuration", "model_repository")
_IF_CHANGED = ("model_repository(unload_dependents)",)
_REST = ("schedule_policy", "statistics", "binary_tensor_data", "parameters")
_IF_LOGGED = ("logging",)
_IF_TRACED = ("trace",)
_IF_SHARED = ("system_shared_memory",)


def server_metadata(
    name: str, *, changes: bool, logging: bool, tracing: bool, shared_memory: bool
) -> dict[str, Any]:
    """Return name, version and extensions; only those that are served."""
    extensions = [*_ALWAYS, *(_IF_CHANGED if changes else ()), *_REST]
    extensions += [*(_IF_TRACED if tracing else ()), *(_IF_LOGGED if logging else ())]
    extensions += _IF_SHARED if shared_memory else ()
    return {"name": name, "version": _core.__version__, "extensions": extensions}


def model_metadata(loaded: LoadedVersion, versions: Sequence[int]) -> dict[str, Any]:
    """Return what one version takes and gives; shapes include the batch dimension."""
    return {
        "name": loaded.name,
        "versions": [str(version) for version in versions],
        "platform": loaded.platform,
        "inputs": [_tensor(tensor) for tensor in loaded.inputs],
        "outputs": [_tensor(tensor) for tensor in loaded.outputs],
    }


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
