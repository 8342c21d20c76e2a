"""Sorted events become groups, and groups sequences: one linear pass, in numpy, whatever the engine and the unit.

The unit's rules say where a group of an actor's events begins. Then events of other types and events without an item
are left out, consecutive repeats (same type, same item) become their first one, and groups longer than the maximum
become pieces, each a sequence of its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from clickflow.sequences.features import FEATURES, Array, held
from clickflow.sequences.units.unit import Rules

SEQUENCE = ("source", "length", "actor", "start", "end", "group_start", "group", "piece", "moves", "content")
"""The columns of a sequence: its first step in the stream of steps, and so on; int64, times in microseconds. `moves`
are its steps that do not tie (same time, same or no order) with the step before, which its group's first cannot.
`content` is a hash of its steps, which no id of a user or group enters.
"""


def step_types(columns: Iterable[str] = ()) -> dict[str, str]:
    """The columns of a step that come from the engine, and their types; `columns`: as a unit names them."""
    numbered = {name: FEATURES[name].stored for name in ("time", "item", "action")}
    values = {name: feature.stored for name, feature in held(columns).items() if feature.event}
    return numbered | values | {"category": FEATURES["category"].stored, "brand": "<i4"}


@dataclass
class Cutter:
    """Cuts a stream of batches by the rules of a unit; `types` are the names of the action codes.

    What it remembers between two batches is the last event and the open sequence.
    """

    rules: Rules
    types: Sequence[str]
    columns: tuple[str, ...] = ()
    """As the unit names them."""
    type_not_used: int = 0
    no_item: int = 0
    repeats: int = 0
    steps: int = 0
    """Steps handed out so far."""
    moves: int = 0
    """As in `SEQUENCE`, so far."""
    content: Array = field(default_factory=lambda: np.zeros(1, np.int64))
    """As in `SEQUENCE`, so far, modulo 2^64; [1], since arrays wrap around without a warning."""
    _actor: int = -1
    _time: int = 0
    _group: int = 0
    _step: tuple[int, int, int] = (0, 0, 0)  # group (the first is 1), item and action of the last one
    _position: int = 0
    _group_start: int = 0
    _step_time: int = 0
    _step_order: int = 0
    _open: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._used = np.zeros(256, bool)
        self._used[[self.types.index(name) for name in self.rules.event_types]] = True
        self._types = step_types(self.columns)

    def push(self, rows: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Take the next batch of `engine.ordered_events` (`time` int64, missing prices NaN, `order` or none).

        Returns the steps (`step_types`), in order, and the sequences (`SEQUENCE`) that are known to have ended.
        """
        nothing = {name: np.zeros(0, kind) for name, kind in self._types.items()}, _no_sequences()
        if not len(rows["time"]):
            return nothing
        group = self._number_groups(rows)
        keep = self._wanted(rows)
        group, actor = group[keep], rows["actor"][keep]
        order = rows["order"][keep] if "order" in rows else np.zeros(len(group), np.int64)
        steps = {name: rows[name][keep] for name in self._types}
        if self.rules.drop_repeats and len(group):
            keep = ~self._repeated(group, steps["item"], steps["action"])
            self.repeats += len(keep) - int(keep.sum())
            group, actor, order = group[keep], actor[keep], order[keep]
            steps = {name: values[keep] for name, values in steps.items()}
        if not len(group):
            return nothing
        return steps, self._sequences(group, actor, order, steps)

    def finish(self) -> dict[str, Array]:
        """The last sequence, once there are no more events."""
        if not self._open:
            return _no_sequences()
        source, end = self._open["source"], np.array([self._step_time])
        return self._open | {
            "length": self.steps - source,
            "moves": self.moves - self._open["moves"],
            "content": self.content - self._open["content"],
            "end": end,
        }

    def _number_groups(self, rows: Mapping[str, Array]) -> Array:
        actor, time = rows["actor"], rows["time"]
        new = (actor != _before(actor, self._actor)) | self.rules.begins(rows, _before(time, self._time))
        group = self._group + np.cumsum(new)
        self._actor, self._time, self._group = int(actor[-1]), int(time[-1]), int(group[-1])
        return group

    def _wanted(self, rows: Mapping[str, Array]) -> Array:
        used, with_item = self._used[rows["action"]], rows["item"] >= 0
        keep: Array = used & with_item
        self.type_not_used += int((~used).sum())
        self.no_item += int((used & ~with_item).sum())
        return keep

    def _repeated(self, group: Array, item: Array, action: Array) -> Array:
        last = self._step
        same: Array = (
            (group == _before(group, last[0])) & (item == _before(item, last[1])) & (action == _before(action, last[2]))
        )
        return same

    def _sequences(self, group: Array, actor: Array, order: Array, steps: Mapping[str, Array]) -> dict[str, Array]:
        time = steps["time"]
        index = np.arange(len(group))
        first = group != _before(group, self._step[0])
        move = ~first & ((time != _before(time, self._step_time)) | (order != _before(order, self._step_order)))
        moves = self.moves + np.cumsum(move)
        # -1 where the group began in an earlier batch
        begun = np.maximum.accumulate(np.where(first, index, -1))
        position = np.where(begun >= 0, index - begun, self._position + 1 + index)
        group_start = np.where(begun >= 0, time[begun], self._group_start)
        hashed = _hashes(position, steps, self._types)
        content = self.content + np.cumsum(hashed)

        starts = np.flatnonzero(position % self.rules.max_length == 0)
        opened = {
            "source": self.steps + starts,
            "actor": actor[starts].astype(np.int64),
            "start": time[starts],
            "group_start": group_start[starts],
            "group": group[starts],
            "moves": (moves - move)[starts],
            "content": (content - hashed)[starts],
            "piece": position[starts] // self.rules.max_length + 1,
        }
        ends = _before(time, self._step_time)[starts]
        self.steps += len(group)
        self.moves, self.content = int(moves[-1]), content[-1:]
        self._step = int(group[-1]), int(steps["item"][-1]), int(steps["action"][-1])
        self._position, self._group_start = int(position[-1]), int(group_start[-1])
        self._step_time, self._step_order = int(time[-1]), int(order[-1])
        return self._end(opened, ends)

    def _end(self, opened: dict[str, Array], ends: Array) -> dict[str, Array]:
        """End the open sequence and all the opened ones but the last, which is now the open one."""
        if not len(ends):
            return _no_sequences()
        if self._open:
            opened = {name: np.concatenate([self._open[name], values]) for name, values in opened.items()}
        else:
            ends = ends[1:]  # nothing ended where the very first sequence begins
        self._open = {name: values[-1:] for name, values in opened.items()}
        ended = {name: values[:-1] for name, values in opened.items()}
        counted = {"length": "source", "moves": "moves", "content": "content"}
        return ended | {name: np.diff(opened[start]) for name, start in counted.items()} | {"end": ends}


def _hashes(position: Array, steps: Mapping[str, Array], types: Mapping[str, str]) -> Array:
    """A hash of each step at its place in the group, int64 [n]: rounds of splitmix64 (Steele, Lea, Flood 2014)."""
    mixed = position.astype(np.uint64)
    for name, kind in types.items():
        bits = np.ascontiguousarray(steps[name], kind).view(f"u{np.dtype(kind).itemsize}")
        mixed = (mixed ^ bits) * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(31)
    return mixed.view(np.int64)


def _before(values: Array, last: int) -> Array:
    """Each value's predecessor; `last` is that of the batch before."""
    shifted = np.empty_like(values)
    shifted[0], shifted[1:] = last, values[:-1]
    return shifted


def _no_sequences() -> dict[str, Array]:
    return {name: np.zeros(0, np.int64) for name in SEQUENCE}


@dataclass(frozen=True)
class Cut:
    """The stream of steps, mapped, and the file of the sequences in it."""

    cutter: Cutter
    steps: dict[str, Array]
    sequences: Path
