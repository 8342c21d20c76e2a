"""The table of all items: which of them score highest, exactly, and how much all of them weigh together.

Scores are products with the rows of a table. All rows are scored in eight bits, and of each group of `GROUP` rows only
the highest score and the weight (the sum of exp(score)) are kept; then those groups are scored again in float32 that
may hold one of the best, by a bound on what eight bits round off (Cauchy and Schwarz). So the best are the best, and
what all rows weigh together is known to about 1e-4: by so much a probability may be wrong, of itself.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

GROUP, MOST_IN_GROUP = 8, 32
"""Rows of which one maximum is kept: as few as leave at most `GROUPS` of them, but no more than the second."""
GROUPS = 1 << 14
BLOCK = 8192
"""Rows scored at a time: their scores stay in the processor's cache."""
SMALL = 1 << 13
"""Tables of fewer rows are scored in float32 at once."""
LOUD = 25.0
"""Above this length of a query, eight bits say too little of the weights: float32 instead."""
FOLDED = 512
"""Maxima of a query that are put in order, at least."""
STEPS, MIDDLE = 127, 128
"""Of eight bits, on either side of 0; and what is 0 of them where they have no sign."""
FLOAT, EIGHT_BITS = 1e-6, 2e-4
"""By what share the weight of all rows may be off, where they are scored in these."""
SAFE = 1e-4
"""Added to the bound, for what float32 itself rounds off."""


class Table:
    """Rows [rows, D], of which those from `first` on are items."""

    def __init__(
        self,
        vectors: Floats,
        first: int,
        *,
        threads: int = 1,
        scan: bool = True,
        laid: tuple[bytes, Mapping[str, Any], str] | None = None,
    ) -> None:
        """`scan`: at once; else it is left to whoever calls it, and `best` is `exact` until then. `laid`: the graph of
        `eight_bits`, where its arrays are, and under which name; None: they are made then.
        """
        self.vectors, self.first, self._threads, self._laid = vectors, first, threads, laid
        self._group = _group(len(vectors))
        self._full = (len(vectors) - first) // self._group
        """Groups that are whole; the rows after them are always scored in float32."""
        end = first + self._full * self._group
        self._groups = np.asarray(vectors)[first:end].reshape(self._full, self._group, vectors.shape[1])
        self._eight: Any = None
        if scan:
            self.scan()

    @property
    def rough(self) -> float:
        """By what share the weight of all rows may be off."""
        return FLOAT if self._eight is None else EIGHT_BITS

    def scan(self) -> None:
        """Have all rows in eight bits, where they are many, so that `best` scores them all first in these."""
        if len(self.vectors) >= SMALL and self._eight is None:
            graph, held, name = self._laid or _built(self.vectors, self.first)
            self._error, self._longest = held[f"{name}.worst"], float(held[f"{name}.longest"][0])
            self._widest = float(self._error.max())
            self._kept = dict(_blocks(held[f"{name}.rows"], held[f"{name}.step"]))
            self._eight = _session(graph, self._kept, self._threads)

    def best(self, queries: Floats, most: int) -> tuple[list[Ints], list[Floats], npt.NDArray[np.float64]]:
        """Of each of N queries [N, D] the `most` rows of the highest scores, and those as high as the last of them, in
        no order, and their scores; and the log of all rows' weight [N].
        """
        lengths = np.sqrt((queries * queries).sum(axis=1))
        if self._eight is None or lengths.max(initial=0) > LOUD or not np.isfinite(lengths).all():
            return self.exact(queries, most)
        peak = np.maximum(np.abs(queries).max(axis=1, keepdims=True), 1e-30)
        rounded = np.rint(queries * (STEPS / peak)).astype(np.float32)
        # what is rounded off is at right angles to the query: then it changes the weight of all rows hardly at all
        scale = (lengths**2 / np.maximum((rounded * queries).sum(axis=1), 1e-30))[:, None].astype(np.float32)
        scale[lengths == 0] = 0
        off = queries - rounded * scale
        # |q t - q' t'| <= |q| |t - t'| + |q - q'| |t'|
        slack = np.sqrt((off * off).sum(axis=1)) * self._longest + SAFE
        feed = {"query": (rounded + MIDDLE).astype(np.uint8), "scale": scale[:, :, None]}
        maxima, weights = self._eight.run(None, feed)
        maxima *= scale
        count = min(most, self._full)
        at, group, own_scores = self._again(queries, maxima, lengths, slack, count)
        tail = self.first + self._full * self._group
        beyond = queries @ np.asarray(self.vectors)[tail:].T
        total = weights.sum(axis=1).astype(np.float64) + np.exp(beyond.astype(np.float64)).sum(axis=1)
        again = np.exp(own_scores.astype(np.float64)).sum(axis=1) - weights[at, group]
        total += np.bincount(at, again, len(queries))
        # the rows after all groups are one more of each query, the last
        every, place = _by_query(own_scores, at, len(queries), more=1)
        every[:, -1, : beyond.shape[1]] = beyond
        groups = np.full(every.shape[:2], self._full)
        groups[at, place] = group
        flat = every.reshape(len(queries), -1)
        there = np.flatnonzero((flat >= _last_of(flat, most)[:, None]) & (flat > -np.inf))
        rows = self.first + groups.ravel()[there // self._group] * self._group + there % self._group
        scores, ends = flat.ravel()[there], np.searchsorted(there, flat.shape[1] * np.arange(len(queries) + 1)).tolist()
        parts = [slice(*each) for each in itertools.pairwise(ends)]
        return [rows[part] for part in parts], [scores[part] for part in parts], np.log(total)

    def _again(
        self, queries: Floats, maxima: Floats, lengths: Floats, slack: Floats, count: int
    ) -> tuple[Ints, Ints, Floats]:
        """The groups that may hold some of the `count` best rows: of which query, which group, and the scores of its
        rows in float32, [., group]. A maximum is wrong by at most `slack` and the length of its query times the error
        of its group.
        """
        if not count:
            return np.arange(0), np.arange(0), np.zeros((0, self._group), np.float32)
        # of the groups that look best, the row that is the last of the best is at least as good as the last of all
        looks = _at_least(maxima, count)
        at, group = np.divmod(np.flatnonzero(maxima >= looks[:, None]), self._full)
        ends = np.searchsorted(at, np.arange(len(queries) + 1)).tolist()
        scores = products(self._groups, group, queries, ends)
        least = _last_of(_by_query(scores, at, len(queries))[0].reshape(len(queries), -1), count)
        # first by the largest error of all groups, which leaves few, then by their own
        near = least - slack - lengths * self._widest
        too, more = np.divmod(np.flatnonzero(maxima >= near[:, None]), self._full)
        high = maxima[too, more]
        there = (high + (lengths[too] * self._error[more] + slack[too]) >= least[too]) & (high < looks[too])
        too, more = too[there], more[there]
        scored = products(self._groups, more, queries, np.searchsorted(too, np.arange(len(queries) + 1)).tolist())
        every = np.concatenate([at, too])
        order = np.argsort(every, kind="stable")
        return every[order], np.concatenate([group, more])[order], np.concatenate([scores, scored])[order]

    def exact(self, queries: Floats, most: int) -> tuple[list[Ints], list[Floats], npt.NDArray[np.float64]]:
        """As `best`, by all scores in float32."""
        scores = queries @ self.vectors[self.first :].T
        peak = scores.max(axis=1, keepdims=True)
        total = np.log(np.exp(scores - peak).sum(axis=1, dtype=np.float64)) + peak[:, 0]
        own = [highest(row, most) for row in scores]
        return [each + self.first for each in own], [row[each] for row, each in zip(scores, own, strict=True)], total


def products(rows: Floats, index: Ints, queries: Floats, ends: Sequence[int]) -> Floats:
    """Of `rows` [R, ..., D] those of `index` [n], times queries [N, D]: the k-th with those from `ends[k]` to the next
    end; [n, ...]. One query after the other: what is gathered for one stays in the processor's cache.
    """
    scores = np.empty((len(index), *rows.shape[1:-1]), np.float32)
    for query, (first, end) in zip(queries, itertools.pairwise(ends), strict=True):
        # every index is one of `rows`; to check that numpy would copy them once more
        np.vecdot(rows.take(index[first:end], axis=0, mode="clip"), query, out=scores[first:end])
    return scores


def _by_query(scores: Floats, at: Ints, count: int, more: int = 0) -> tuple[Floats, Ints]:
    """Scores [n, group] of the queries `at`, in order, as [count, ., group]: minus infinity where a query has fewer
    than another, and of `more` groups beside; and which of its query's each of the n is.
    """
    starts = np.searchsorted(at, np.arange(count + 1))
    place = np.arange(len(at)) - starts[at]
    every = np.full((count, int(np.diff(starts).max(initial=0)) + more, scores.shape[1]), -np.inf, np.float32)
    every[at, place] = scores
    return every, place


def _last_of(scores: Floats, most: int) -> Floats:
    """Of each row the last of its `most` highest; no number is as high as that of none, and all are as that of all."""
    if not 0 < most < scores.shape[1]:
        return np.full(len(scores), -np.inf if most else np.inf, np.float32)
    last: Floats = np.partition(scores, -most, axis=1)[:, -most]
    return last


def _at_least(maxima: Floats, count: int) -> Floats:
    """Of each row what at least `count` of its numbers reach: the last of the highest, or a little below. They are
    folded on each other first, so that few are put in order.
    """
    width = max(FOLDED, 4 * count)
    folds = maxima.shape[1] // width
    if folds > 1:
        maxima = maxima[:, : folds * width].reshape(len(maxima), folds, width).max(axis=1)
    bound: Floats = np.partition(maxima, -count, axis=1)[:, -count]
    return bound


def highest(scores: Floats, most: int) -> Ints:
    """Where the `most` highest stand, and all that are as high as the last of them, in order."""
    if not most:
        return np.arange(0)
    if most >= len(scores):
        return np.arange(len(scores))
    return np.flatnonzero(scores >= np.partition(scores, -most)[-most])


def _group(rows: int) -> int:
    """Rows of which one maximum is kept."""
    group = GROUP
    while rows > GROUPS * group and group < MOST_IN_GROUP:
        group *= 2
    return group


def _built(vectors: Floats, first: int) -> tuple[bytes, Mapping[str, Any], str]:
    held: dict[str, Any] = {}
    return eight_bits(vectors, first, "", lambda name, *how: held.setdefault(name, np.empty(*how))), held, ""


def eight_bits(vectors: Floats, first: int, name: str, make: Callable[[str, tuple[int, ...], Any], Any]) -> bytes:
    """The rows from `first` on in eight bits, and the graph that scores them; of few rows none.

    Arrays are made by `make`, from a name, a shape and a type; names begin with `name`: `.rows`, int8, or uint8 where
    this processor needs it (`signed`), [D, rows] of one block after the other, and what one step of them is worth,
    `.step`, the first rows of all groups of a block before the second ones; by group the longest difference of a row
    from that, `.worst`; the longest row, `.longest`.
    """
    if len(vectors) < SMALL:
        return b""
    group, columns = _group(len(vectors)), vectors.shape[1]
    full = (len(vectors) - first) // group * group
    kind, middle = (np.int8, 0) if signed() else (np.uint8, MIDDLE)
    rows, steps = make(f"{name}.rows", (full * columns,), kind), make(f"{name}.step", (full,), np.float32)
    worst, longest = make(f"{name}.worst", (full // group,), np.float32), make(f"{name}.longest", (1,), np.float32)
    longest[0] = 0
    for at in range(0, full, BLOCK):
        block = np.asarray(vectors[first + at : first + min(at + BLOCK, full)])
        eight = np.rint(block * (STEPS / np.maximum(np.abs(block).max(axis=1, keepdims=True), 1e-30)))
        along = np.vecdot(eight, block)
        step = np.where(along > 0, np.vecdot(block, block) / np.maximum(along, 1e-30), 0).astype(np.float32)
        rounded = eight * step[:, None]
        longest[0] = max(longest[0], np.sqrt(np.vecdot(rounded, rounded).max()))
        rounded -= block
        end = at + len(block)
        worst[at // group : end // group] = np.sqrt(np.vecdot(rounded, rounded)).reshape(-1, group).max(axis=1)
        # the first rows of all groups, then the second ones: maxima of groups are then maxima of whole vectors
        order = np.arange(len(block)).reshape(-1, group).T.ravel()
        rows[at * columns : end * columns] = (eight + middle).astype(kind)[order].T.ravel()
        steps[at:end] = step[order]
    return _graph(rows, steps, group)


@cache
def signed() -> bool:
    """Whether this processor multiplies bytes with signed bytes rightly: one without VNNI adds two of the products in
    16 bits, and where these do not fit a score is too low, and says nothing of it. Bytes without a sign are right, too,
    and slower.
    """
    from onnx import TensorProto, helper, numpy_helper

    from clickflow.artefact.artefact import open_session

    high = np.full((BLOCK // 64, BLOCK // 64), STEPS, np.int8)
    held = [numpy_helper.from_array(high, "rows"), numpy_helper.from_array(np.array(1, np.float32), "one")]
    node = helper.make_node("MatMulIntegerToFloat", ["query", "rows", "one", "one"], ["score"], domain="com.microsoft")
    given = helper.make_tensor_value_info("query", TensorProto.UINT8, ["N", len(high)])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", len(high)])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph([node], "products", [given], [score], held)
    data = helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()
    session = open_session(data, threads=1, where=Path("a product of bytes"))
    most = np.iinfo(np.uint8).max
    queries = [np.full((count, len(high)), most, np.uint8) for count in (1, 8)]  # of one there is another way
    return all((session.run(None, {"query": each})[0] == most * STEPS * len(high)).all() for each in queries)


def _blocks(rows: npt.NDArray[Any], steps: Floats) -> Iterator[tuple[str, Any]]:
    """The constants of the graph."""
    columns = len(rows) // max(len(steps), 1)
    for k, at in enumerate(range(0, len(steps), BLOCK)):
        end = min(at + BLOCK, len(steps))
        yield f"rows{k}", rows[at * columns : end * columns].reshape(columns, -1)
        yield f"step{k}", steps[at:end]


def _graph(rows: npt.NDArray[Any], steps: Floats, group: int) -> bytes:
    """From queries uint8 [N, D], `MIDDLE` being 0, and what one step of them is worth, [N, 1, 1], to the maxima (in
    steps) and the weights [N, groups]; its constants are `_blocks`.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, blocks = [], range(-(-len(steps) // BLOCK))
    held = [
        numpy_helper.from_array(np.array(1, np.float32), "one"),
        numpy_helper.from_array(np.array(MIDDLE, np.uint8), "zero"),
        numpy_helper.from_array(np.array(0 if rows.dtype == np.int8 else MIDDLE, rows.dtype), "middle"),
        numpy_helper.from_array(np.array([0, group, -1], np.int64), "shape"),
        numpy_helper.from_array(np.array([1], np.int64), "within"),
    ]
    held += [_elsewhere(*each) for each in _blocks(rows, steps)]
    for k in blocks:
        inputs = ["query", f"rows{k}", "one", f"step{k}", "zero", "middle"]
        nodes += [
            helper.make_node("MatMulIntegerToFloat", inputs, [f"flat{k}"], domain="com.microsoft"),
            helper.make_node("Reshape", [f"flat{k}", "shape"], [f"scores{k}"]),
            helper.make_node("ReduceMax", [f"scores{k}"], [f"maxima{k}"], axes=[1], keepdims=0),
            helper.make_node("Mul", [f"scores{k}", "scale"], [f"scaled{k}"]),
            helper.make_node("Exp", [f"scaled{k}"], [f"exp{k}"]),
            helper.make_node("ReduceSum", [f"exp{k}", "within"], [f"weights{k}"], keepdims=0),
        ]
    names = ("maxima", "weights")
    nodes += [helper.make_node("Concat", [f"{name}{k}" for k in blocks], [name], axis=1) for name in names]
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "groups"]) for name in names]
    given = [
        helper.make_tensor_value_info("query", TensorProto.UINT8, ["N", len(rows) // max(len(steps), 1)]),
        helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["N", 1, 1]),
    ]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "items", given, floats, held)
    data: bytes = helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()
    return data


def _elsewhere(name: str, array: npt.NDArray[Any]) -> Any:
    """A constant whose numbers are given when the graph is opened."""
    from onnx import TensorProto, helper

    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=array.shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="held")
    return tensor


def _session(graph: bytes, held: Mapping[str, Any], threads: int) -> Any:
    from clickflow.artefact.artefact import open_session

    # block by block: by itself onnxruntime keeps the scores of all blocks until it has all weights
    return open_session(graph, threads=threads, where=Path("the table of items"), held=held, in_order=True)
