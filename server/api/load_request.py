"""What a load request's parameters ask for."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from falaj import _core
from falaj.server.override import Override
from falaj.server.triton_config import parse_config_json

_CONFIG = "config"
_FILE = "file:"


def read_load_parameters(name: str, parameters: Mapping[str, object], *, allow_code: bool) -> Override | None:
    """Return what the model is loaded with in place of its folder; None: its folder as it is.

    Args:
        name: The model's.
        parameters: `config`, a ModelConfig in JSON, and `file:<version>/<name>`, contents as bytes.
        allow_code: Whether files may be Python code, which then runs in the server.

    Raises:
        InvalidInput: another parameter, files without a configuration, or a configuration that is wrong.
        Unsupported: Python code where it is not allowed.
    """
    files: dict[str, bytes] = {}
    for key, value in parameters.items():
        if key.startswith(_FILE):
            if not isinstance(value, bytes):
                raise _core.InvalidInput(f"load parameter '{key}': expected the contents of a file")
            files[key.removeprefix(_FILE)] = value
        elif key != _CONFIG:
            raise _core.InvalidInput(
                f"load parameter '{key}' is unknown; expected config or file:<version>/<name>"
            )
    text = parameters.get(_CONFIG)
    if text is None and files:
        raise _core.InvalidInput("load parameter 'config' is missing; it is needed beside files")
    if text is None:
        return None
    if not isinstance(text, str):
        raise _core.InvalidInput("load parameter 'config': expected a ModelConfig as text in JSON")
    code = next((path for path in files if PurePosixPath(path).suffix == ".py"), None)
    if code is not None and not allow_code:
        raise _core.Unsupported(
            f"load parameter 'file:{code}': Python code is loaded from the repository's folder only"
        )
    config, warnings = parse_config_json(text, source="config", model_name=name)
    return Override(config, tuple(warnings), files)
