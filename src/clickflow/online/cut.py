"""An exported network cut in three: what reads histories and what mixes answers stay graphs, what scores all items
becomes a table.

The graph of the artefact does several passes over the numbers of all items. Who wants the best few needs one, in few
bits; the rest of the graph is the same whether a row of scores holds all items or only those that may be answered, with
what the others weigh in a column of its own. So it is run on these few. `apart` finds the cuts, `laid` keeps what is
made for them. Tests hold all answers against the whole graph.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import open_session
from clickflow.online import laid, near
from clickflow.online.near import Near
from clickflow.online.parts import Array, Parts
from clickflow.online.table import Table, products
from clickflow.sequences.indexes import FIRST_ITEM, UNKNOWN

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Feed = Mapping[str, npt.NDArray[Any]]

MORE = 8
"""So many times as many of the best are looked for where the graph names them all."""
TOPS = 16
"""The best by each score that are looked for where questions are alike: so many, that the graph does not name them all,
and the best of several scores is among them.
"""
SEVERAL = 3
"""So many times as many of the best are looked for by each score, where an item has several."""
NEVER = -1e9
"""The score of a column that is no item."""


@dataclass(frozen=True)
class Ranked:
    """Items that may be among the best for one question, the likeliest first; equal ones by index."""

    items: Ints
    logs: Floats
    sure: int
    """So many of the first are the best of all; those after them, too, but there may be others between."""


@dataclass(frozen=True)
class Alike:
    """Of questions that name much the same items: what is known of all items that any of them names."""

    items: Ints
    """[U] by index, the likeliest of each question among them."""
    logs: Floats
    """[N, U]."""


class Cut:
    """In the place of an artefact's onnxruntime session: it has the same inputs and outputs."""

    def __init__(
        self, parts: Parts, held: Mapping[str, Array], *, threads: int = 1, where: Path, scan: bool = True
    ) -> None:
        """`held`: the constants of the parts, which stay in use; `scan`: whether all items are scored in eight bits at
        once, else when `approximated` says so.
        """
        self._known = parts.known
        self._inputs, self._outputs = parts.inputs, parts.outputs
        self._open = partial(parts.reader.opened, threads=threads, where=where)
        self._last = parts.last.opened(threads=threads, where=where) if parts.last else None
        self._vectors = {name: held[table] for name, table in parts.vectors.items()}
        tables = {
            name: Table(held[name], FIRST_ITEM, threads=threads, scan=scan, laid=(parts.scans[name], held, name))
            for name in dict.fromkeys(table for _, table in parts.queries.values())
        }
        self._queries: dict[str, tuple[str, Table | Near]] = {
            score: (query, tables[name]) for score, (query, name) in parts.queries.items()
        }
        self._mixers = parts.mixers
        self._given = {name: held[name] for name in parts.reader.held}
        self._mixing = {name: own.piece.opened(threads=1, where=where) for name, own in parts.mixers.items()}
        self.index: near.Quality | None = None
        """Of the index that answers, or was tried."""

    def get_inputs(self) -> Sequence[Any]:
        """As of onnxruntime: name and type."""
        return self._inputs

    def get_outputs(self) -> Sequence[Any]:
        """As of onnxruntime: name and shape."""
        return self._outputs

    @property
    def tables(self) -> list[Floats]:
        """The vectors of all items by which rankings are made, [known, D] each."""
        return [table.vectors for table in self.exact]

    @property
    def exact(self) -> list[Table]:
        """These tables, which find the best without an index."""
        held = {id(table): table for _, table in self._queries.values()}.values()
        return [table.table if isinstance(table, Near) else table for table in held]

    def quick(self, output: str) -> bool:
        """Whether `best` and `alike` answer this output."""
        return output in self._mixers

    def single(self, output: str) -> bool:
        """Whether every item has one score in this output, and not one of each network or step ahead."""
        return output in self._mixers and len(self._mixers[output].scores) == 1

    @property
    def of_one_step(self) -> bool:
        """Whether histories are read for the step that is asked alone (`narrow`)."""
        return self._last is not None

    @property
    def approximate(self) -> bool:
        """Whether some of the best items may be missing from what `best` says, and weights are estimates."""
        return any(isinstance(table, Near) for _, table in self._queries.values())

    def approximated(self, feed: Feed, least: float, file: Path) -> "Cut":
        """The same with an index in the place of its largest table, if that is one of rankings that are `quick`: see
        `near.build`. `feed`: some questions, by which it is measured; else all its tables `scan`.
        """
        quick = [self._mixers[name].scores[0] for name in self._mixers if self.single(name)]
        tables = {id(self._queries[name][1]): name for name in quick}
        near_one: Near | None = None
        if len(tables) == 1:
            ((own, name),) = tables.items()
            query, table = self._queries[name]
            assert isinstance(table, Table)
            (queries,) = self._run([query], feed)
            near_one, self.index = near.build(table, queries, least, file)
            if near_one is not None:
                self._queries = {
                    each: (query, near_one if id(table) == own else table)
                    for each, (query, table) in self._queries.items()
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
            name: (self._best if self.single(name) else self._best_of_several)(name, read, max(each), also)
            for name, each in most.items()
        }

    def alike(self, output: str, feed: Feed, also: Ints) -> Alike:
        """Of a ranking, for N questions that name much the same items, as those of one history less a step do: how
        likely each item is that any of them names, or that is among the best of any, or in `also`.
        """
        read, most = self._read([output], feed), TOPS
        while (alike := self._alike(output, read, also, most)) is None:
            most *= MORE
        return alike

    def _alike(self, output: str, read: Feed, also: Ints, most: int) -> Alike | None:
        """None: of some question what stands nowhere here may be better than all that does."""
        mixer = self._mixers[output]
        queries: list[Floats] = [read[self._queries[name][0]] for name in mixer.scores]
        tables = [self._queries[name][1] for name in mixer.scores]
        ranked = [table.best(query, most) for query, table in zip(queries, tables, strict=True)]
        count, known, several = len(queries[0]), self._known, len(mixer.scores) > 1
        there = np.zeros(known, bool)
        for each in (*(read[of] for of in mixer.indexes), *(top for tops, _, _ in ranked for top in tops), also):
            there[each] = True
        there[:FIRST_ITEM] = False
        items = np.flatnonzero(there)
        place = np.arange(known)  # of an item in a row; what is none stays as it is
        place[items] = np.arange(FIRST_ITEM, FIRST_ITEM + len(items))
        own = slice(FIRST_ITEM, FIRST_ITEM + len(items))
        row = np.repeat(np.arange(count), [len(each) for each in ranked[0][0]])
        best = place[np.concatenate(ranked[0][0])]
        feed: dict[str, Any] = {each: read[each] for each in mixer.others}
        for name, query, table, (tops, scores, total) in zip(mixer.scores, queries, tables, ranked, strict=True):
            narrow = np.full((count, own.stop + 1 + several), NEVER, np.float32)
            narrow[:, own] = query @ np.asarray(table.vectors)[items].T
            at = np.repeat(np.arange(count), [len(each) for each in tops])
            narrow[at, place[np.concatenate(tops)]] = np.concatenate(scores)
            every = np.exp(total)
            rest = every - np.exp(narrow[:, own].astype(np.float64)).sum(axis=1)
            if several:
                rest = _bounded(narrow, scores, rest, self._exact(name).rough * every)
            narrow[:, -1] = np.log(np.maximum(rest, 1e-30))
            if several and len(items) == known - FIRST_ITEM:
                narrow[:, own.stop :] = NEVER
            feed[name] = narrow
        plain = np.ones((count, own.stop + 1 + several), bool)  # whether the graph does not name the item
        for of in mixer.indexes:
            feed[of] = place[read[of]]
            np.put_along_axis(plain, feed[of], False, axis=1)
        (mixed,) = self._mixing[output].run(None, feed)
        logs: Floats = mixed[:, own]
        if several:
            hidden = bool((mixed[:, own.stop] > logs.max(axis=1, initial=NEVER)).any())
        else:  # see `_best`
            hidden = 0 < most < known - FIRST_ITEM and len(np.unique(row[plain[row, best]])) < count
        return None if hidden else Alike(items, logs)

    def _read(self, names: Sequence[str], feed: Feed) -> dict[str, Any]:
        wanted: dict[str, None] = {}
        for name in names:
            mixer = self._mixers.get(name)
            if mixer is None:
                wanted[name] = None
            else:
                wanted |= dict.fromkeys((*mixer.indexes, *mixer.others))
                wanted |= {self._queries[each][0]: None for each in mixer.scores}
        return dict(zip(wanted, self._run(list(wanted), feed), strict=True))

    def _run(self, names: list[str], feed: Feed) -> list[npt.NDArray[Any]]:
        row = feed.get("row")
        each_its_own = row is not None and len(row) == len(feed["item"]) and bool((row == np.arange(len(row))).all())
        reader = self._last if self._last is not None and each_its_own else self._reader
        answers: list[npt.NDArray[Any]] = reader.run(names, self._full(feed))
        return answers

    @cached_property
    def _reader(self) -> Any:
        """What reads histories and is asked at any of their steps."""
        return self._open()

    def _full(self, feed: Feed) -> dict[str, Any]:
        full = {**feed, **self._given}
        for name, table in self._vectors.items():
            index = feed["item"]
            full[name] = np.asarray(table)[np.where(index < self._known, index, UNKNOWN)]
        return full

    def _mixed(self, name: str, read: Feed, scores: Feed) -> npt.NDArray[Any]:
        mixer = self._mixers[name]
        feed = {each: scores[each] for each in mixer.scores}
        feed |= {each: read[each] for each in (*mixer.indexes, *mixer.others)}
        mixed: npt.NDArray[Any] = self._mixing[name].run([name], feed)[0]
        return mixed

    def _best(self, output: str, read: Feed, most: int, also: Sequence[Ints]) -> list[Ranked]:
        mixer = self._mixers[output]
        (name,) = mixer.scores
        query, table = self._queries[name]
        queries: Floats = read[query]
        count, known = len(queries), len(table.vectors)
        tops, scores, total = table.best(queries, most)
        # the items of a row: those that the graph names, those asked for, and the best by score; of all rows one after
        # the other, as row times the number of items, plus the item
        shift = np.arange(count) * known
        named = [(each, read[each] + shift[:, None]) for each in mixer.indexes]
        there = [read[of] >= FIRST_ITEM for of, _ in named]
        keys, (tops_at, *named_at) = _distinct(
            [_keys(tops, shift), *(key[own] for (_, key), own in zip(named, there, strict=True)), _keys(also, shift)]
        )
        starts = np.searchsorted(keys, np.arange(count + 1) * known)
        row = np.repeat(np.arange(count), np.diff(starts))
        items, place = keys - shift[row], np.arange(len(keys)) - starts[row] + FIRST_ITEM
        width = int(np.diff(starts).max(initial=0)) + FIRST_ITEM + 1
        narrow = np.full((count, width), NEVER, np.float32)
        high, free = np.concatenate(scores), np.zeros(len(keys), bool)
        free[tops_at] = True
        narrow[row[tops_at], place[tops_at]] = high
        others, of = items[~free], row[~free]
        ends = np.searchsorted(of, np.arange(count + 1)).tolist()
        narrow[of, place[~free]] = products(np.asarray(table.vectors), others, queries, ends)
        kept = np.exp(narrow[:, FIRST_ITEM:].astype(np.float64)).sum(axis=1)
        narrow[:, -1] = np.log(np.maximum(np.exp(total) - kept, 1e-30))
        feed: dict[str, Any] = {name: narrow} | {each: read[each] for each in mixer.others}
        plain = np.ones(len(keys), bool)  # whether the graph does not name the item
        for each, own, at in zip(mixer.indexes, there, named_at[:-1], strict=True):
            plain[at] = False
            feed[each] = read[each].copy()
            feed[each][own] = place[at]
        (mixed,) = self._mixing[output].run(None, feed)
        logs = mixed[row, place]
        free &= plain
        # an item that stands nowhere here is no better than the last of the best that the graph does not name
        last = np.full(count, np.inf, np.float32)
        np.minimum.at(last, row[free], logs[free])
        if 0 < most < known - FIRST_ITEM and np.isinf(last).any():  # the graph names all of the best
            return self._best(output, read, MORE * most, also)
        sure = np.bincount(row[logs >= last[row]], minlength=count)
        whole = np.diff(starts) == known - FIRST_ITEM
        sure[whole] = np.diff(starts)[whole]
        return _ranked(items, logs, row, starts, sure)

    def _exact(self, score: str) -> Table:
        _, table = self._queries[score]
        return table.table if isinstance(table, Near) else table

    def _best_of_several(self, output: str, read: Feed, most: int, also: Sequence[Ints]) -> list[Ranked]:
        """As `_best`, where an item has several scores: one of each network of an ensemble, or of each step ahead. The
        best of all together need not be the best by any of them, but no item that is among the best of none is better
        than one would be that has the last score of each; such a one stands beside the items, as a bound.
        """
        mixer, looked = self._mixers[output], min(SEVERAL * most, self._known)
        queries = [read[self._queries[name][0]] for name in mixer.scores]
        tables = [self._exact(name) for name in mixer.scores]
        ranked = [table.best(query, looked) for query, table in zip(queries, tables, strict=True)]
        count, known = len(queries[0]), self._known
        shift = np.arange(count) * known
        named = [(each, read[each] + shift[:, None]) for each in mixer.indexes]
        keys = np.concatenate(
            [
                *(each[read[of] >= FIRST_ITEM] for of, each in named),
                *(_keys(own, shift) for own in [also, *(f[0] for f in ranked)]),
            ]
        )
        keys = np.unique(keys)
        starts = np.searchsorted(keys, np.arange(count + 1) * known)
        row = np.repeat(np.arange(count), np.diff(starts))
        items, place = keys - shift[row], np.arange(len(keys)) - starts[row] + FIRST_ITEM
        width = int(np.diff(starts).max(initial=0)) + FIRST_ITEM + 2
        whole = np.diff(starts) == known - FIRST_ITEM
        feed: dict[str, Any] = {each: read[each] for each in mixer.others}
        for name, query, table, (_, scores, total) in zip(mixer.scores, queries, tables, ranked, strict=True):
            narrow = np.full((count, width), NEVER, np.float32)
            narrow[row, place] = products(np.asarray(table.vectors), items, query, starts.tolist())
            every = np.exp(total)
            rest = every - np.exp(narrow[:, FIRST_ITEM:].astype(np.float64)).sum(axis=1)
            narrow[:, -1] = np.log(np.maximum(_bounded(narrow, scores, rest, table.rough * every), 1e-30))
            narrow[whole, -2:] = NEVER
            feed[name] = narrow
        for each, key in named:
            there = read[each] >= FIRST_ITEM
            feed[each] = read[each].copy()
            feed[each][there] = place[np.searchsorted(keys, key[there])]
        (mixed,) = self._mixing[output].run(None, feed)
        logs = mixed[row, place]
        sure = np.bincount(row[logs >= mixed[row, -2]], minlength=count)
        sure[whole] = np.diff(starts)[whole]
        if (sure < min(most, known - FIRST_ITEM)).any():
            return self._best_of_several(output, read, MORE * most, also)
        return _ranked(items, logs, row, starts, sure)


def _bounded(narrow: Floats, scores: Sequence[Floats], rest: Any, rough: Any) -> Any:
    """Put before the last column of `narrow` a made-up item: no item that is not among the best of a row, whose
    `scores` these are, has a higher score. What is left for others of the weight `rest`, known to `rough`; none of them
    weighs more.
    """
    last = np.array([each.min(initial=np.inf) for each in scores])
    bound = np.minimum(last, np.log(np.maximum(rest, 0) + rough))
    narrow[:, -2] = bound
    return rest - np.exp(bound)


def _ranked(items: Ints, logs: Floats, row: Ints, starts: Ints, sure: Ints) -> list[Ranked]:
    # one sort of numbers that are the row, the log as whole numbers in the order of floats, and the place among all
    places = len(row).bit_length()
    bits = (np.float32(0) - logs).view(np.int32)
    bits = np.where(np.isnan(logs), np.iinfo(np.int32).max, bits ^ ((bits >> 31) & np.iinfo(np.int32).max))
    keys = (row << (32 + places)) + (bits.astype(np.int64) << places) + np.arange(len(row))
    keys.sort()
    order = keys & ((1 << places) - 1)
    items, logs = items[order], logs[order]
    own = [slice(*each) for each in itertools.pairwise(starts.tolist())]
    return [Ranked(items[part], logs[part], most) for part, most in zip(own, sure.tolist(), strict=True)]


def _distinct(keys: Sequence[Ints]) -> tuple[Ints, list[Ints]]:
    """All different keys in order, and by array of `keys` where its own stand among them. Keys, shifted by as many bits
    as count them all, fit into 63.
    """
    every = np.concatenate(keys)
    bits = len(every).bit_length()
    # a key has its own place in its low bits: one sort says both
    ordered = (every << bits) | np.arange(len(every))
    ordered.sort()
    sorted_keys = ordered >> bits
    first = np.ones(len(every), bool)
    np.not_equal(sorted_keys[1:], sorted_keys[:-1], out=first[1:])
    at = np.empty(len(every), np.int64)
    at[ordered & ((1 << bits) - 1)] = np.cumsum(first) - 1
    ends = itertools.pairwise(itertools.accumulate(map(len, keys), initial=0))
    return sorted_keys[first], [at[begin:end] for begin, end in ends]


def _keys(items: Sequence[Ints], shift: Ints) -> Ints:
    """Items of rows as keys."""
    return np.concatenate(items) + np.repeat(shift, [len(each) for each in items])


def opened(file: Path, card: Mapping[str, Any], *, threads: int = 1, scan: bool = True) -> Any:
    """What answers for the model in `file` of an artefact: a `Cut`, or where there is none a session of onnxruntime."""
    parts, held = laid.out(file, str(card["model_sha256"]), int(card["known"]))
    if parts is None:
        return open_session(file.read_bytes(), threads=threads, where=file)
    return Cut(parts, held, threads=threads, where=file, scan=scan)
