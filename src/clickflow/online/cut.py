"""An exported network cut in three: what reads histories and what mixes answers stay graphs, what scores all items
becomes a table.

The graph of the artefact does several passes over the numbers of all items. Who wants the best few needs one, in few
bits; the rest of the graph is the same whether a row of scores holds all items or only those that may be answered, with
what the others weigh in a column of its own. So it is run on these few. Nothing is asked of the export: the cuts are
found in its graph, and a graph that has another shape is not cut. Tests hold all answers against the whole graph.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact import int8
from clickflow.artefact.artefact import open_session
from clickflow.online import near
from clickflow.online.near import Near
from clickflow.online.shared import shared
from clickflow.online.table import Table
from clickflow.sequences.indexes import FIRST_ITEM, UNKNOWN

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Feed = Mapping[str, npt.NDArray[Any]]

NEVER = -1e9
"""The score of a column that is no item."""
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


@dataclass(frozen=True)
class Ranked:
    """Items that may be among the best for one question, the likeliest first; equal ones by index."""

    items: Ints
    logs: Floats
    sure: int
    """So many of the first are the best of all; those after them, too, but there may be others between."""


@dataclass(frozen=True)
class _Mixer:
    """What makes one ranking of scores."""

    scores: tuple[str, ...]
    """The scores of all items, by their names in the graph."""
    indexes: tuple[str, ...]
    """What names items, [N, S]."""
    others: tuple[str, ...]
    """What else it reads."""
    session: Any


class Cut:
    """In the place of an artefact's onnxruntime session: it has the same inputs and outputs."""

    def __init__(
        self,
        reader: Any,
        vectors: Mapping[str, tuple[str, Floats]],
        queries: Mapping[str, tuple[str, Table | Near]],
        mixers: Mapping[str, _Mixer],
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        known: int,
    ) -> None:
        """`vectors`: inputs of `reader` in the place of item vectors: which indexes, and the table; `queries`: by the
        name of scores the output of `reader` that is multiplied with which table; `mixers` by output; `inputs` and
        `outputs`: what the whole graph says of its own.
        """
        self._reader, self._vectors, self._queries, self._mixers = reader, vectors, queries, mixers
        self._inputs, self._outputs, self._known = inputs, outputs, known
        self.index: near.Quality | None = None
        """Of the index that answers, or was tried."""

    @classmethod
    def of(
        cls, model: bytes, known: int, *, threads: int = 1, where: Path, name: str = "", scan: bool = True
    ) -> "Cut | None":
        """The cut of a model with so many items; None where its graph is not one of those that can be. `name`: of this
        very model, by which processes share large tables (`shared.shared`); none given: they do not.
        """
        return _cut(cls, model, known, threads, where, name, scan)

    def get_inputs(self) -> Sequence[Any]:
        """As of onnxruntime: name and type."""
        return self._inputs

    def get_outputs(self) -> Sequence[Any]:
        """As of onnxruntime: name and shape."""
        return self._outputs

    @property
    def tables(self) -> list[Floats]:
        """The vectors of all items by which rankings are made, [known, D] each."""
        return [table.vectors for _, table in {id(each[1]): each for each in self._queries.values()}.values()]

    def quick(self, output: str) -> bool:
        """Whether `best` answers this output: one whose every item has one score."""
        return output in self._mixers and len(self._mixers[output].scores) == 1

    @property
    def approximate(self) -> bool:
        """Whether some of the best items may be missing from what `best` says, and weights are estimates."""
        return any(isinstance(table, Near) for _, table in self._queries.values())

    def approximated(self, feed: Feed, least: float, file: Path) -> "Cut":
        """The same with an index in the place of its largest table, if that is one of rankings that are `quick`: see
        `near.made`. `feed`: some questions, by which it is measured; else all its tables `scan`.
        """
        quick = [self._mixers[name].scores[0] for name in self._mixers if self.quick(name)]
        tables = {id(self._queries[name][1]): name for name in quick}
        made: Near | None = None
        if len(tables) == 1:
            ((own, name),) = tables.items()
            query, table = self._queries[name]
            assert isinstance(table, Table)
            (queries,) = self._reader.run([query], self._full(feed))
            made, self.index = near.made(table, queries, least, file)
            if made is not None:
                self._queries = {
                    each: (query, made if id(table) == own else table) for each, (query, table) in self._queries.items()
                }
        for _, each in self._queries.values():
            if isinstance(each, Table):
                each.scan()
        return self

    def run(self, outputs: Sequence[str] | None, feed: Feed) -> list[npt.NDArray[Any]]:
        """As of onnxruntime: all answers, those of rankings with all items."""
        names = list(outputs) if outputs is not None else [each.name for each in self._outputs]
        read = self._read(names, feed)
        scores = {
            name: read[query] @ table.vectors.T
            for name, (query, table) in self._queries.items()
            if any(name in self._mixers[each].scores for each in names if each in self._mixers)
        }
        return [self._mixed(name, read, scores) if name in self._mixers else read[name] for name in names]

    def best(
        self, names: Sequence[str], feed: Feed, most: Mapping[str, Sequence[int]], also: Sequence[Ints]
    ) -> tuple[dict[str, Floats], dict[str, list[Ranked]]]:
        """By output that is no ranking all answers, and of those in `most` the best items of each of N questions: at
        least so many, those that the model names itself, and those in `also`.
        """
        read = self._read([*names, *most], feed)
        return {name: read[name] for name in names}, {
            name: self._best(self._mixers[name], read, max(each), also) for name, each in most.items()
        }

    def _read(self, names: Sequence[str], feed: Feed) -> dict[str, Any]:
        wanted: dict[str, None] = {}
        for name in names:
            mixer = self._mixers.get(name)
            if mixer is None:
                wanted[name] = None
            else:
                wanted |= dict.fromkeys((*mixer.indexes, *mixer.others))
                wanted |= {self._queries[each][0]: None for each in mixer.scores}
        return dict(zip(wanted, self._reader.run(list(wanted), self._full(feed)), strict=True))

    def _full(self, feed: Feed) -> dict[str, Any]:
        full = dict(feed)
        for name, (indexes, table) in self._vectors.items():
            index = feed[indexes]
            full[name] = np.asarray(table)[np.where(index < self._known, index, UNKNOWN)]
        return full

    def _mixed(self, name: str, read: Feed, scores: Feed) -> npt.NDArray[Any]:
        mixer = self._mixers[name]
        feed = {each: scores[each] for each in mixer.scores} | {
            each: read[each] for each in (*mixer.indexes, *mixer.others)
        }
        found: npt.NDArray[Any] = mixer.session.run([name], feed)[0]
        return found

    def _best(self, mixer: _Mixer, read: Feed, most: int, also: Sequence[Ints]) -> list[Ranked]:
        (name,) = mixer.scores
        query, table = self._queries[name]
        queries: Floats = read[query]
        count, known = len(queries), len(table.vectors)
        tops, scores, total = table.best(queries, most)
        # the items of a row: those that the graph names, those asked for, and the best by score; of all rows one after
        # the other, as row times the number of items, plus the item
        shift = np.arange(count) * known
        named = [(each, read[each] + shift[:, None]) for each in mixer.indexes]
        best = _keys(tops, shift)
        keys = np.concatenate([*(each[read[of] >= FIRST_ITEM] for of, each in named), _keys(also, shift), best])
        keys.sort()
        keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])] if len(keys) else keys
        starts = np.searchsorted(keys, np.arange(count + 1) * known)
        row = np.repeat(np.arange(count), np.diff(starts))
        items, place = keys - shift[row], np.arange(len(keys)) - starts[row] + FIRST_ITEM
        width = int(np.diff(starts).max(initial=0)) + FIRST_ITEM + 1
        narrow = np.full((count, width), NEVER, np.float32)
        high, free = np.concatenate(scores), np.zeros(len(keys), bool)
        tops_at = np.searchsorted(keys, best)
        free[tops_at] = True
        narrow[row[tops_at], place[tops_at]] = high
        narrow[row[~free], place[~free]] = np.vecdot(np.asarray(table.vectors)[items[~free]], queries[row[~free]])
        kept = np.exp(narrow[:, FIRST_ITEM:].astype(np.float64)).sum(axis=1)
        narrow[:, -1] = np.log(np.maximum(np.exp(total) - kept, 1e-30))
        feed: dict[str, Any] = {name: narrow} | {each: read[each] for each in mixer.others}
        plain = np.ones(len(keys), bool)  # whether the graph does not name the item
        for each, key in named:
            there = read[each] >= FIRST_ITEM
            at = np.searchsorted(keys, key[there])
            plain[at] = False
            feed[each] = read[each].copy()
            feed[each][there] = place[at]
        (mixed,) = mixer.session.run(None, feed)
        logs = mixed[row, place]
        free &= plain
        # an item that stands nowhere here is no better than the last of the best that the graph does not name
        last = np.full(count, np.inf, np.float32)
        np.minimum.at(last, row[free], logs[free])
        sure = np.bincount(row[logs >= last[row]], minlength=count)
        whole = np.diff(starts) == known - FIRST_ITEM
        sure[whole] = np.diff(starts)[whole]
        order = np.lexsort((-logs, row))
        items, logs = items[order], logs[order]
        own = [slice(*each) for each in itertools.pairwise(starts.tolist())]
        return [Ranked(items[part], logs[part], most) for part, most in zip(own, sure.tolist(), strict=True)]


def _keys(items: Sequence[Ints], shift: Ints) -> Ints:
    """Items of rows as keys."""
    return np.concatenate(items) + np.repeat(shift, [len(each) for each in items])


def opened(model: bytes, card: Mapping[str, Any], *, threads: int, where: Path, scan: bool = True) -> Any:
    """What answers for an artefact's model: a `Cut`, or where there is none a session of onnxruntime."""
    name = str(card["model_sha256"])[:16]
    made = Cut.of(model, int(card["known"]), threads=threads, where=where, name=name, scan=scan)
    return made or open_session(model, threads=threads, where=where)


def _cut(cls: type[Cut], model: bytes, known: int, threads: int, where: Path, name: str, scan: bool) -> Cut | None:
    import onnx

    whole = int8.with_float_products(onnx.load_from_string(model))
    graph = _Graph(whole)
    tables = graph.products(known)
    if not tables:
        return None
    mixed = graph.after({node.output[0] for node in tables})
    rankings = [each for each in graph.outputs if each in mixed]
    types = graph.types()
    parts: dict[str, tuple[list[str], list[str], list[str]]] = {}
    for output in rankings:
        part = graph.mixing(output, mixed, known)
        if part is None:
            return None
        parts[output] = part
    gathers = [node for node in graph.nodes if _reads_items(graph, node, known)]
    sources = {node.output[0]: graph.table_of(node.input[1]) for node in tables}
    values = graph.values([*sources.values(), *(node.input[0] for node in gathers)], threads, where)
    if name:
        values = {each: shared(table, where.parent, f"{name}-{k}") for k, (each, table) in enumerate(values.items())}
    every = dict.fromkeys(sources.values())
    scored = {each: Table(values[each], FIRST_ITEM, threads=threads, scan=scan) for each in every}
    queries = {node.output[0]: (node.input[0], scored[sources[node.output[0]]]) for node in tables}
    mixers = {}
    for output, (scores, indexes, others) in parts.items():
        given = {each: types[each] for each in (*scores, *indexes, *others)}
        session = open_session(graph.part(given, {output: types[output]}), threads=1, where=where)
        mixers[output] = _Mixer(tuple(scores), tuple(indexes), tuple(others), session)
    wanted = [each for each in graph.outputs if each not in mixers]
    wanted += [query for query, _ in queries.values()]
    wanted += [each for mixer in mixers.values() for each in (*mixer.indexes, *mixer.others)]
    vectors = {node.output[0]: ("item", values[node.input[0]]) for node in gathers}
    inputs = {each.name: each.type.tensor_type.elem_type for each in whole.graph.input}
    given = inputs | dict.fromkeys(vectors, onnx.TensorProto.FLOAT)
    reader = open_session(
        graph.part(given, {each: types[each] for each in dict.fromkeys(wanted)}), threads=threads, where=where
    )
    outputs = [_Output(each, [None, graph.width(each)]) for each in graph.outputs]
    read = [_Input(name, f"tensor({NAMES.get(kind, kind)})") for name, kind in inputs.items()]
    return cls(reader, vectors, queries, mixers, read, outputs, known)


NAMES = {1: "float", 3: "int8", 6: "int32", 7: "int64", 11: "double"}
"""onnxruntime's names of types, by ONNX's numbers."""


@dataclass(frozen=True)
class _Input:
    """As onnxruntime says it of an input."""

    name: str
    type: str


@dataclass(frozen=True)
class _Output:
    """As onnxruntime says it of an output."""

    name: str
    shape: Sequence[Any]


class _Graph:
    """A graph, and what follows from what."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.held = {each.name: each for each in model.graph.initializer}
        self.made = {name: node for node in self.nodes for name in node.output}
        self.outputs = [each.name for each in model.graph.output]
        self.fixed = set(self.held)
        """What no input changes."""
        for node in self.nodes:
            if all(name in self.fixed or not name for name in node.input):
                self.fixed.update(node.output)

    def products(self, known: int) -> list[Any]:
        """The nodes that score all items: products with a transposed table."""
        found = []
        for node in self.nodes:
            if node.op_type == "MatMul" and node.input[0] not in self.fixed and node.input[1] in self.fixed:
                made = self.made.get(node.input[1])
                if made is not None and made.op_type == "Transpose" and self.of_items(made.input[0], known):
                    found.append(node)
        return found

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
            elif name in self.made:
                waiting.extend(self.made[name].input)
        return False

    def table_of(self, transposed: str) -> str:
        """What was transposed."""
        return str(self.made[transposed].input[0])

    def after(self, names: set[str]) -> set[str]:
        """These, and all that follows from them."""
        found = set(names)
        for node in self.nodes:
            if not found.isdisjoint(node.input):
                found.update(node.output)
        return found

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
            node = self.made[name]
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

    def types(self) -> dict[str, int]:
        """The types of all tensors."""
        import onnx

        light = onnx.GraphProto(name="light")
        light.CopyFrom(_without_weights(self.model.graph))
        for each in self.held.values():
            if each.ByteSize() < 1 << 16:
                light.initializer.append(each)
            else:
                light.input.append(onnx.helper.make_tensor_value_info(each.name, each.data_type, each.dims))
        made = onnx.ModelProto(ir_version=self.model.ir_version, graph=light)
        made.opset_import.extend(self.model.opset_import)
        inferred = onnx.shape_inference.infer_shapes(made).graph
        every = (*inferred.value_info, *inferred.input, *inferred.output)
        return {each.name: each.type.tensor_type.elem_type for each in every}

    def width(self, output: str) -> int | None:
        """How many numbers an answer has, where the graph says it."""
        (said,) = (each for each in self.model.graph.output if each.name == output)
        dims = said.type.tensor_type.shape.dim
        return dims[1].dim_value or None if len(dims) > 1 else None

    def values(self, names: Sequence[str], threads: int, where: Path) -> dict[str, Floats]:
        """Fixed tensors."""
        import onnx
        from onnx import numpy_helper

        wanted = list(dict.fromkeys(names))
        held = {name: numpy_helper.to_array(self.held[name]) for name in wanted if name in self.held}
        made = [name for name in wanted if name not in held]
        if made:  # what is large is given, not held a second time by the part
            large = {each.name: each.data_type for each in self.held.values() if each.ByteSize() >= 1 << 16}
            part = self.part(large, dict.fromkeys(made, onnx.TensorProto.FLOAT))
            session = open_session(part, threads=threads, where=where)
            read = {each.name: numpy_helper.to_array(self.held[each.name]) for each in session.get_inputs()}
            held |= dict(zip(made, session.run(made, read), strict=True))
        return {name: np.ascontiguousarray(values, np.float32) for name, values in held.items()}

    def part(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """What makes `outputs` of `inputs`, each by name with its type."""
        import onnx

        nodes: set[int] = set()
        weights: set[str] = set()
        waiting, read = list(outputs), set()
        while waiting:
            name = waiting.pop()
            if name in inputs or not name:
                read.add(name)
            elif name in self.held:
                weights.add(name)
            elif (place := id(self.made[name])) not in nodes:
                nodes.add(place)
                waiting.extend(self.made[name].input)
        graph = onnx.GraphProto(name="part")
        graph.node.extend(node for node in self.nodes if id(node) in nodes)
        graph.initializer.extend(self.held[name] for name in self.held if name in weights)
        given = {each.name: each for each in self.model.graph.input}
        for name, kind in inputs.items():
            if name not in read:
                continue
            graph.input.append(given.get(name) or onnx.helper.make_tensor_value_info(name, kind, None))
        graph.output.extend(onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items())
        made = onnx.ModelProto(ir_version=self.model.ir_version, graph=graph)
        made.opset_import.extend(self.model.opset_import)
        data: bytes = made.SerializeToString()
        return data


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
        elif name in graph.made:
            if graph.made[name].op_type not in ("Where", "Less", "Shape", "ConstantOfShape", "Constant"):
                return False
            waiting.extend(graph.made[name].input)
        elif name not in graph.held:
            return False
    return from_items
