"""The ONNX graph of a network in int8.

The weights are rounded before (`rounding.rounded`): what comes is a network like any other, which the graph must equal.
Here its graph is made smaller without changing a weight: tables are looked up as bytes and scaled after, and the
product of the queries with the item table, which takes most of the time, is one of integers. There each query is
rounded too, by a scale of its own, so an answer does not depend on what is asked beside it. Other weights become
float32 when the model is loaded: their products take little, and their rounding is in the weights already.
"""

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

ITEM, WEIGHT, COUNT = 63, 127, 255
"""The largest number of an entry: of item vectors 7 bits, as sums of pairs of products with 8-bit queries must fit
into 16 bits, which processors without VNNI add them in; of other weights; of counts, which are not negative.
"""
QUERY, MIDDLE = 127, 128
"""The largest number of a query's entry, and what is added to make it unsigned."""
SMALL = 1024
"""Weights of fewer numbers stay as they are."""
ITEMS = ".items"
"""How the name of a network's table of item vectors ends in a graph."""
TOLERANCE = 0.1
"""By how much a log-probability may differ for the rounding of its query: a score is a product of length 10, whose
entries are rounded by half of 1/127 of the largest; seen are .02 to .05.
"""

Array = npt.NDArray[Any]


def count_codes(counts: Array) -> tuple[Array, Array]:
    """Counts [K, M] as bytes [K, M] and scales [K, 1]: by the root of the share of a row's largest, for small ones to
    be as exact, in proportion, as their many neighbours need.
    """
    largest = np.maximum(counts.max(axis=1, keepdims=True), np.float32(1e-30))
    codes = np.rint(np.sqrt(counts / largest) * COUNT).astype(np.uint8)
    return codes, (largest / np.float32(COUNT * COUNT)).astype(np.float32)


def counts(codes: Array, scale: Array) -> npt.NDArray[np.float32]:
    """The reverse of `count_codes`."""
    wide = codes.astype(np.float32)
    return np.asarray(wide * wide * scale, np.float32)


def narrowed(model: bytes) -> bytes:
    """The ONNX model of a network from `rounding.rounded`, its tables and weights as bytes; what cannot be stays."""
    return _Graph(model).narrowed()


def with_float_products(whole: Any) -> Any:
    """A loaded ONNX model whose products of queries with a table are of float32 again, as before `narrowed`; one
    without any is returned as it is. The tables are the bytes times their scales: what takes a graph apart at such
    products finds them as in any other.
    """
    from onnx import helper

    maker = {name: node for node in whole.graph.node for name in node.output}
    outputs = [node.output[0].removesuffix(".sums") for node in whole.graph.node if node.op_type == "MatMulInteger"]
    parts = {out: [maker.get(f"{out}.{part}") for part in ("size", "table", "scale")] for out in outputs}
    instead = {}
    for out, nodes in parts.items():
        if None in nodes or out not in maker:  # of another's making
            continue
        query, codes, scale = (node.input[0] for node in nodes if node is not None)
        instead[out] = [
            helper.make_node("Cast", [codes], [f"{out}.float"], to=1),
            helper.make_node("Mul", [f"{out}.float", scale], [f"{out}.rows"]),
            helper.make_node("Transpose", [f"{out}.rows"], [f"{out}.columns"], perm=[1, 0]),
            helper.make_node("MatMul", [query, f"{out}.columns"], [out]),
        ]
    if not instead:
        return whole
    nodes = [new for node in whole.graph.node for new in instead.get(node.output[0], [node])]
    kept, used = _needed(nodes, [each.name for each in whole.graph.output])
    held = [copy.deepcopy(each) for each in whole.graph.initializer if each.name in used]
    kept = [copy.deepcopy(each) for each in kept]
    for field, content in ((whole.graph.node, kept), (whole.graph.initializer, held)):
        del field[:]
        field.extend(content)
    return whole


class _Graph:
    """An ONNX graph while its constants are made smaller."""

    def __init__(self, model: bytes) -> None:
        import onnx
        from onnx import numpy_helper

        self.whole = onnx.load_from_string(model)
        self.graph = self.whole.graph
        self.maker: dict[str, Any] = {name: node for node in self.graph.node for name in node.output}
        self.values: dict[str, Array] = {each.name: numpy_helper.to_array(each) for each in self.graph.initializer}
        for node in self.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.values[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.readers: dict[str, list[Any]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.new: list[Any] = []
        """Initializers."""
        self.instead: dict[int, list[Any]] = {}
        """Nodes by the place of the one that they replace."""
        self.first: list[Any] = []
        """Nodes before all others."""
        self.place = {id(node): place for place, node in enumerate(self.graph.node)}
        self.held: dict[str, tuple[str, ...]] = {}
        self.gone: set[str] = set()
        """Initializers that are held as others."""

    def narrowed(self) -> bytes:
        """As the function."""
        import onnx

        tables = self._tables()
        for node in self.graph.node:
            table, kind = node.input[0] if node.input else "", node.op_type
            if kind == "Gather" and not _axis(node) and table in tables:
                self._looked_up(node, tables[table])
            elif kind == "Gather" and not _axis(node) and self._large(table):
                self._looked_up_constant(node, self.values[table])
            elif kind == "MatMul" and self._turned(node.input[1]) in tables:
                self._product(node, tables[self._turned(node.input[1])])
        for name in [each.name for each in self.graph.initializer]:
            if self._large(name) and self.values[name].dtype == np.float32:
                self._weights(name)
        nodes = [*self.first]
        for place, node in enumerate(self.graph.node):
            nodes += self.instead.get(place, [node])
        kept, used = _needed(nodes, [each.name for each in self.graph.output])
        given = self.gone | {each.name for each in self.new}
        initializers = [each for each in self.graph.initializer if each.name in used and each.name not in given]
        initializers += [each for each in self.new if each.name in used]
        for field, content in ((self.graph.node, kept), (self.graph.initializer, initializers)):
            copies = [copy.deepcopy(each) for each in content]
            del field[:]
            field.extend(copies)
        onnx.checker.check_model(self.whole, full_check=True)
        data: bytes = self.whole.SerializeToString(deterministic=True)
        return data

    def _large(self, name: str) -> bool:
        return name in self.values and self.values[name].ndim > 1 and self.values[name].size >= SMALL

    def _turned(self, name: str) -> str:
        """What a tensor is the transpose of; no name where it is of nothing."""
        node = self.maker.get(name)
        if node is None or node.op_type != "Transpose" or list(node.attribute[0].ints) != [1, 0]:
            return ""
        return str(node.input[0])

    def _tables(self) -> dict[str, tuple[str, str]]:
        """The tables of unit vectors, in which rows are looked up or with which queries are multiplied: the names of
        their codes and scales.
        """
        wanted: dict[str, tuple[list[Any], set[str]]] = {}
        for node in self.graph.node:
            name = self._turned(node.input[1]) if node.op_type == "MatMul" else ""
            if node.op_type == "Gather" and not _axis(node) and node.input[0] not in self.values:
                name = node.input[0]
            if name and name not in wanted and (fixed := self._fixed(name)) and _of_items(fixed[1]):
                wanted[name] = fixed
        tables: dict[str, tuple[str, str]] = {}
        for name, (nodes, roots) in wanted.items():
            value = self._computed(name, nodes, roots)
            largest = np.abs(value).max(axis=1, keepdims=True)
            codes = np.rint(value * (ITEM / np.maximum(largest, 1e-30)))
            scale = 1 / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-30)
            if np.abs(codes * scale - value).max() > 1e-5:
                continue
            held = f"{_of_items(roots)[0].removesuffix(ITEMS)}.int8{len(tables)}{ITEMS}"
            tables[name] = self._keep(held, codes.astype(np.int8)), self._keep(f"{name}.scale", _float(scale))
        return tables

    def _fixed(self, name: str) -> tuple[list[Any], set[str]] | None:
        """The nodes that make a tensor of constants alone, in order, and these; None where it depends on an input."""
        nodes: dict[int, Any] = {}
        roots: set[str] = set()
        waiting = [name]
        while waiting:
            at = waiting.pop()
            if at in self.values:
                roots.add(at)
            elif at in self.maker:
                node = self.maker[at]
                if id(node) not in nodes:
                    nodes[id(node)] = node
                    waiting += [each for each in node.input if each]
            else:
                return None
        return sorted(nodes.values(), key=lambda node: self.place[id(node)]), roots

    def _computed(self, name: str, nodes: Iterable[Any], roots: Iterable[str]) -> npt.NDArray[np.float32]:
        """The value of a tensor that is made of constants alone."""
        import onnx
        import onnxruntime
        from onnx import helper, numpy_helper

        constants = [numpy_helper.from_array(self.values[each], each) for each in sorted(roots)]
        if name in self.values:
            return np.asarray(self.values[name], np.float32)
        output = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        graph = helper.make_graph(list(nodes), "constant", [], [output], constants)
        model = helper.make_model(graph, opset_imports=list(self.whole.opset_import), ir_version=self.whole.ir_version)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run([name], {})[0], np.float32)

    def _keep(self, name: str, value: Array) -> str:
        """An initializer; its name."""
        from onnx import numpy_helper

        self.new.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
        from onnx import helper

        return helper.make_node(kind, inputs, [output], name=output, **attributes)

    def _looked_up(self, node: Any, table: tuple[str, str]) -> None:
        """Rows of a table: codes, made float, times their scales."""
        codes, scale = table
        out, at = node.output[0], node.input[1]
        self.instead[self.place[id(node)]] = [
            self._node("Gather", [codes, at], f"{out}.codes", axis=0),
            self._node("Cast", [f"{out}.codes"], f"{out}.wide", to=1),
            self._node("Gather", [scale, at], f"{out}.scale", axis=0),
            self._node("Mul", [f"{out}.wide", f"{out}.scale"], out),
        ]

    def _looked_up_constant(self, node: Any, value: Array) -> None:
        """Rows of a table of whole numbers in the smallest type, or of counts by their roots."""
        name, at, out = node.input[0], node.input[1], node.output[0]
        if np.issubdtype(value.dtype, np.integer) and value.min() >= 0 and value.max() < 1 << 24:
            kind = 7 if value.dtype == np.int64 else 6
            if name not in self.held:
                low = self._keep(f"{name}.low", (value & 0xFFFF).astype(np.uint16))
                high = [self._keep(f"{name}.high", (value >> 16).astype(np.uint8))] if value.max() > 0xFFFF else []
                self.held[name] = (low, *high)
            low, *high = self.held[name]
            nodes = [self._node("Gather", [low, at], f"{out}.low", axis=0)]
            nodes.append(self._node("Cast", [f"{out}.low"], out if not high else f"{out}.low_wide", to=kind))
            if high:
                factor = self._keep(f"{out}.factor", np.array(1 << 16, value.dtype))
                nodes += [
                    self._node("Gather", [high[0], at], f"{out}.high", axis=0),
                    self._node("Cast", [f"{out}.high"], f"{out}.high_wide", to=kind),
                    self._node("Mul", [f"{out}.high_wide", factor], f"{out}.high_times"),
                    self._node("Add", [f"{out}.low_wide", f"{out}.high_times"], out),
                ]
            self.instead[self.place[id(node)]] = nodes
        elif value.dtype == np.float32 and value.ndim == 2 and value.min() >= 0:
            codes, scale = count_codes(value)
            if np.abs(counts(codes, scale) - value).max() > 1e-5 * value.max():
                return
            if name not in self.held:
                self.held[name] = (self._keep(f"{name}.codes", codes), self._keep(f"{name}.scale", scale))
            self.instead[self.place[id(node)]] = [
                self._node("Gather", [self.held[name][0], at], f"{out}.codes", axis=0),
                self._node("Cast", [f"{out}.codes"], f"{out}.wide", to=1),
                self._node("Mul", [f"{out}.wide", f"{out}.wide"], f"{out}.square"),
                self._node("Gather", [self.held[name][1], at], f"{out}.scale", axis=0),
                self._node("Mul", [f"{out}.square", f"{out}.scale"], out),
            ]

    def _product(self, node: Any, table: tuple[str, str]) -> None:
        """Queries [N, D] times a table: each as bytes with a scale of its own, the sums whole numbers."""
        codes, scale = table
        query, out = node.input[0], node.output[0]
        part = self._keep(f"{out}.part", np.array(1 / QUERY, np.float32))
        least = self._keep(f"{out}.least", np.array(1e-30, np.float32))
        middle = self._keep(f"{out}.middle", np.array(MIDDLE, np.float32))
        zero = self._keep(f"{out}.zero", np.array(MIDDLE, np.uint8))
        self.instead[self.place[id(node)]] = [
            self._node("Abs", [query], f"{out}.size"),
            self._node("ReduceMax", [f"{out}.size"], f"{out}.largest", axes=[-1], keepdims=1),
            self._node("Max", [f"{out}.largest", least], f"{out}.bounded"),
            self._node("Mul", [f"{out}.bounded", part], f"{out}.step"),
            self._node("Div", [query, f"{out}.step"], f"{out}.steps"),
            self._node("Round", [f"{out}.steps"], f"{out}.rounded"),
            self._node("Add", [f"{out}.rounded", middle], f"{out}.raised"),
            self._node("Cast", [f"{out}.raised"], f"{out}.query", to=2),
            self._node("Transpose", [codes], f"{out}.table", perm=[1, 0]),
            self._node("MatMulInteger", [f"{out}.query", f"{out}.table", zero], f"{out}.sums"),
            self._node("Cast", [f"{out}.sums"], f"{out}.wide", to=1),
            self._node("Transpose", [scale], f"{out}.scale", perm=[1, 0]),
            self._node("Mul", [f"{out}.wide", f"{out}.scale"], f"{out}.scaled"),
            self._node("Mul", [f"{out}.scaled", f"{out}.step"], out),
        ]

    def _weights(self, name: str) -> None:
        """A weight matrix as bytes, made float32 again before all else, which is done once, at loading."""
        value = self.values[name]
        for axis in (-1, -2):
            scale = np.maximum(np.abs(value).max(axis=axis, keepdims=True), np.float32(1e-30)) / np.float32(WEIGHT)
            codes = np.rint(value / scale)
            if np.abs(codes * scale - value).max() <= 1e-5 * np.abs(value).max():
                held = self._keep(f"{name}.codes", codes.astype(np.int8)), self._keep(f"{name}.scale", _float(scale))
                self.first += [
                    self._node("Cast", [held[0]], f"{name}.wide", to=1),
                    self._node("Mul", [f"{name}.wide", held[1]], name),
                ]
                self.gone.add(name)
                return


def _float(value: Array) -> npt.NDArray[np.float32]:
    return np.asarray(value, np.float32)


def _of_items(names: Iterable[str]) -> list[str]:
    """Those that are a network's table of item vectors."""
    return sorted(name for name in names if name.endswith(ITEMS))


def _axis(node: Any) -> int:
    """Of a node Gather."""
    return next((int(each.i) for each in node.attribute if each.name == "axis"), 0)


def _needed(nodes: list[Any], outputs: list[str]) -> tuple[list[Any], set[str]]:
    """The nodes that the outputs depend on, in order, and all names that they read."""
    used, kept = set(outputs), []
    for node in reversed(nodes):
        if used & set(node.output):
            kept.append(node)
            used |= set(node.input)
    return kept[::-1], used
