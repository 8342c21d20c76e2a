"""An exported graph that answers at every step of a history, reduced to answer at the last one alone.

An exported network answers at any step of a window, so it makes what every step looks back at. Who asks a served model
asks at one step of each history, the last. Then attention is one row a history, and not one for each step, and what is
made of a step is made once. The numbers are picked as far up in the graph as they can be (`_Narrow.of`); what cannot be
followed stays as it is. Whoever uses such a graph holds it against the whole one first (`same`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.online.parts import Piece

ROW, COLUMN, ITEM = "row", "column", "item"
BY_NUMBER = {
    *("Add", "And", "Cast", "Clip", "Div", "Equal", "Erf", "Exp", "Greater", "GreaterOrEqual", "Identity", "IsInf"),
    *("Less", "LessOrEqual", "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pow", "Relu", "Sigmoid", "Softplus"),
    *("Sqrt", "Sub", "Tanh", "Where"),
}
"""Operators on each number by itself, of tensors that are spread over each other."""
ALONG = {"Softmax", "LogSoftmax", "LayerNormalization"}
"""Operators along one axis, or from it on."""
REDUCED = {"ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"}
CHECKED, STEPS, NEAR = 3, 4, 1e-4
"""Histories and steps by which a graph is held against another, and how near all numbers have to be."""


def checked(whole: Piece, tables: Mapping[str, int], held: Mapping[str, Any], known: int, where: Path) -> Piece | None:
    """What `last` makes of a piece, if it gives the `same`; None where it does not, or nothing is gained."""
    try:
        graph = last(whole.graph, {name: ("windows", "steps", width) for name, width in tables.items()})
        if graph is None:
            return None
        narrow = Piece(graph, whole.held)
        first, second = (each.opened(threads=1, where=where) for each in (whole, narrow))
        return narrow if same(first, second, {name: held[name] for name in whole.held}, tables, known) else None
    except Exception:  # onnxruntime has a class of its own for every fault; the whole graph is there
        return None


def last(model: bytes, shapes: Mapping[str, Sequence[int | str]]) -> bytes | None:
    """The graph of `model` for questions of which the k-th is about the k-th window; None where nothing can be gained.
    `shapes`: of inputs whose shapes it does not say.
    """
    import onnx

    whole = onnx.load_from_string(model)
    if not {ROW, COLUMN, ITEM} <= {each.name for each in whole.graph.input}:
        return None
    narrowed = _Narrow(whole, shapes).narrowed()
    return None if narrowed is None else narrowed.SerializeToString()


def same(whole: Any, narrow: Any, given: Mapping[str, npt.NDArray[Any]], tables: Mapping[str, int], known: int) -> bool:
    """Whether two sessions, of a graph and of what `last` made of it, give the same for some drawn histories. `given`:
    the constants they are fed; `tables`: the numbers in the vectors of items that they are fed, by input.
    """
    draw = np.random.default_rng(0)
    kinds = {"tensor(int64)": np.int64, "tensor(float)": np.float32, "tensor(int32)": np.int32}
    feed: dict[str, Any] = dict(given)
    for each in whole.get_inputs():
        if each.name in tables:
            feed[each.name] = draw.standard_normal((CHECKED, STEPS, tables[each.name])).astype(np.float32)
        elif each.name not in feed:
            most = known if each.name == ITEM else 2
            width = each.shape[1] if len(each.shape) > 1 and isinstance(each.shape[1], int) else STEPS
            feed[each.name] = draw.integers(0, most, (CHECKED, width)).astype(kinds[each.type])
    feed[ITEM][1, -1] = feed[ITEM][1, 0]  # one that comes back
    feed[ROW], feed[COLUMN] = np.arange(CHECKED), np.array([0, STEPS - 1, 1])[:CHECKED]
    names = [each.name for each in whole.get_outputs()]
    return all(
        one.shape == other.shape and np.allclose(one, other, rtol=NEAR, atol=NEAR)
        for one, other in zip(whole.run(names, feed), narrow.run(names, feed), strict=True)
    )


class _Narrow:
    """A graph, and what is made of it for one step of each window."""

    def __init__(self, model: Any, shapes: Mapping[str, Sequence[int | str]]) -> None:
        import onnx
        from onnx import numpy_helper

        self.model = model
        self.nodes = list(model.graph.node)
        self.by = {name: node for node in self.nodes for name in node.output}
        self.held = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer if _small(each)}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.held[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        said = onnx.ModelProto()
        said.CopyFrom(model)
        for each in said.graph.input:
            if each.name in shapes:
                kind = each.type.tensor_type.elem_type
                each.CopyFrom(onnx.helper.make_tensor_value_info(each.name, kind, shapes[each.name]))
        graph = onnx.shape_inference.infer_shapes(said).graph
        self.dims: dict[str, list[int | str]] = {
            each.name: [dim.dim_value or dim.dim_param for dim in each.type.tensor_type.shape.dim]
            for each in (*graph.value_info, *graph.input, *graph.output)
            if each.type.tensor_type.HasField("shape")
        }
        for each in model.graph.initializer:
            self.dims[each.name] = list(each.dims)
        for name, value in self.held.items():
            self.dims[name] = list(value.shape)
        self.fresh: list[Any] = []
        self.picked: dict[tuple[str, int], str | None] = {}

    def narrowed(self) -> Any:
        """The model; None where nothing of it is asked at one step."""
        import onnx

        gone: dict[str, str] = {}
        for node in self.nodes:
            if node.op_type == "Gather" and _axis(node) == 0 and (flat := self.by.get(node.input[0])) is not None:
                value = self._picked(node, flat) if flat.op_type == "Flatten" else None
                if value is not None:
                    gone[node.output[0]] = value
        if not gone:
            return None
        steps = self._steps()
        for node in self.nodes:  # who asks for a shape alone is told it without the numbers
            if node.op_type == "Shape" and not node.attribute and (narrow := self.picked.get((node.input[0], 1))):
                ones = [np.array([1], np.int64)] * len(self.dims[node.input[0]])
                parts: list[Any] = [self._constant(each) for each in ones]
                parts[1] = steps
                every = self._node("Concat", parts, axis=0)
                gone[node.output[0]] = self._node("Mul", [self._node("Shape", [narrow]), every])
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        del model.graph.node[:]
        model.graph.node.extend(self._ordered(gone))
        read = {name for node in model.graph.node for name in node.input}
        kept = [each for each in model.graph.initializer if each.name in read]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        return model

    def _ordered(self, gone: Mapping[str, str]) -> list[Any]:
        """The nodes that the outputs need, each after what it reads."""
        by = dict(self.by) | {name: node for node in self.fresh for name in node.output}
        done: dict[int, Any] = {}
        waiting = [(each.name, False) for each in self.model.graph.output]
        while waiting:
            name, ready = waiting.pop()
            node = by.get(name)
            if node is None or id(node) in done:
                continue
            if not ready:
                for place, each in enumerate(node.input):
                    node.input[place] = gone.get(each, each)
                waiting += [(name, True), *((each, False) for each in node.input)]
            else:
                done[id(node)] = node
        return list(done.values())

    def _picked(self, node: Any, flat: Any) -> str | None:
        """What stands in the place of `x[row, column]`, or of `x[row, column, at]`, where `node` picks it of `flat`."""
        source, axis = flat.input[0], _axis(flat, 1)
        terms = self._terms(node.input[1])
        if axis == 2 and len(terms) == 2 and self._is_place(terms, source):
            narrow = self.of(source, 1)
            return None if narrow is None else self._node("Flatten", [narrow], axis=2)
        if axis == 3 and len(terms) == 3 and len(self.dims.get(source, ())) == 3:
            rest = self._is_place_within(terms, source)
            narrow = self.of(source, 1) if rest else None
            if rest is None or narrow is None:
                return None
            wide = self._node("Gather", [self._node("Shape", [narrow]), self._constant(np.array(2, np.int64))], axis=0)
            row = self._node("Unsqueeze", [ROW, self._constant(np.array([1], np.int64))])
            at = self._node("Add", [rest, self._node("Mul", [row, wide])])
            return self._node("Gather", [self._node("Flatten", [narrow], axis=3), at], axis=0)
        return None

    def _terms(self, name: str) -> list[str]:
        node = self.by.get(name)
        if node is None or node.op_type != "Add":
            return [name]
        return [term for each in node.input for term in self._terms(each)]

    def _is_place(self, terms: Sequence[str], source: str) -> bool:
        """Whether the terms are `column` and `row` times the steps of `source`."""
        others = [self._factors(term) for term in terms if term != COLUMN]
        return len(others) == 1 and ROW in others[0] and self._are_sizes(others[0], ROW, source, [1])

    def _is_place_within(self, terms: Sequence[str], source: str) -> str | None:
        """As `_is_place`, one axis further; what is left of the terms, the place in that axis."""
        rest, met = [], set()
        for term in terms:
            factors = self._factors(term)
            for name, sizes in ((COLUMN, [2]), (ROW, [1, 2])):
                own = [each for each in factors if self._spread(each) == name]
                if own and self._are_sizes(factors, own[0], source, sizes):
                    met.add(name)
                    break
            else:
                rest.append(term)
        return rest[0] if met == {ROW, COLUMN} and len(rest) == 1 else None

    def _spread(self, name: str) -> str:
        node = self.by.get(name)
        return str(node.input[0]) if node is not None and node.op_type == "Unsqueeze" else ""

    def _factors(self, name: str) -> list[str]:
        node = self.by.get(name)
        if node is None or node.op_type != "Mul":
            return [name]
        return [factor for each in node.input for factor in self._factors(each)]

    def _are_sizes(self, factors: Sequence[str], but: str, source: str, axes: Sequence[int]) -> bool:
        """Whether the factors are `but` and the sizes of these axes of `source`."""
        sized_axes = []
        for each in factors:
            node = self.by.get(each)
            if each == but:
                continue
            shape = self.by.get(node.input[0]) if node is not None and node.op_type == "Gather" else None
            if node is None or shape is None or shape.op_type != "Shape" or shape.input[0] != source:
                return False
            place = self.held.get(node.input[1])
            if place is None or place.size != 1:
                return False
            sized_axes.append(int(place.ravel()[0]))
        return sorted(sized_axes) == sorted(axes) and len(sized_axes) == len(factors) - 1

    def of(self, name: str, axis: int) -> str | None:
        """A tensor [B, ..., T, ...] at the asked step of `axis`, which has size 1 then; None: it cannot be picked."""
        key = (name, axis)
        if key not in self.picked:
            self.picked[key] = self._picked_from(name, axis) or self._here(name, axis)
        return self.picked[key]

    def _here(self, name: str, axis: int) -> str | None:
        """Picked of its numbers."""
        dims = self.dims.get(name)
        if axis != 1 or dims is None or len(dims) < 2 or dims[0] == 1 or dims[1] == 1 or name in self.held:
            return None
        place = self._node("Unsqueeze", [COLUMN, self._constant(np.array([1, 2], np.int64))])
        return self._node("GatherND", [name, place], batch_dims=1)

    def _picked_from(self, name: str, axis: int) -> str | None:
        """Picked from what its node reads."""
        node, dims = self.by.get(name), self.dims.get(name)
        if node is None or dims is None or len(node.output) != 1:
            return None
        rank, kind = len(dims), node.op_type
        if kind in BY_NUMBER:
            inputs = [self._spread_of(each, axis, rank) for each in node.input]
            return None if None in inputs else self._again(node, inputs)
        if kind in ALONG:
            along = _axis(node, -1) % rank
            if axis == along or (kind == "LayerNormalization" and axis > along):
                return None
            return self._first(node, axis)
        if kind == "MatMul":
            own, other = (self.dims.get(each) for each in node.input)
            if axis != rank - 2 or own is None or other is None or len(own) != rank or len(other) not in (2, rank):
                return None
            return self._first(node, axis)
        if kind == "Concat":
            if axis == _axis(node) % rank:
                return None
            inputs = [self.of(each, axis) for each in node.input]
            return None if None in inputs else self._again(node, inputs)
        if kind == "ConstantOfShape":
            shape = self.by.get(node.input[0])
            source = self.of(shape.input[0], axis) if shape is not None and shape.op_type == "Shape" else None
            return None if source is None else self._again(node, [self._node("Shape", [source])])
        before = self._axis_before(node, axis, rank)
        return None if before is None else self._first(node, before)

    def _axis_before(self, node: Any, axis: int, rank: int) -> int | None:
        """Where `axis` of what a node gives stands in what it reads first; None where that is not known."""
        kind, given = node.op_type, self.dims.get(node.input[0])
        if given is None:
            return None
        if kind == "Transpose":
            (perm,) = ([*each.ints] for each in node.attribute if each.name == "perm")
            return int(perm[axis]) if perm[0] == 0 else None
        if kind == "Gather":  # one of the numbers of an axis behind
            place = self.held.get(node.input[1])
            return axis if place is not None and place.ndim < 2 and _axis(node) % len(given) > axis else None
        if kind == "Slice":
            axes = self.held.get(node.input[3]) if len(node.input) > 3 else None
            return axis if axes is not None and axis not in {int(each) % rank for each in axes.ravel()} else None
        if kind == "Unsqueeze":
            axes = self.held.get(node.input[1])
            own = None if axes is None else {int(each) % rank for each in axes.ravel()}
            return None if own is None or axis in own or 0 in own else axis - sum(each < axis for each in own)
        if kind in REDUCED:
            said = {each.name: each for each in node.attribute}
            ints = (
                [*said["axes"].ints]
                if "axes" in said
                else self.held.get(node.input[1])
                if len(node.input) > 1
                else None
            )
            if ints is None:
                return None
            own = {int(each) % len(given) for each in np.ravel(ints)}
            if "keepdims" not in said or said["keepdims"].i:
                return None if axis in own or 0 in own else axis
            kept = [each for each in range(len(given)) if each not in own]
            return kept[axis] if kept[0] == 0 else None
        return None

    def _spread_of(self, name: str, axis: int, rank: int) -> str | None:
        """What an operator on each number reads, for `axis` of what it gives."""
        if not name:
            return name
        dims = self.dims.get(name)
        if dims is None:
            return None
        own = axis - (rank - len(dims))
        if own < 0 or dims[own] == 1:
            return name
        if own > 0:
            return self.of(name, own)
        if axis != 1:
            return None
        key = (name, 0)
        if key not in self.picked:  # the same for all windows: a row of each step
            row = self._node("Gather", [name, COLUMN], axis=0)
            self.picked[key] = self._node("Unsqueeze", [row, self._constant(np.array([1], np.int64))])
        return self.picked[key]

    def _first(self, node: Any, axis: int) -> str | None:
        source = self.of(node.input[0], axis)
        return None if source is None else self._again(node, [source, *node.input[1:]])

    def _again(self, node: Any, inputs: Sequence[str | None]) -> str:
        import onnx

        again = onnx.NodeProto()
        again.CopyFrom(node)
        del again.input[:], again.output[:]
        again.input.extend(each or "" for each in inputs)
        return self._added(again)

    def _node(self, kind: str, inputs: Sequence[str], **said: Any) -> str:
        import onnx

        return self._added(onnx.helper.make_node(kind, list(inputs), [], **said))

    def _constant(self, value: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        return self._node("Constant", [], value=numpy_helper.from_array(value))

    def _added(self, node: Any) -> str:
        name = f"/asked/{len(self.fresh)}"
        node.name = name
        node.output.append(name)
        self.fresh.append(node)
        return name

    def _steps(self) -> str:
        """How many steps a window has, [1]."""
        one, two = (self._constant(np.array([each], np.int64)) for each in (1, 2))
        return self._node("Slice", [self._node("Shape", [ITEM]), one, two])


def _axis(node: Any, usual: int = 0) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "axis"), usual)


def _small(tensor: Any) -> bool:
    """Whether it can be an axis or a size."""
    return len(tensor.dims) < 2 and int(np.prod(tensor.dims)) <= 8
