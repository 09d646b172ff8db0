"""Writes a choice into the model's folder: its `model.toml`, and a variant as its next version."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from falaj._core import InternalError
from falaj.features.durable import put
from falaj.server.tuning.model_toml import with_keys
from falaj.server.tuning.setting import ORIGINAL, Setting
from falaj.server.tuning.subject import Subject

if TYPE_CHECKING:
    from falaj.training.optimize.optimize import Sound


@dataclass(frozen=True)
class Written:
    """Files and folders that are new, and what to know about them."""

    paths: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def toml_of(subject: Subject, setting: Setting) -> str:
    """Return what the `model.toml` is to say. Raises ConfigError where it cannot be edited safely."""
    return with_keys(subject.toml_text(), setting.keys(), where=str(subject.toml))


def write(subject: Subject, setting: Setting, sound: "Sound | None") -> Written:
    """Write it, each file whole or not at all; a variant first, because the setting was measured with it.

    Raises:
        ConfigError: The `model.toml` cannot be edited safely. Nothing is written.
        TrainingError, InternalError: The disk refuses.
    """
    text = toml_of(subject, setting)
    paths, notes = [], []
    if setting.variant != ORIGINAL:
        assert sound is not None
        from falaj.training.optimize.version import target_at, write_version

        kept = sound.keep(setting.variant)
        assert kept.model is not None
        paths.append(write_version(target_at(subject.version_folder()), kept.model, kept.report))
        if subject.config.versions.policy == "specific":
            notes.append(f"{subject.toml}: `versions` has to name version {paths[0].name} to have it served")
    made = subject.toml.with_name(f".{subject.toml.name}.new")
    try:
        made.write_text(text, encoding="utf-8")
        put(made, subject.toml)
    except OSError as error:
        raise InternalError(f"{subject.toml}: cannot be written: {error}") from error
    return Written((*paths, subject.toml), tuple(notes))
