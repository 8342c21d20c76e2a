"""An approximate index of items (faiss): the best few of a table without scoring all of it.

Items lie in lists of neighbours, and of each query the lists whose middles score highest are read, in two bits a
number; what looks best there is scored again in float32. How many lists that takes is measured when a model is loaded,
on queries of its own, against all scores: as few as find `least` of the best 20. Where a quarter of the lists is too
few, there is no index, and all items are scored. What all items weigh together is estimated: those that were found, and
for all others the mean of a sample; how far off that is, is measured too.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from clickflow.online.table import Floats, Ints, Table, highest
from clickflow.system.errors import UsageError
from clickflow.system.files import sha256

LEAST = 20_000
"""Items of fewer all are scored: that is as fast."""
BEST = 20
"""Of so many of the best it is measured how many are found."""
SPARE, LOOKED_AT = 3, 256
"""So many times as many are looked for as are asked for, and so many at least: few bits order them otherwise than
float32, and the weight of all hangs on them.
"""
SAMPLE = 8192
"""Items by which the weight of those that were not found is estimated."""
TRAINED = 64
"""Items a list by which the lists are laid out."""
WIDEST = 4
"""Of all lists at most one in so many is read: above that, to score all is as fast."""
SHARE = 16
"""Where more than one in so many items is asked for, all are scored."""
KEPT = 4
"""Files kept of a model: of its versions before, the latest."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How near an index is to the truth, on the queries that it was measured by."""

    queries: int
    recall: float
    """Of the best `BEST` so many were found, in the mean."""
    probability_error: float
    """So far off is the probability of an item, relatively: 95 of 100 times it is less."""
    lists: int
    read: int
    """Of the lists."""


class Near:
    """In the place of a `Table`."""

    def __init__(self, table: Table, index: Any, seed: int = 0) -> None:
        self.table, self._index = table, index
        self.vectors, self.first = table.vectors, table.first
        count = len(self.vectors) - self.first
        chosen = np.sort(np.random.default_rng(seed).choice(count, min(SAMPLE, count // 2), replace=False))
        self._sample = np.asarray(self.vectors)[self.first + chosen]
        self._place = np.full(count, -1, np.int32)
        self._place[chosen] = np.arange(len(chosen))

    def best(self, queries: Floats, most: int) -> tuple[list[Ints], list[Floats], npt.NDArray[np.float64]]:
        """As of a table; some of the best may be missing, and the weight is estimated."""
        count = len(self.vectors) - self.first
        if most * SHARE > count:
            return self.table.best(queries, most)
        candidates = searched(self._index, queries, max(SPARE * most, LOOKED_AT))
        there = candidates >= 0
        scores = np.vecdot(np.asarray(self.vectors)[self.first + np.maximum(candidates, 0)], queries[:, None])
        scores[~there] = -np.inf
        own = [highest(row, most) for row in scores]
        rows = [self.first + each[at] for each, at in zip(candidates, own, strict=True)]
        lacking = there.sum(axis=1) < most  # the lists that were read hold too few
        total = self._total(queries, candidates, there, scores)
        high = [row[at] for row, at in zip(scores, own, strict=True)]
        if lacking.any():
            places = np.flatnonzero(lacking)
            for place, *exact in zip(places, *self.table.best(queries[places], most), strict=True):
                rows[place], high[place], total[place] = exact
        return rows, high, total

    def _total(self, queries: Floats, rows: Ints, there: Any, scores: Floats) -> npt.NDArray[np.float64]:
        sampled = queries @ self._sample.T
        peak = np.maximum(sampled.max(axis=1), scores.max(axis=1))[:, None]
        weights = np.exp(sampled - peak)
        place = np.where(there, self._place[np.maximum(rows, 0)], -1)
        both = place >= 0
        row = np.broadcast_to(np.arange(len(queries))[:, None], place.shape)
        weights[row[both], place[both]] = 0
        outside = len(self._place) - there.sum(axis=1)
        left = len(self._sample) - both.sum(axis=1)
        own = np.exp((scores - peak).astype(np.float64)).sum(axis=1)
        estimated: npt.NDArray[np.float64] = np.log(own + outside * weights.sum(axis=1, dtype=np.float64) / left)
        estimated += peak[:, 0]
        return estimated


def ready() -> Any:
    """faiss. Raises UsageError where it is not here."""
    try:
        import faiss
    except ImportError as error:
        raise UsageError(
            f"serve.index is approximate, and faiss cannot be loaded: {error}",
            kept="nothing was started",
            next_step="install faiss-cpu, or let serve.index be exact",
        ) from error
    return faiss


def searched(index: Any, queries: Floats, count: int) -> Ints:
    """The places [N, count] that look best to each query, -1 where there are no more; in the thread that calls."""
    ready().omp_set_num_threads(1)  # of this thread: others have their own
    rows: Ints = index.search(np.ascontiguousarray(queries, np.float32), count)[1]
    return rows


def build(table: Table, queries: Floats, least: float, file: Path) -> tuple[Near | None, Quality | None]:
    """The index of a table that finds `least` of the best, measured on `queries` [N, D], kept in `file` for other
    processes and later starts; None where that takes too many lists. The quality is that of the widest that was tried;
    None: there are so few items that none was.
    """
    if len(table.vectors) - table.first < LEAST:
        return None, None
    index, lists = _index(table, file)
    right, totals = _exact(table, queries)
    near, quality = Near(table, index), None
    for read in _widths(lists):
        index.nprobe = read
        rows, _, total = near.best(queries, BEST)
        recall = np.mean([np.isin(own, row).mean() for own, row in zip(right, rows, strict=True)])
        error = np.quantile(np.abs(np.expm1(total - totals)), 0.95)
        quality = Quality(len(queries), round(float(recall), 4), round(float(error), 4), lists, read)
        if recall >= least:
            return near, quality
    return None, quality


def _widths(lists: int) -> Iterator[int]:
    read = max(lists // 64, 1)
    while read <= lists // WIDEST:
        yield read
        read *= 2


def _exact(table: Table, queries: Floats) -> tuple[list[Ints], npt.NDArray[np.float64]]:
    """The best rows and the log of all rows' weight of each query, a few queries at a time."""
    blocks = [table.exact(queries[at : at + 8], BEST) for at in range(0, len(queries), 8)]
    return [row for rows, _, _ in blocks for row in rows], np.concatenate([total for _, _, total in blocks])


def _index(table: Table, file: Path) -> tuple[Any, int]:
    """Out of its file, which is written where it is not there or not as it was written; and how many lists it has."""
    faiss, note = ready(), file.with_suffix(".json")
    rows = np.asarray(table.vectors)[table.first :]
    lists = 1 << round(np.log2(len(rows) ** 0.5))
    said = {"rows": len(rows), "columns": rows.shape[1], "lists": lists, "faiss": faiss.__version__}
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        if msgspec.json.decode(note.read_bytes()) == {**said, "sha256": sha256(file)}:
            return faiss.read_index(str(file)), lists
    faiss.omp_set_num_threads(1)
    columns = rows.shape[1]
    code = "SQ8" if columns % 2 else f"PQ{columns // 2}x4fs"
    index = faiss.index_factory(columns, f"IVF{lists},{code}", faiss.METRIC_INNER_PRODUCT)
    chosen = np.sort(np.random.default_rng(0).choice(len(rows), min(TRAINED * lists, len(rows)), replace=False))
    index.train(rows[chosen])
    index.add(np.ascontiguousarray(rows))
    with contextlib.suppress(
        OSError, RuntimeError
    ):  # a disk that is full, or read-only: the next one lays it out again
        _write(faiss, index, file, note, said)
    return index, lists


def _write(faiss: Any, index: Any, file: Path, note: Path, said: dict[str, Any]) -> None:
    """Whole or not at all; those of the oldest versions go."""
    with tempfile.TemporaryDirectory(prefix=".near-", dir=file.parent) as scratch:
        fresh = Path(scratch, file.name)
        faiss.write_index(index, str(fresh))
        own = fresh.with_suffix(".json")
        own.write_bytes(msgspec.json.encode({**said, "sha256": sha256(fresh)}))
        fresh.replace(file)
        own.replace(note)
    there = sorted(file.parent.glob(".near-*.faiss"), key=lambda each: each.stat().st_mtime)
    for old in there[:-KEPT]:
        old.with_suffix(".json").unlink(missing_ok=True)
        old.unlink(missing_ok=True)
