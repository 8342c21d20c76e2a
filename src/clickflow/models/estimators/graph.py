"""A builder of ONNX graphs, node by node; each part of an estimator adds its own nodes."""

from typing import Any

import numpy as np

OPSET, ML_OPSET, IR = 17, 3, 8
"""What onnxruntime has read for years; trees need nothing newer."""
INPUT, OUTPUT = "features", "answers"
FLOAT, DOUBLE = 1, 11
"""What ONNX's TensorProto calls single and double precision."""


class Graph:
    """Nodes and constants in order; every method returns the name of a value of the graph, [N, …] float32 where no
    type is named.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output."""
        from onnx import helper

        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], domain=domain, **attributes))
        return name

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        """A constant of the type `kind`."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def columns(self, value: str, indexes: list[int]) -> str:
        """These columns of a value [N, F]: [N, len(indexes)]."""
        return self.add("Gather", value, self.constant(indexes, np.int64), axis=1)

    def side_by_side(self, values: list[str]) -> str:
        """[N, a], [N, b], … as [N, a + b + …]."""
        return values[0] if len(values) == 1 else self.add("Concat", *values, axis=1)

    def total(self, values: list[str]) -> str:
        """The sum of values of one shape."""
        return values[0] if len(values) == 1 else self.add("Sum", *values)

    def mean(self, values: list[str]) -> str:
        """The mean of values of one shape."""
        return values[0] if len(values) == 1 else self.add("Mean", *values)

    def model(self, output: str, *, features: int, answers: int) -> bytes:
        """The bytes of the model: `features` [N, features] float32 to `answers` [N, answers] float32."""
        from onnx import TensorProto, checker, helper

        self.nodes.append(helper.make_node("Identity", [output], [OUTPUT]))
        graph = helper.make_graph(
            self.nodes,
            "estimator",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", features])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", answers])],
            initializer=self.constants,
        )
        imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=IR, producer_name="clickflow")
        checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content
