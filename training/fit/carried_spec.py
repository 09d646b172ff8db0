"""A specification on its way to another process."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from falaj.training.fit.spec import TrainSpec, read_spec


@dataclass(frozen=True)
class CarriedSpec:
    """A specification that can be pickled: functions of a Python file are read from it again.

    Attributes:
        values: Of the specification, without those functions.
        file: That has them; None where there are none, or where they are of a module.
    """

    values: dict[str, Any]
    file: str | None

    def spec(self) -> TrainSpec:
        """Return the specification; a Python file is run."""
        if self.file is None:
            return TrainSpec(**self.values)
        read = read_spec(Path(self.file))
        return TrainSpec(**self.values, build=read.build, space=read.space)


def carried(spec: TrainSpec) -> CarriedSpec:
    """Return a specification as it can be carried."""
    values = {each.name: getattr(spec, each.name) for each in fields(spec)}
    if not spec.origin.endswith(".py"):
        return CarriedSpec(values, None)
    del values["build"], values["space"]
    return CarriedSpec(values, spec.origin)
