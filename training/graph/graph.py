"""Grows an ONNX graph, node by node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, ValueInfoProto, checker, compose, helper, numpy_helper

from falaj.training.datatypes import dtype_of
from falaj.training.errors import TrainingError
from falaj.training.graph.target import Target
from falaj.training.original import ModelInput, ModelOutput

ML = "ai.onnx.ml"


def element_type(datatype: str) -> int:
    """Return ONNX's number of a datatype."""
    return int(helper.np_dtype_to_tensor_dtype(dtype_of(datatype)))


def value_info(one: ModelInput | ModelOutput) -> ValueInfoProto:
    """Describe an input or output of a graph; the first dimension is the rows."""
    return helper.make_tensor_value_info(one.name, element_type(one.datatype), ["rows", *one.shape])


class Growth:
    """Collects nodes and initializers, all of whose names begin with `prefix`."""

    def __init__(self, inputs: Sequence[ModelInput]) -> None:
        self._graph = GraphProto(name="falaj")
        self._graph.input.extend(map(value_info, inputs))
        self._prefix = "export/"
        while any(one.name.startswith(self._prefix) for one in inputs):
            self._prefix += "/"
        self._count = 0
        self._domains: list[str] = []
        self.opset: int | None = None
        self.ml_opset: int | None = None
        self.ir_version: int | None = None

    def node(
        self, operator: str, *inputs: str, domain: str = "", output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node of one output; return the output's name."""
        name = output or self._name(operator)
        if domain not in ("", ML):
            self._domains.append(domain)
        self._graph.node.append(
            helper.make_node(operator, list(inputs), [name], domain=domain, name=f"{name}_", **attributes)
        )
        return name

    def constant(self, values: Any, dtype: Any = None) -> str:
        """Add an array; return its name."""
        array: NDArray[Any] = np.asarray(values, dtype)
        name = self._name("constant")
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def embed(self, model: ModelProto, inputs: Mapping[str, str]) -> list[str]:
        """Add a whole model, whose versions the graph then has; return the names of its outputs.

        Args:
            model: One whose own names may be any.
            inputs: The tensor for each of its inputs.
        """
        inner = compose.add_prefix(model, f"{self._name('part')}/")
        weights = {weight.name for weight in inner.graph.initializer}
        wanted = [info.name for info in inner.graph.input if info.name not in weights]
        given = [info.name for info in model.graph.input if info.name in inputs]
        if len(wanted) != len(inputs) or len(given) != len(inputs):
            have = ", ".join(info.name for info in model.graph.input)
            raise TrainingError(f"graph: expected inputs {', '.join(inputs)}, the converter made {have}")
        for name, own in zip(wanted, given, strict=True):
            self.node("Identity", inputs[own], output=name)
        self._graph.node.extend(inner.graph.node)
        self._graph.initializer.extend(inner.graph.initializer)
        self._take_versions(inner)
        return [info.name for info in inner.graph.output]

    def _take_versions(self, model: ModelProto) -> None:
        if model.functions:
            raise TrainingError("graph: a model with functions of its own cannot be a part of another")
        self.ir_version = max(int(model.ir_version), self.ir_version or 0)
        for imported in model.opset_import:
            if imported.domain in ("", "ai.onnx"):
                self.opset = max(int(imported.version), self.opset or 0)
            elif imported.domain == ML:
                self.ml_opset = max(int(imported.version), self.ml_opset or 0)
            else:
                self._domains.append(imported.domain)

    def finish(self, outputs: Sequence[ModelOutput], target: Target) -> ModelProto:
        """Return the checked model.

        Args:
            outputs: Whose names are tensors of the graph.
            target: Whose versions are used where no part brought its own.
        """
        self._graph.output.extend(map(value_info, outputs))
        imports = [helper.make_opsetid("", self.opset or target.opset)]
        imports += [helper.make_opsetid(ML, self.ml_opset or target.ml_opset)]
        imports += [helper.make_opsetid(domain, 1) for domain in dict.fromkeys(self._domains)]
        model = helper.make_model(
            self._graph,
            opset_imports=imports,
            ir_version=max(target.ir_version, self.ir_version or 0),
            producer_name="falaj",
        )
        checker.check_model(model)
        return model

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}{what}_{self._count}"
