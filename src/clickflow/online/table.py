"""The table of all items: which of them score highest, exactly, and how much all of them weigh together.

Scores are products with the rows of a table. All rows are scored in eight bits, and of each group of `GROUP` rows only
the highest score and the weight (the sum of exp(score)) are kept; then those groups are scored again in float32 that
may hold one of the best, by a bound on what eight bits round off (Cauchy and Schwarz). So the best are the best, and
what all rows weigh together is known to about 1e-4: by so much a probability may be wrong, of itself.
"""

import itertools
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
STEPS = 127
"""Of eight bits, on either side of 0."""
SAFE = 1e-4
"""Added to the bound, for what float32 itself rounds off."""


class Table:
    """Rows [rows, D], of which those from `first` on are items."""

    def __init__(self, vectors: Floats, first: int, *, threads: int = 1, scan: bool = True) -> None:
        """`scan`: at once; else it is left to whoever calls it, and `best` is `exact` until then."""
        self.vectors, self.first, self._threads = vectors, first, threads
        self._group = GROUP
        while len(vectors) > GROUPS * self._group and self._group < MOST_IN_GROUP:
            self._group *= 2
        self._full = (len(vectors) - first) // self._group
        """Groups that are whole; the rows after them are always scored in float32."""
        end = first + self._full * self._group
        self._groups = np.asarray(vectors)[first:end].reshape(self._full, self._group, vectors.shape[1])
        self._eight: Any = None
        if scan:
            self.scan()

    def scan(self) -> None:
        """Have all rows in eight bits, where they are many, so that `best` scores them all first in these."""
        if len(self.vectors) >= SMALL and self._eight is None:
            rows = self._groups.reshape(-1, self.vectors.shape[1])
            graph, self._error, self._longest = _rounded(rows, self._group)
            self._eight = _session(graph, self._threads)

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
        feed = {"query": (rounded + 128).astype(np.uint8), "scale": scale[:, :, None]}
        maxima, weights = self._eight.run(None, feed)
        maxima *= scale
        count = min(most, self._full)
        at, group, found = self._again(queries, maxima, lengths[:, None] * self._error + slack[:, None], count)
        tail = self.first + self._full * self._group
        beyond = queries @ np.asarray(self.vectors)[tail:].T
        total = weights.sum(axis=1).astype(np.float64) + np.exp(beyond.astype(np.float64)).sum(axis=1)
        again = np.exp(found.astype(np.float64)).sum(axis=1) - weights[at, group]
        total += np.bincount(at, again, len(queries))
        own = (self.first + group * self._group)[:, None] + np.arange(self._group)
        rest, starts = np.arange(tail, len(self.vectors)), np.searchsorted(at, np.arange(len(queries) + 1))
        rows, scores = [], []
        for k in range(len(queries)):
            part = slice(starts[k], starts[k + 1])
            every = np.concatenate([found[part].ravel(), beyond[k]])
            there = highest(every, most)
            rows.append(np.concatenate([own[part].ravel(), rest])[there])
            scores.append(every[there])
        return rows, scores, np.log(total)

    def _again(self, queries: Floats, maxima: Floats, slack: Floats, count: int) -> tuple[Ints, Ints, Floats]:
        """The groups that may hold some of the `count` best rows: of which query, which group, and the scores of its
        rows in float32, [., group].
        """
        if not count:
            return np.arange(0), np.arange(0), np.zeros((0, self._group), np.float32)
        # of the groups that look best, the row that is the last of the best is at least as good as the last of all
        looks = _at_least(maxima, count)
        at, group = np.divmod(np.flatnonzero(maxima >= looks[:, None]), self._full)
        found = np.vecdot(self._groups[group], queries[at][:, None])
        ends = np.searchsorted(at, np.arange(len(queries) + 1)).tolist()
        least = [np.partition(found[i:j].ravel(), -count)[-count] for i, j in itertools.pairwise(ends)]
        there = maxima + slack >= np.array(least, np.float32)[:, None]
        there &= maxima < looks[:, None]
        too, more = np.divmod(np.flatnonzero(there), self._full)
        scored = np.vecdot(self._groups[more], queries[too][:, None])
        every = np.concatenate([at, too])
        order = np.argsort(every, kind="stable")
        return every[order], np.concatenate([group, more])[order], np.concatenate([found, scored])[order]

    def exact(self, queries: Floats, most: int) -> tuple[list[Ints], list[Floats], npt.NDArray[np.float64]]:
        """As `best`, by all scores in float32."""
        scores = queries @ self.vectors[self.first :].T
        peak = scores.max(axis=1, keepdims=True)
        total = np.log(np.exp(scores - peak).sum(axis=1, dtype=np.float64)) + peak[:, 0]
        own = [highest(row, most) for row in scores]
        return [each + self.first for each in own], [row[each] for row, each in zip(scores, own, strict=True)], total


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


def _rounded(vectors: Floats, group: int) -> tuple[bytes, Floats, float]:
    """The graph from queries uint8 [N, D], 128 being 0, and what one step of them is worth, [N, 1, 1], to the maxima
    (in steps) and the weights [N, groups]; by group the longest difference of a row from what the graph has of it;
    and the longest row of the graph.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, held, worst, longest = [], [], list[Floats](), 0.0
    held.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    held.append(numpy_helper.from_array(np.array(128, np.uint8), "zero"))
    held.append(numpy_helper.from_array(np.array([0, group, -1], np.int64), "shape"))
    held.append(numpy_helper.from_array(np.array([1], np.int64), "within"))
    blocks = range(-(-len(vectors) // BLOCK))
    for k in blocks:
        block = vectors[k * BLOCK : (k + 1) * BLOCK]
        eight = np.rint(block * (STEPS / np.maximum(np.abs(block).max(axis=1, keepdims=True), 1e-30)))
        along = (eight * block).sum(axis=1)
        step = np.where(along > 0, (block * block).sum(axis=1) / np.maximum(along, 1e-30), 0).astype(np.float32)
        made = eight * step[:, None]
        worst.append(np.sqrt(((block - made) ** 2).sum(axis=1)).reshape(-1, group).max(axis=1))
        longest = max(longest, float(np.sqrt((made**2).sum(axis=1)).max()))
        # the first rows of all groups, then the second ones: maxima of groups are then maxima of whole vectors
        order = np.arange(len(block)).reshape(-1, group).T.ravel()
        held.append(numpy_helper.from_array(np.ascontiguousarray(eight[order].T.astype(np.int8)), f"rows{k}"))
        held.append(numpy_helper.from_array(step[order], f"step{k}"))
        inputs = ["query", f"rows{k}", "one", f"step{k}", "zero"]
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
        helper.make_tensor_value_info("query", TensorProto.UINT8, ["N", vectors.shape[1]]),
        helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["N", 1, 1]),
    ]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "items", given, floats, held)
    data: bytes = helper.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()
    return data, np.concatenate(worst), longest


def _session(graph: bytes, threads: int) -> Any:
    from clickflow.artefact.artefact import open_session

    return open_session(graph, threads=threads, where=Path("the table of items"))
