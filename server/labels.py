"""Names of a classifier's classes: one a line in a text file beside the versions."""

from pathlib import Path

from falaj import _core
from falaj.server.errors import ConfigError
from falaj.server.model_config import OutputConfig

_LARGEST = 16 << 20  # bytes; a vocabulary of a million words is smaller


def read_labels(model: str, folder: Path, outputs: tuple[OutputConfig, ...]) -> dict[str, list[str]]:
    """Return the labels of each output that has some; the line's number from 0 is the class.

    `folder` is the model's, where `label_filename` is looked for. Raises ConfigError for a name that leads
    out of it, NotFound where there is no such file, InvalidInput where it is not UTF-8 or larger than 16 MiB.
    """
    labels = {}
    for index, output in enumerate(outputs):
        if output.label_filename is None:
            continue
        where = f"{model}: `output[{index}].label_filename`"
        path = (folder / output.label_filename).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ConfigError(
                f"{where}: expected a file in the model's folder, got '{output.label_filename}'"
            )
        if not path.is_file():
            raise _core.NotFound(f"{where}: there is no file '{output.label_filename}' in the model's folder")
        if path.stat().st_size > _LARGEST:
            raise _core.InvalidInput(f"{where}: '{output.label_filename}' is larger than 16 MiB")
        try:
            labels[output.name] = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise _core.InvalidInput(f"{where}: '{output.label_filename}' is not UTF-8: {error}") from error
    return labels
