"""Sorted events become sessions, and sessions sequences: one linear pass, in numpy, whatever the engine.

A given session is kept as given, together with its user, even over a long silence. Where the source gives none, a
silence longer than the gap ends the session; every event of the user breaks a silence, also of a type that is not
packed. Then events of other types and events without an item are left out, consecutive repeats (same type, same
item) become their first one, and sessions longer than the maximum become pieces, each a sequence of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from clickflow.sequences.features import FEATURES, MICROSECOND, Array

SEQUENCE = ("source", "length", "actor", "start", "end", "session_start", "session", "piece", "moves", "content")
"""The columns of a sequence: its first step in the stream of steps, and so on; int64, times in microseconds. `moves`
are its steps that do not tie (same time, same or no order) with the step before, which its session's first cannot.
`content` is a hash of its steps, which no id of a user or session enters.
"""


def step_types() -> dict[str, str]:
    """The columns of a step that come from the engine, and their types."""
    numbered = {name: FEATURES[name].stored for name in ("time", "item", "action")}
    values = {name: feature.stored for name, feature in FEATURES.items() if feature.event}
    return numbered | values | {"category": FEATURES["category"].stored, "brand": "<i4"}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How sessions are cut. `used` bool [256]: by action code, whether it becomes a step; `gap` in microseconds."""

    used: Array
    gap: int
    drop_repeats: bool
    max_length: int


def rules(used: Iterable[int], *, gap_minutes: float, drop_repeats: bool, max_length: int) -> Rules:
    """Rules from params; `used` are action codes."""
    table = np.zeros(256, bool)
    table[list(used)] = True
    return Rules(
        used=table, gap=round(gap_minutes * 60 * MICROSECOND), drop_repeats=drop_repeats, max_length=max_length
    )


@dataclass
class Cutter:
    """Cuts a stream of batches; what it remembers between two of them is the last event and the open sequence."""

    rules: Rules
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
    _session: int = 0
    _step: tuple[int, int, int] = (0, 0, 0)  # session (the first is 1), item and action of the last one
    _position: int = 0
    _session_start: int = 0
    _step_time: int = 0
    _step_order: int = 0
    _open: dict[str, Array] = field(default_factory=dict)

    def push(self, rows: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Take the next batch of `engine.ordered_events` (`time` int64, missing prices NaN, `order` or none).

        Returns the steps (`step_types`), in order, and the sequences (`SEQUENCE`) that are known to have ended.
        """
        nothing = {name: np.zeros(0, kind) for name, kind in step_types().items()}, _no_sequences()
        if not len(rows["time"]):
            return nothing
        session = self._number_sessions(rows)
        keep = self._wanted(rows)
        session, actor = session[keep], rows["actor"][keep]
        order = rows["order"][keep] if "order" in rows else np.zeros(len(session), np.int64)
        steps = {name: rows[name][keep] for name in step_types()}
        if self.rules.drop_repeats and len(session):
            keep = ~self._repeated(session, steps["item"], steps["action"])
            self.repeats += len(keep) - int(keep.sum())
            session, actor, order = session[keep], actor[keep], order[keep]
            steps = {name: values[keep] for name, values in steps.items()}
        if not len(session):
            return nothing
        return steps, self._sequences(session, actor, order, steps)

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

    def _number_sessions(self, rows: Mapping[str, Array]) -> Array:
        actor, time = rows["actor"], rows["time"]
        silence = time - _before(time, self._time)
        new = (actor != _before(actor, self._actor)) | (rows["open"] & (silence > self.rules.gap))
        session = self._session + np.cumsum(new)
        self._actor, self._time, self._session = int(actor[-1]), int(time[-1]), int(session[-1])
        return session

    def _wanted(self, rows: Mapping[str, Array]) -> Array:
        used, with_item = self.rules.used[rows["action"]], rows["item"] >= 0
        keep: Array = used & with_item
        self.type_not_used += int((~used).sum())
        self.no_item += int((used & ~with_item).sum())
        return keep

    def _repeated(self, session: Array, item: Array, action: Array) -> Array:
        last = self._step
        same: Array = (
            (session == _before(session, last[0]))
            & (item == _before(item, last[1]))
            & (action == _before(action, last[2]))
        )
        return same

    def _sequences(self, session: Array, actor: Array, order: Array, steps: Mapping[str, Array]) -> dict[str, Array]:
        time = steps["time"]
        index = np.arange(len(session))
        first = session != _before(session, self._step[0])
        move = ~first & ((time != _before(time, self._step_time)) | (order != _before(order, self._step_order)))
        moves = self.moves + np.cumsum(move)
        # -1 where the session began in an earlier batch
        begun = np.maximum.accumulate(np.where(first, index, -1))
        position = np.where(begun >= 0, index - begun, self._position + 1 + index)
        session_start = np.where(begun >= 0, time[begun], self._session_start)
        hashed = _hashes(position, steps)
        content = self.content + np.cumsum(hashed)

        starts = np.flatnonzero(position % self.rules.max_length == 0)
        opened = {
            "source": self.steps + starts,
            "actor": actor[starts].astype(np.int64),
            "start": time[starts],
            "session_start": session_start[starts],
            "session": session[starts],
            "moves": (moves - move)[starts],
            "content": (content - hashed)[starts],
            "piece": position[starts] // self.rules.max_length + 1,
        }
        ends = _before(time, self._step_time)[starts]
        self.steps += len(session)
        self.moves, self.content = int(moves[-1]), content[-1:]
        self._step = int(session[-1]), int(steps["item"][-1]), int(steps["action"][-1])
        self._position, self._session_start = int(position[-1]), int(session_start[-1])
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


def _hashes(position: Array, steps: Mapping[str, Array]) -> Array:
    """A hash of each step at its place in the session, int64 [n]: rounds of splitmix64 (Steele, Lea, Flood 2014)."""
    mixed = position.astype(np.uint64)
    for name, kind in step_types().items():
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
