"""Histories of persons as of cut-offs: who is in, where each sequence lies in the steps of its person. Pure numpy.
A series of periods is a person too: its key in the place of the user's.

A part holds the steps of each of its persons once, from the first to the last that any of its answers may come from.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clickflow.sequences.card import NOW
from clickflow.sequences.features import Array
from clickflow.sequences.units.unit import AsOf
from clickflow.system.moments import DAY

if TYPE_CHECKING:
    import pyarrow as pa

PERSONS = 1 << 14
"""So many are looked at together."""
ROWS = 1 << 17
"""Rows of sequences.parquet that are made together."""


@dataclass(frozen=True)
class Persons:
    """Everybody with a step, in the order of the store: by first and last step and content; the same under every key.

    `user` is an Arrow array of ids; `source` int64 [P] where the steps of each begin in the stream of steps, `length`
    int64 [P] how many there are.
    """

    user: "pa.Array"
    source: Array
    length: Array

    @staticmethod
    def read(path: Path) -> "Persons":
        """From a scratch file of `engine.ordered_sequences`."""
        from pyarrow import parquet

        table = parquet.read_table(path, columns=["user_id", "source", "length"]).combine_chunks()
        source, length = (table[name].to_numpy().astype(np.int64) for name in ("source", "length"))
        return Persons(table["user_id"].combine_chunks(), source, length)


@dataclass(frozen=True)
class Histories:
    """The sequences of one part, by cut-off and then by person, [n].

    `owner`: the person; `read` and `answered`: how many of their steps lie before the cut-off, and before the end of
    its horizon; `cut_off` in microseconds since 1970 UTC; `start` and `end`: the times of the first and the last step
    read.
    """

    persons: Persons
    owner: Array
    read: Array
    answered: Array
    cut_off: Array
    start: Array
    end: Array

    @cached_property
    def held(self) -> Array:
        """How many steps of each person the part holds, int64 [P]: none of those who are not in it."""
        held = np.zeros(len(self.persons.length), np.int64)
        np.maximum.at(held, self.owner, self.answered)
        return held

    @property
    def inside(self) -> Array:
        """The persons that the part holds."""
        return np.flatnonzero(self.held)

    @property
    def bounds(self) -> Mapping[str, Array]:
        """Where the sequences lie in the columns of the part, as `store.Bounds` names it."""
        begin = (np.cumsum(self.held) - self.held)[self.owner]
        return {"begin": begin, "end": begin + self.read, "until": begin + self.answered, "cut_off": self.cut_off}

    def write_persons(self, path: Path) -> None:
        """Who the part holds, as `pack` reads sequences: `user_id`, `source`, `length`."""
        import pyarrow as pa
        from pyarrow import parquet

        inside = self.inside
        user = self.persons.user.take(pa.array(inside))
        columns = {"user_id": user, "source": self.persons.source[inside], "length": self.held[inside]}
        parquet.write_table(pa.table(columns), path, compression="none", row_group_size=ROWS)

    def rows(self, schema: "pa.Schema") -> "Iterator[pa.Table]":
        """The rows of sequences.parquet, whose first column says whose each is."""
        import pyarrow as pa

        for first in range(0, len(self.owner), ROWS):
            some = slice(first, first + ROWS)
            columns = {
                schema.names[0]: self.persons.user.take(pa.array(self.owner[some])),
                "cut_off": pa.array(self.cut_off[some]),
                "start": pa.array(self.start[some]),
                "end": pa.array(self.end[some]),
                "length": pa.array(self.read[some]),
            }
            yield pa.table({field.name: columns[field.name].cast(field.type) for field in schema})


def histories(
    persons: Persons, steps: Mapping[str, Array], active: int, how: AsOf, cut_offs: Mapping[str, list[int]]
) -> dict[str, Histories]:
    """By part: of every person who did something of the action code `active` lately, and as often as `how` asks, all
    that was before each cut-off.

    `steps` are the columns of the stream of steps, each person's in the order of time.
    """
    moments = np.unique(np.concatenate([np.array(each, np.int64) for each in cut_offs.values()]))
    ends = moments + how.horizon_days * DAY
    parts: dict[str, list[tuple[Array, ...]]] = {name: [] for name in cut_offs}
    for first in range(0, len(persons.length), PERSONS):
        chosen = slice(first, first + PERSONS)
        where = _places(persons.source[chosen], persons.length[chosen])
        owner = np.repeat(np.arange(len(persons.length[chosen])), persons.length[chosen])
        time, action = steps["time"][where], steps["action"][where]
        read, answered = (_before(owner, time, each, len(persons.length[chosen])) for each in (moments, ends))
        offsets = np.cumsum(persons.length[chosen]) - persons.length[chosen]
        is_in = _lately(time, action == active, offsets, read, moments - how.active_days * DAY)
        if how.least > 1:
            done = np.concatenate([[0], np.cumsum(action == active)])
            is_in &= done[offsets[:, None] + read] - done[offsets[:, None]] >= how.least
        for name, each in cut_offs.items():
            places = np.searchsorted(moments, each)
            person, place = np.nonzero(is_in[:, places])
            at = places[place]
            before = read[person, at]
            until = before if name == NOW else answered[person, at]
            last = time[offsets[person] + before - 1]
            parts[name].append((first + person, before, until, moments[at], time[offsets[person]], last))
    return {name: _ordered(persons, each) for name, each in parts.items()}


def _ordered(persons: Persons, parts: list[tuple[Array, ...]]) -> Histories:
    columns = [np.concatenate(each) for each in zip(*parts, strict=True)] if parts else [np.zeros(0, np.int64)] * 6
    order = np.argsort(columns[3], kind="stable")
    return Histories(persons, *(column[order] for column in columns))


def _places(source: Array, length: Array) -> Array:
    """Where the steps of some persons lie in the stream of steps."""
    before = np.cumsum(length) - length
    return np.repeat(source - before, length) + np.arange(length.sum())


def _before(owner: Array, time: Array, moments: Array, persons: int) -> Array:
    """How many steps of each person lie before each of the ascending `moments`, int64 [persons, moments]."""
    passed = np.searchsorted(moments, time, side="right")  # a step is before moment k where it has passed k or fewer
    counted = np.bincount(owner * (len(moments) + 1) + passed, minlength=persons * (len(moments) + 1))
    return np.cumsum(counted.reshape(persons, -1), axis=1)[:, :-1]


def _lately(time: Array, active: Array, offsets: Array, read: Array, since: Array) -> Array:
    """Whether a person has an active step among those read, at or after `since` [moments], [persons, moments]."""
    latest = np.maximum.accumulate(np.where(active, np.arange(len(time)), -1))
    latest = np.append(latest, -1)  # of a person who has read nothing
    last = latest[np.where(read > 0, offsets[:, None] + read - 1, len(time))]
    lately: Array = (last >= offsets[:, None]) & (time[np.maximum(last, 0)] >= since)
    return lately
