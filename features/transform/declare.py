"""The declaration of a transform."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from falaj.features.entity import check_name
from falaj.features.errors import DefinitionError
from falaj.features.transform.array import Array
from falaj.features.transform.namespace import Namespace
from falaj.features.transform.program import ANY, Program, pruned, used


@dataclass(frozen=True)
class Transform:
    """A function of request inputs and feature columns, row by row.

    Args:
        name: Of the function.
        program: What it does; the function itself is not called again.
    """

    name: str
    program: Program

    @property
    def inputs(self) -> dict[str, str]:
        """Return the datatypes of what it takes."""
        return dict(self.program.inputs)

    @property
    def outputs(self) -> dict[str, str]:
        """Return the datatypes of what it gives."""
        return {name: self.program.datatype(index) for name, index in self.program.outputs}

    @property
    def identity(self) -> str:
        """Return the SHA-256, in hex, of what it takes, does and gives, however its source is written."""
        return self.program.content_hash()

    def __call__(self, **columns: Any) -> dict[str, Any]:
        """Return the outputs, as NumPy arrays.

        Args:
            columns: Each input by its name, an array of its datatype and shape [rows]; BYTES as str.

        Raises:
            DataError: One is absent, too many, or of another datatype or shape.
        """
        from falaj.features.transform.evaluate import evaluate

        return evaluate(self.program, columns, f"transform {self.name!r}")

    def __str__(self) -> str:
        return f"transform {self.name!r}"


def transform(
    inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> Callable[[Callable[..., Any]], Transform]:
    """Make a transform of a function `f(xp, *inputs)` that gives an array, or a tuple for several outputs.

    It is called once, here, with arrays that have no values yet and write down what is done with them.

    Args:
        inputs: The datatype of each parameter after `xp`.
        outputs: The datatype of each result.

    Raises:
        DefinitionError: It does what is not proved equal in training and serving, or gives something else.
    """

    def declare(function: Callable[..., Any]) -> Transform:
        name = getattr(function, "__name__", str(function))
        where = f"transform {name!r}"
        _check_signature(function, inputs, outputs, where)
        xp = Namespace(where, len(inputs))
        given = [Array(index, datatype, xp) for index, datatype in enumerate(inputs.values())]
        result = function(xp, *given)
        results = result if isinstance(result, tuple) else (result,)
        _check_results(results, outputs, xp)
        named = tuple((output, array.index) for output, array in zip(outputs, results, strict=True))
        program = pruned(Program(tuple(inputs.items()), tuple(xp.steps), named))
        for index in set(range(len(inputs))) - used(program):
            raise DefinitionError(f"{where}: input {list(inputs)[index]!r} decides nothing in the outputs")
        return Transform(name, program)

    return declare


def _check_signature(
    function: Callable[..., Any], inputs: Mapping[str, str], outputs: Mapping[str, str], where: str
) -> None:
    for kind, columns in (("input", inputs), ("output", outputs)):
        if not columns:
            raise DefinitionError(f"{where}: {kind}s: expected at least one")
        for name, datatype in columns.items():
            check_name(name, f"{where}, {kind} {name!r}")
            if datatype not in ANY:
                raise DefinitionError(
                    f"{where}, {kind} {name!r}: expected one of {', '.join(ANY)}, got {datatype!r}"
                )
    for name in outputs:
        if name in inputs:
            raise DefinitionError(f"{where}, output {name!r}: is already an input")
    expected, got = ["xp", *inputs], list(inspect.signature(function).parameters)
    if got != expected:
        raise DefinitionError(f"{where}: expected the parameters {', '.join(expected)}, got {', '.join(got)}")


def _check_results(results: tuple[object, ...], outputs: Mapping[str, str], xp: Namespace) -> None:
    where = xp.where_declared
    if len(results) != len(outputs):
        raise DefinitionError(f"{where}: expected {len(outputs)} outputs, got {len(results)}")
    for (name, datatype), array in zip(outputs.items(), results, strict=True):
        if not isinstance(array, Array):
            raise DefinitionError(f"{where}, output {name!r}: expected a column, got {array!r}")
        if array.xp is not xp:
            raise DefinitionError(f"{where}, output {name!r}: is a column of {array.xp.where_declared}")
        if array.dtype != datatype:
            raise DefinitionError(
                f"{where}, output {name!r}: expected {datatype}, got {array.dtype}; use xp.astype"
            )
