"""The model that is tuned: its folder in a repository, and the version that is measured."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from falaj._core import InvalidInput, NotFound, Unsupported
from falaj.features.binding import BUNDLE, read_binding
from falaj.server.folder import folder_at, read_config, wanted_versions
from falaj.server.model_config import ModelConfig
from falaj.server.pipeline_config import PipelineModel
from falaj.training.next_version import is_version

_TOML, _PBTXT = "model.toml", "config.pbtxt"


@dataclass(frozen=True)
class Subject:
    """A model of a repository.

    Attributes:
        folder: Of the model.
        version: The one that is measured.
    """

    folder: Path
    version: int
    config: ModelConfig

    @property
    def name(self) -> str:
        """Its name, which is its folder's."""
        return self.folder.name

    @property
    def toml(self) -> Path:
        """Where its configuration is written."""
        return self.folder / _TOML

    def toml_text(self) -> str:
        """Return what its `model.toml` says; nothing where there is none."""
        return self.toml.read_text(encoding="utf-8") if self.toml.is_file() else ""

    def version_folder(self) -> Path:
        """The folder of the version that is measured."""
        return self.folder / str(self.version)

    def is_onnx(self) -> bool:
        """Whether it is a graph, rather than a python model. Raises NotFound where it is neither."""
        from falaj.server.loader import Source, model_file

        source = Source(self.name, self.version, self.version_folder(), self.config)
        return model_file(source).suffix != ".py"

    def in_copy(self, root: Path) -> Path:
        """Where its `model.toml` is in a repository that `copy_to` made."""
        return root / self.name / _TOML

    def copy_to(self, root: Path, model: Path | None) -> None:
        """Make a repository in `root` that has this model alone, without its `model.toml`.

        Args:
            model: A file in place of the version's `model.onnx`. The `bundle.json`, which knows the hash of
                the other, is left out then.
        """
        made = root / self.name
        if made.exists():
            shutil.rmtree(made)
        made.mkdir(parents=True)
        for path in self.folder.iterdir():
            if path.is_file() and path.name != _TOML:
                shutil.copyfile(path, made / path.name)
        shutil.copytree(self.version_folder(), made / str(self.version), copy_function=_link)
        if model is not None:
            here = made / str(self.version)
            (here / BUNDLE).unlink(missing_ok=True)
            (here / "model.onnx").unlink()
            _link(str(model), str(here / "model.onnx"))


def subject_at(path: Path) -> Subject:
    """Find the model: its folder, whose served version with the highest number it is, or a version's folder.

    Raises:
        NotFound: There is none.
        InvalidInput: It is configured by config.pbtxt, beside which a model.toml would be read alone.
        Unsupported: It is a pipeline, keeps state, answers several times, or looks features up, which needs
            the server's own stores.
        ConfigError: Its configuration is wrong.
    """
    path = path.absolute()
    folder, asked = (path.parent, int(path.name)) if is_version(path) else (path, None)
    if not folder.is_dir():
        raise NotFound(f"'{path}': expected a model's folder in a repository, or one of its versions")
    found = folder_at(folder, folder.name)
    config, _ = read_config(found)
    _refuse_what_no_load_asks(folder, config)
    if (folder / _PBTXT).is_file() and not (folder / _TOML).is_file():
        raise InvalidInput(
            f"'{folder}': is configured by {_PBTXT}, in place of which the {_TOML} that is written would be "
            f"read; write a {_TOML} that says the same first"
        )
    version = asked if asked is not None else max(wanted_versions(found.versions, config.versions))
    subject = Subject(folder, version, config)
    if not subject.version_folder().is_dir():
        raise NotFound(f"'{folder}': has no version {version}, it has {list(found.versions)}")
    if read_binding(subject.version_folder()) is not None:
        raise Unsupported(
            f"'{folder}': looks features up, which needs the stores of its server: set {_TOML} by hand, "
            "and measure with `falaj bench`"
        )
    return subject


def _refuse_what_no_load_asks(folder: Path, config: ModelConfig) -> None:
    """Raise Unsupported for models of which the rate of independent requests says nothing."""
    if isinstance(config, PipelineModel):
        steps = config.pipeline.step if config.pipeline is not None else ()
        models = ", ".join(f"'{folder.parent / name}'" for name in sorted({step.model for step in steps}))
        raise Unsupported(
            f"'{folder}': is a pipeline, which has no instances, threads or batches of its own: tune its "
            f"models: {models}"
        )
    if config.sequence is not None:
        raise Unsupported(
            f"'{folder}': keeps state ([sequence]), and the requests of a load belong to no sequence: set "
            f"`instances` and `max_batch_size` in its {_TOML} by hand"
        )
    if config.decoupled:
        raise Unsupported(
            f"'{folder}': answers a request any number of times (`decoupled`), so that requests a second say "
            f"nothing of it: set `instances` in its {_TOML}, which is how many streams run at a time"
        )


def _link(source: str, target: str) -> None:
    """A second name for the same file where the disk allows, which weights of gigabytes are glad of."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
