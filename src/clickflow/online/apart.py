"""A network's graph taken apart: what reads histories and what mixes answers stay graphs, what scores all items becomes
a table. Nothing is asked of the export: the cuts are found in its graph, and a graph that has another shape is left.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact import int8
from clickflow.online import narrow
from clickflow.online.parts import Array, Make, Mixer, Parts, Piece, Said
from clickflow.online.table import eight_bits
from clickflow.sequences.indexes import FIRST_ITEM

Floats = npt.NDArray[np.float32]

REDUCED = ("ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceSum")
BY_COLUMN = {
    *REDUCED,
    "Add",
    "And",
    "Cast",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Exp",
    "Expand",
    "Gather",
    "GatherElements",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "IsInf",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Range",
    "Reshape",
    "ScatterElements",
    "Shape",
    "Sub",
    "Unsqueeze",
    "Squeeze",
    "Where",
}
"""Operators of a graph that mixes answers; of these LogSoftmax alone goes over all items, whose sum is kept."""


def parts(model: bytes, held: Mapping[str, Array], known: int, make: Make, where: Path) -> Parts | None:
    """A model with so many items (`weights.light`) taken apart; None where its graph is not one of those that can be.
    What is made of its constants goes where `make` says; what of `held` the parts read themselves, they are given.
    """
    import onnx

    whole = int8.with_float_products(onnx.load_from_string(model))
    graph = _Graph(whole, held)
    products = graph.products(known)
    if not products:
        return None
    mixed = graph.after({node.output[0] for node in products})
    types = {name: each.elem_type for name, each in graph.tensors.items()}
    mixers: dict[str, Mixer] = {}
    for output in [each for each in graph.outputs if each in mixed]:
        mixing = graph.mixing(output, mixed, known)
        if mixing is None:
            return None
        own = graph.part({name: types[name] for names in mixing for name in names}, {output: types[output]})
        if own.held:
            return None
        scores, indexes, others = (tuple(names) for names in mixing)
        mixers[output] = Mixer(scores, indexes, others, own)
    gathers = [node for node in graph.nodes if _reads_items(graph, node, known)]
    sources = {node.output[0]: graph.table_of(node.input[1]) for node in products}
    names = dict.fromkeys([*sources.values(), *(node.input[0] for node in gathers)])
    tables = {name: f"table{place}" for place, name in enumerate(names)}
    vectors = {table: graph.table(name, table, make, where) for name, table in tables.items()}
    scored = dict.fromkeys(tables[name] for name in sources.values())
    wanted = [each for each in graph.outputs if each not in mixers]
    wanted += [node.input[0] for node in products]
    wanted += [each for mixer in mixers.values() for each in (*mixer.indexes, *mixer.others)]
    vectors_of = {node.output[0]: tables[node.input[0]] for node in gathers}
    inputs = {each.name: each.type.tensor_type.elem_type for each in whole.graph.input}
    reader = graph.part(
        inputs | dict.fromkeys(vectors_of, onnx.TensorProto.FLOAT),
        {each: types[each] for each in dict.fromkeys(wanted)},
    )
    widths = {name: vectors[table].shape[1] for name, table in vectors_of.items()}
    return Parts(
        reader=reader,
        last=narrow.checked(reader, widths, held, known, where),
        vectors=vectors_of,
        queries={node.output[0]: (node.input[0], tables[sources[node.output[0]]]) for node in products},
        scans={name: eight_bits(vectors[name], FIRST_ITEM, name, make) for name in scored},
        mixers=mixers,
        inputs=tuple(Said(name, f"tensor({NAMES.get(kind, kind)})") for name, kind in inputs.items()),
        outputs=tuple(Said(each, shape=(None, graph.width(each))) for each in graph.outputs),
        known=known,
    )


NAMES = {1: "float", 3: "int8", 6: "int32", 7: "int64", 11: "double"}
"""onnxruntime's names of types, by ONNX's numbers."""


class _Graph:
    """A graph, and what follows from what."""

    def __init__(self, model: Any, large: Mapping[str, Array]) -> None:
        """`large`: the constants whose numbers are not in the model."""
        self.model, self.large = model, large
        self.nodes = list(model.graph.node)
        self.held = {each.name: each for each in model.graph.initializer}
        self.maker = {name: node for node in self.nodes for name in node.output}
        self.outputs = [each.name for each in model.graph.output]
        self.fixed = set(self.held)
        """What no input changes."""
        for node in self.nodes:
            if all(name in self.fixed or not name for name in node.input):
                self.fixed.update(node.output)

    def products(self, known: int) -> list[Any]:
        """The nodes that score all items: products with a transposed table."""
        products = []
        for node in self.nodes:
            if node.op_type == "MatMul" and node.input[0] not in self.fixed and node.input[1] in self.fixed:
                maker = self.maker.get(node.input[1])
                if maker is not None and maker.op_type == "Transpose" and self.of_items(maker.input[0], known):
                    products.append(node)
        return products

    def of_items(self, name: str, known: int) -> bool:
        """Whether a fixed tensor comes of one that has a row for each item."""
        waiting, seen = [name], set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self.held:
                shape = self.held[name].dims
                if len(shape) == 2 and shape[0] >= known and shape[0] % known == 0:
                    return True
            elif name in self.maker:
                waiting.extend(self.maker[name].input)
        return False

    def table_of(self, transposed: str) -> str:
        """What was transposed."""
        return str(self.maker[transposed].input[0])

    def after(self, names: set[str]) -> set[str]:
        """These, and all that follows from them."""
        names_after = set(names)
        for node in self.nodes:
            if not names_after.isdisjoint(node.input):
                names_after.update(node.output)
        return names_after

    def mixing(self, output: str, mixed: set[str], known: int) -> tuple[list[str], list[str], list[str]] | None:
        """The scores, the indexes of items and what else the part of the graph reads that makes a ranking; None where
        it does what cannot be done on some of the items.
        """
        scores: dict[str, None] = {}
        indexes: dict[str, None] = {}
        others: dict[str, None] = {}
        waiting, seen = [output], set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            node = self.maker[name]
            if node.op_type == "MatMul":
                scores[name] = None
                continue
            if node.op_type not in BY_COLUMN or not self._narrows(node):
                return None
            for place, each in enumerate(node.input):
                if each in mixed:
                    waiting.append(each)
                elif each in self.held and known in self.held[each].dims:
                    return None
                elif each and each not in self.fixed:
                    names_items = place == 1 and node.op_type in ("ScatterElements", "GatherElements")
                    (indexes if names_items else others)[each] = None
        if indexes.keys() & others.keys():
            return None
        return list(scores), list(indexes), list(others)

    def _narrows(self, node: Any) -> bool:
        """Whether a node does the same to some of the items as to all."""
        said = {each.name: each for each in node.attribute}
        if node.op_type in ("ScatterElements", "GatherElements"):
            return said["axis"].i in (1, -1)
        if node.op_type == "LogSoftmax":
            return said["axis"].i in (1, -1)
        if node.op_type in REDUCED:  # over networks of an ensemble, or steps ahead
            return "axes" in said and list(said["axes"].ints) == [0]
        return True

    @cached_property
    def tensors(self) -> dict[str, Any]:
        """The types of all tensors, with their shapes where these are known."""
        import onnx

        light = onnx.GraphProto(name="light")
        light.CopyFrom(_without_weights(self.model.graph))
        for each in self.held.values():
            if each.name in self.large:
                light.input.append(onnx.helper.make_tensor_value_info(each.name, each.data_type, each.dims))
            else:
                light.initializer.append(each)
        model = onnx.ModelProto(ir_version=self.model.ir_version, graph=light)
        model.opset_import.extend(self.model.opset_import)
        inferred = onnx.shape_inference.infer_shapes(model).graph
        every = (*inferred.value_info, *inferred.input, *inferred.output)
        return {each.name: each.type.tensor_type for each in every}

    def width(self, output: str) -> int | None:
        """How many numbers an answer has, where the graph says it."""
        (said,) = (each for each in self.model.graph.output if each.name == output)
        dims = said.type.tensor_type.shape.dim
        return dims[1].dim_value or None if len(dims) > 1 else None

    def table(self, name: str, into: str, make: Make, where: Path) -> Floats:
        """A fixed tensor [rows, D], held as `into`."""
        import onnx
        from onnx import numpy_helper

        def put(value: Array) -> Floats:
            whole: Floats = make(into, value.shape, np.float32)
            whole[...] = value
            return whole

        if name in self.held:
            return put(self.large[name] if name in self.large else numpy_helper.to_array(self.held[name]))
        session = self.part({}, {name: onnx.TensorProto.FLOAT}).opened(threads=1, where=where)
        given = {}  # a copy: where they stand in the file they are not aligned
        for each in session.get_inputs():
            value = self.large[each.name]
            given[each.name] = make(f".{each.name}", value.shape, value.dtype)
            given[each.name][...] = value
        shape = tuple(each.dim_value for each in self.tensors[name].shape.dim)
        if len(shape) != 2 or not all(shape):
            return put(session.run([name], given)[0])
        whole: Floats = make(into, shape, np.float32)
        binding = session.io_binding()
        for each, value in given.items():
            binding.bind_cpu_input(each, value)
        binding.bind_output(name, "cpu", 0, np.float32, shape, whole.ctypes.data)
        session.run_with_iobinding(binding)
        return whole

    def part(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Piece:
        """What makes `outputs` of `inputs`, each by name with its type."""
        import onnx

        nodes: set[int] = set()
        weights: set[str] = set()
        large: set[str] = set()
        waiting, read = list(outputs), set()
        while waiting:
            name = waiting.pop()
            if name in inputs or not name:
                read.add(name)
            elif name in self.large:
                large.add(name)
            elif name in self.held:
                weights.add(name)
            elif (place := id(self.maker[name])) not in nodes:
                nodes.add(place)
                waiting.extend(self.maker[name].input)
        graph = onnx.GraphProto(name="part")
        graph.node.extend(node for node in self.nodes if id(node) in nodes)
        graph.initializer.extend(self.held[name] for name in self.held if name in weights)
        given = {each.name: each for each in self.model.graph.input}
        for name, kind in inputs.items():
            if name in read:
                graph.input.append(given.get(name) or onnx.helper.make_tensor_value_info(name, kind, None))
        for name in sorted(large):
            own = self.held[name]
            graph.input.append(onnx.helper.make_tensor_value_info(name, own.data_type, own.dims))
        graph.output.extend(onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items())
        model = onnx.ModelProto(ir_version=self.model.ir_version, graph=graph)
        model.opset_import.extend(self.model.opset_import)
        return Piece(model.SerializeToString(), tuple(sorted(large)))


def _without_weights(graph: Any) -> Any:
    import onnx

    light = onnx.GraphProto(name=graph.name)
    light.node.extend(graph.node)
    light.input.extend(graph.input)
    light.output.extend(graph.output)
    return light


def _reads_items(graph: _Graph, node: Any, known: int) -> bool:
    """Whether a node looks item vectors up, of the items of steps as they are given."""
    if node.op_type != "Gather" or node.input[0] not in graph.fixed or not graph.of_items(node.input[0], known):
        return False
    if node.input[0] in graph.held or node.input[1] in graph.fixed:  # what is as it stands in the file stays there
        return False
    waiting, from_items = [node.input[1]], False
    while waiting:
        name = waiting.pop()
        if name == "item":
            from_items = True
        elif name in graph.maker:
            if graph.maker[name].op_type not in ("Where", "Less", "Shape", "ConstantOfShape", "Constant"):
                return False
            waiting.extend(graph.maker[name].input)
        elif name not in graph.held:
            return False
    return from_items
