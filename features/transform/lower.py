"""A transform as nodes of an ONNX graph."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from falaj.features.errors import DefinitionError
from falaj.features.transform.evaluate import dtype_of, scalar
from falaj.features.transform.kernel import BY_ONNX_RUNTIME
from falaj.features.transform.program import SIGNED, Constant, Operand, Program, Step

# The first versions of ai.onnx that have what is used here, and that compare text.
OLDEST_OPSET, OLDEST_OPSET_WITH_TEXT = 13, 19
_NODES = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "negative": "Neg",
    "abs": "Abs",
    "sign": "Sign",
    "sqrt": "Sqrt",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "isnan": "IsNaN",
    "isinf": "IsInf",
    "equal": "Equal",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "logical_and": "And",
    "logical_or": "Or",
    "logical_xor": "Xor",
    "logical_not": "Not",
    **BY_ONNX_RUNTIME,
}


def element_type(datatype: str) -> int:
    """Return ONNX's number of a datatype."""
    if datatype == "BYTES":
        return int(TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(dtype_of(datatype)))


class Lowering:
    """Collects nodes and initializers, all of whose names begin with `prefix`."""

    def __init__(self, prefix: str, opset: int) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self._prefix, self._opset = prefix, opset

    def program(self, program: Program, inputs: dict[str, str], where: str) -> dict[str, str]:
        """Add a program's nodes; return the tensors, of shape [rows], of its outputs.

        Args:
            program: What to add.
            inputs: The tensor, of shape [rows], of each of its inputs.
            where: Named in errors.
        """
        tensors = [inputs[name] for name, _ in program.inputs]
        for step in program.steps:
            if step.operation == "equal" and program.datatype(step.operands[0]) == "BYTES":
                self._check_text(where)
            tensors.append(self._step(step, [self._operand(o, tensors) for o in step.operands], program))
        return {name: tensors[index] for name, index in program.outputs}

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node of one output; return its tensor."""
        name = output or f"{self._prefix}{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [name], name=f"{self._prefix}node{len(self.nodes)}", **attributes)
        )
        return name

    def constant(self, value: Any, datatype: str) -> str:
        """Return the tensor of a constant; the same for the same value."""
        array = np.asarray(value, dtype=dtype_of(datatype))
        name = f"{self._prefix}{datatype}{list(array.shape)}{array.tolist()!r}"
        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def _operand(self, operand: Operand, tensors: list[str]) -> str:
        if isinstance(operand, Constant):
            return self.constant(scalar(operand), operand.datatype)
        return tensors[operand]

    def _step(self, step: Step, tensors: list[str], program: Program) -> str:
        if step.operation == "astype":
            return self.node("Cast", tensors[0], to=element_type(step.datatype))
        if step.operation == "where":
            return self._where(*tensors)
        if step.operation == "floor_divide":
            return self._floor_divide(tensors[0], tensors[1], step.datatype)
        if step.operation in ("add", "subtract", "multiply", "divide"):
            tensors = [
                self._spread(tensor, tensors[1 - at]) if _looks_idle(step, at) else tensor
                for at, tensor in enumerate(tensors)
            ]
        return self.node(_NODES[step.operation], *tensors)

    def _spread(self, constant: str, column: str) -> str:
        return self.node("Expand", constant, self.node("Shape", column))

    def _where(self, condition: str, chosen: str, other: str) -> str:
        # ONNX Runtime's Where makes 0.0 of -0.0, and has not every datatype; gathering moves the bytes.
        rows = self.node("Shape", condition)
        first = self.constant([0], "INT64")
        pair = [self.node("Unsqueeze", self.node("Expand", of, rows), first) for of in (other, chosen)]
        table = self.node("Concat", *pair, axis=0)
        index = self.node("Unsqueeze", self.node("Cast", condition, to=TensorProto.INT64), first)
        return self.node("Squeeze", self.node("GatherElements", table, index, axis=0), first)

    def _floor_divide(self, column: str, divisor: str, datatype: str) -> str:
        quotient = self.node("Div", column, divisor)
        if datatype not in SIGNED:
            return quotient
        rest = self.node("Sub", column, self.node("Mul", quotient, divisor))
        below = self.node("Less", rest, self.constant(0, datatype))
        return self.node("Sub", quotient, self.node("Cast", below, to=element_type(datatype)))

    def _check_text(self, where: str) -> None:
        if self._opset < OLDEST_OPSET_WITH_TEXT:
            raise DefinitionError(
                f"{where}: compares BYTES, for which the model must be of ai.onnx "
                f"{OLDEST_OPSET_WITH_TEXT} or newer, got {self._opset}"
            )


def _looks_idle(step: Step, at: int) -> bool:
    """Whether ONNX Runtime might drop an operation for what this operand is.

    It takes x + 0.0 for x, which it is not where x is -0.0, and rounds constants to FP32 to find such:
    so 1e-46 is 0, and 1 + 1e-9 is 1. A constant that becomes a column while it runs is left alone.
    """
    operand = step.operands[at]
    if not isinstance(operand, Constant) or step.datatype not in ("FP32", "FP64"):
        return False
    idle = 0.0 if step.operation in ("add", "subtract") else 1.0
    return abs(float(operand.text) - idle) < 2.0**-20
