"""The table of all items: which of them score highest, exactly, and how much all of them weigh together.

Scores are products with the rows of a table. All rows are scored in eight bits, and of each group of `GROUP` rows only
the highest score and the weight (the sum of exp(score)) are kept; then those groups are scored again in float32 that
may hold one of the best, by a bound on what eight bits round off (Cauchy and Schwarz). So the best are the best, and
what all rows weigh together is known to about 1e-4: by so much a probability may be wrong, of itself.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

GROUP = 32
"""Rows of which one maximum is kept."""
BLOCK = 8192
"""Rows scored at a time: their scores stay in the processor's cache."""
SMALL = 1 << 13
"""Tables of fewer rows are scored in float32 at once."""
LOUD = 25.0
"""Above this length of a query, eight bits say too little of the weights: float32 instead."""
STEPS = 127
"""Of eight bits, on either side of 0."""
SAFE = 1e-4
"""Added to the bound, for what float32 itself rounds off."""


class Table:
    """Rows [rows, D], of which those from `first` on are items."""

    def __init__(self, vectors: Floats, first: int, *, threads: int = 1) -> None:
        self.vectors, self.first = vectors, first
        self._full = (len(vectors) - first) // GROUP
        """Groups that are whole; the rows after them are always scored in float32."""
        end = first + self._full * GROUP
        self._groups = vectors[first:end].reshape(self._full, GROUP, vectors.shape[1])
        self._eight: Any = None
        if len(vectors) >= SMALL:
            graph, self._error, self._longest = _rounded(vectors[first:end])
            self._eight = _session(graph, threads)

    def best(self, queries: Floats, most: int) -> tuple[list[Ints], list[Floats], npt.NDArray[np.float64]]:
        """Of each of N queries [N, D] at least the `most` rows of the highest scores, in no order, and their scores;
        and the log of all rows' weight [N].
        """
        lengths = np.sqrt((queries * queries).sum(axis=1))
        if self._eight is None or lengths.max(initial=0) > LOUD or not np.isfinite(lengths).all():
            return self._plain(queries, most)
        peak = np.maximum(np.abs(queries).max(axis=1, keepdims=True), 1e-30)
        rounded = np.rint(queries * (STEPS / peak)).astype(np.float32)
        # what is rounded off is at right angles to the query: then it changes the weight of all rows hardly at all
        scale = (lengths**2 / np.maximum((rounded * queries).sum(axis=1), 1e-30))[:, None].astype(np.float32)
        scale[lengths == 0] = 0
        off = queries - rounded * scale
        # |q t - q' t'| <= |q| |t - t'| + |q - q'| |t'|
        slack = lengths * self._error + np.sqrt((off * off).sum(axis=1)) * self._longest + SAFE
        feed = {"query": (rounded + 128).astype(np.uint8), "scale": scale[:, :, None]}
        maxima, weights = self._eight.run(None, feed)
        maxima *= scale
        tail = self.first + self._full * GROUP
        rest = np.arange(tail, len(self.vectors))
        beyond = queries @ self.vectors[tail:].T
        total = weights.sum(axis=1, dtype=np.float64) + np.exp(beyond.astype(np.float64)).sum(axis=1)
        rows, scores = [], []
        for k, query in enumerate(queries):
            groups, found = self._again(query, maxima[k], slack[k], min(most, self._full))
            total[k] += np.exp(found.astype(np.float64)).sum() - weights[k][groups].sum(dtype=np.float64)
            own = ((self.first + groups * GROUP)[:, None] + np.arange(GROUP)).ravel()
            rows.append(np.concatenate([own, rest]))
            scores.append(np.concatenate([found, beyond[k]]))
        return rows, scores, np.log(total)

    def _again(self, query: Floats, maxima: Floats, slack: float, count: int) -> tuple[Ints, Floats]:
        """The groups that may hold some of the `count` best rows, and the scores of all rows of these in float32."""
        if not count:
            return np.arange(0), np.zeros(0, np.float32)
        # of the groups that look best, the row that is the last of the best is at least as good as the last of all
        first = np.argpartition(maxima, -count)[-count:]
        found = self._groups[first] @ query
        least = np.partition(found.ravel(), -count)[-count]
        there = maxima >= least - slack
        there[first] = False
        more = np.flatnonzero(there)
        return np.concatenate([first, more]), np.concatenate([found.ravel(), (self._groups[more] @ query).ravel()])

    def _plain(self, queries: Floats, most: int) -> tuple[list[Ints], list[Floats], npt.NDArray[np.float64]]:
        scores = queries @ self.vectors[self.first :].T
        peak = scores.max(axis=1, keepdims=True)
        total = np.log(np.exp(scores - peak).sum(axis=1, dtype=np.float64)) + peak[:, 0]
        if most >= scores.shape[1]:
            every = np.arange(self.first, len(self.vectors))
            return [every] * len(queries), list(scores), total
        if not most:
            return [np.arange(0)] * len(queries), [np.zeros(0, np.float32)] * len(queries), total
        # all that are as good as the last one
        least = np.partition(scores, -most, axis=1)[:, -most]
        own = [np.flatnonzero(row >= bound) for row, bound in zip(scores, least, strict=True)]
        return [each + self.first for each in own], [row[each] for row, each in zip(scores, own, strict=True)], total


def _rounded(vectors: Floats) -> tuple[bytes, float, float]:
    """The graph from queries uint8 [N, D], 128 being 0, and what one step of them is worth, [N, 1, 1], to the maxima
    (in steps) and the weights [N, groups]; the longest difference of a row from what the graph has of it; and the
    longest of these.
    """
    from onnx import TensorProto, helper, numpy_helper

    nodes, held, worst, longest = [], [], 0.0, 0.0
    held.append(numpy_helper.from_array(np.array(1, np.float32), "one"))
    held.append(numpy_helper.from_array(np.array(128, np.uint8), "zero"))
    held.append(numpy_helper.from_array(np.array([0, -1, GROUP], np.int64), "shape"))
    held.append(numpy_helper.from_array(np.array([2], np.int64), "inner"))
    blocks = range(-(-len(vectors) // BLOCK))
    for k in blocks:
        block = vectors[k * BLOCK : (k + 1) * BLOCK]
        eight = np.rint(block * (STEPS / np.maximum(np.abs(block).max(axis=1, keepdims=True), 1e-30)))
        along = (eight * block).sum(axis=1)
        step = np.where(along > 0, (block * block).sum(axis=1) / np.maximum(along, 1e-30), 0).astype(np.float32)
        made = eight * step[:, None]
        worst = max(worst, float(np.sqrt(((block - made) ** 2).sum(axis=1)).max()))
        longest = max(longest, float(np.sqrt((made**2).sum(axis=1)).max()))
        held.append(numpy_helper.from_array(np.ascontiguousarray(eight.T.astype(np.int8)), f"rows{k}"))
        held.append(numpy_helper.from_array(step, f"step{k}"))
        inputs = ["query", f"rows{k}", "one", f"step{k}", "zero"]
        nodes += [
            helper.make_node("MatMulIntegerToFloat", inputs, [f"flat{k}"], domain="com.microsoft"),
            helper.make_node("Reshape", [f"flat{k}", "shape"], [f"scores{k}"]),
            helper.make_node("ReduceMax", [f"scores{k}"], [f"maxima{k}"], axes=[2], keepdims=0),
            helper.make_node("Mul", [f"scores{k}", "scale"], [f"scaled{k}"]),
            helper.make_node("Exp", [f"scaled{k}"], [f"exp{k}"]),
            helper.make_node("ReduceSum", [f"exp{k}", "inner"], [f"weights{k}"], keepdims=0),
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
    return data, worst, longest


def _session(graph: bytes, threads: int) -> Any:
    from clickflow.artefact.artefact import open_session

    return open_session(graph, threads=threads, where=Path("the table of items"))
