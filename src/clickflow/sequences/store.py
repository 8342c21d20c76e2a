"""The packed store: flat memory-mapped columns and offsets, a folder a split. Reading needs numpy alone.

store/card.json, vocabulary.parquet, categories.parquet, and plan.npy where its series are planned
store/{train,valid,test}/offsets.npy, item.npy, …, sequences.parquet
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from clickflow.sequences import plan as plans
from clickflow.sequences.card import SPLITS, Card, Part, read_card
from clickflow.sequences.features import FEATURES, Array
from clickflow.sequences.plan import Plan
from clickflow.sequences.units import UNITS
from clickflow.sequences.units.unit import Asks
from clickflow.system.errors import DataError
from clickflow.system.moments import DAY

__all__ = [
    "SPLITS",
    "Bounds",
    "Card",
    "PackedSplit",
    "open_split",
    "owners",
    "read_card",
]


@dataclass(frozen=True)
class Bounds:
    """Where sequences lie in the flat columns, int64 [n]: steps `[begin, end)` are read, `[end, until)` hold answers.

    Sequences of one person as of several moments overlap. `cut_off`: that moment, microseconds since 1970 UTC: what is
    read lies before it.
    """

    begin: Array
    end: Array
    until: Array
    cut_off: Array

    def take(self, chosen: Any) -> "Bounds":
        """Those of some sequences."""
        return Bounds(self.begin[chosen], self.end[chosen], self.until[chosen], self.cut_off[chosen])

    def then(self, later: "Bounds", steps: int) -> "Bounds":
        """These and those of columns that stand after so many steps."""
        moved = [getattr(later, name) + steps for name in ("begin", "end", "until")]
        pairs = zip(vars(self).values(), (*moved, later.cut_off), strict=True)
        return Bounds(*(np.concatenate(pair) for pair in pairs))


BOUNDS = tuple(each.name for each in fields(Bounds))
OFFSETS = np.dtype("<i8")


class PackedSplit:
    """One split; read-only memory maps. Of every column, steps `[begin[i], end[i])` are what sequence i reads, and
    `[end[i], until[i])` what its answers come from.

    Each column [e] is an attribute of its name in `features.FEATURES`, such as `item`. Where one sequence stands after
    the other and all of it is read, `offsets` int64 [n + 1] say where; otherwise `bounds` do. `asks`: as `Unit.asks`;
    `horizon`: how long after its cut-off an answer is there, microseconds. `plan`: what is planned of its series, by
    their items.
    """

    def __init__(
        self,
        bounds: Bounds | None = None,
        asks: Asks = "every",
        horizon: int = 0,
        plan: Plan | None = None,
        /,
        *,
        offsets: Array | None = None,
        **columns: Array,
    ) -> None:
        assert (offsets is None) != (bounds is None)
        self.plan = plan
        self._offsets, self.bounds, self.asks, self.horizon = offsets, bounds, asks, horizon
        self._columns = columns
        vars(self).update(columns)

    def __getattr__(self, name: str) -> Array:
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(f"the split has no column {name!r}; it has {', '.join(self.columns)}")

    @property
    def offsets(self) -> Array:
        """Of sequences that stand one after the other. Raises AssertionError where they may overlap."""
        assert self._offsets is not None, "these sequences have bounds: they overlap, and have no offsets"
        return self._offsets

    @property
    def columns(self) -> dict[str, Array]:
        """The columns, by name."""
        return dict(self._columns)

    def with_columns(self, **columns: Array) -> "PackedSplit":
        """The same sequences with other values in some columns."""
        return self._with(self.bounds, self._columns | columns)

    def planned(self, plan: Plan) -> "PackedSplit":
        """The same sequences under a plan."""
        return PackedSplit(self.bounds, self.asks, self.horizon, plan, offsets=self._offsets, **self._columns)

    def latest(self, sequences: int) -> "PackedSplit":
        """The last so many sequences, of which there are more."""
        if self.bounds is not None:
            return self._with(self.bounds.take(slice(-sequences, None)), self._columns)
        start = int(self.offsets[-sequences - 1])
        columns = {name: column[start:] for name, column in self._columns.items()}
        offsets = self.offsets[-sequences - 1 :] - start
        return PackedSplit(None, self.asks, 0, self.plan, offsets=offsets, **columns)

    def _with(self, bounds: Bounds | None, columns: Mapping[str, Array]) -> "PackedSplit":
        return PackedSplit(bounds, self.asks, self.horizon, self.plan, offsets=self._offsets, **columns)

    @property
    def begin(self) -> Array:
        """The first step of each sequence, int64 [n]."""
        return self.offsets[:-1] if self.bounds is None else self.bounds.begin

    @property
    def end(self) -> Array:
        """The index after the last step that is read of each sequence, int64 [n]."""
        return self.offsets[1:] if self.bounds is None else self.bounds.end

    @property
    def until(self) -> Array:
        """The index after the last step that answers may come from, int64 [n]."""
        return self.offsets[1:] if self.bounds is None else self.bounds.until

    @property
    def cut_off(self) -> Array | None:
        """As of when each sequence is read, int64 [n], microseconds since 1970 UTC; None: as of its last step."""
        return None if self.bounds is None else self.bounds.cut_off

    @property
    def n_sequences(self) -> int:
        """How many sequences."""
        return len(self.offsets) - 1 if self.bounds is None else len(self.bounds.begin)

    @property
    def n_events(self) -> int:
        """How many steps, of all sequences together, each once."""
        return int(self.offsets[-1]) if self.bounds is None else len(self._columns["item"])

    @property
    def lengths(self) -> Array:
        """Steps that are read of each sequence, int64 [n]."""
        return np.diff(self.offsets) if self.bounds is None else self.bounds.end - self.bounds.begin

    def questions(self) -> tuple[Array, Array, Array]:
        """Where something is asked: the step read last, the first step of its sequence, and the index after the last
        step that the answer may come from, int64 [q] each.
        """
        begin, end, until = (np.asarray(each, np.int64) for each in (self.begin, self.end, self.until))
        if self.asks == "last":
            return end - 1, begin, until
        lengths = end - begin
        before = np.cumsum(lengths) - lengths
        event = np.arange(lengths.sum()) + np.repeat(begin - before, lengths)
        return event, np.repeat(begin, lengths), np.repeat(until, lengths)

    def questions_in_chunks(self, size: int) -> Iterator[tuple[Array, Array]]:
        """The first and the last of `questions`, some `size` steps or sequences at a time."""
        if self.asks == "last":
            event, _, until = self.questions()
            for start in range(0, len(event), size):
                yield event[start : start + size], until[start : start + size]
            return
        ends = np.asarray(self.offsets[1:], np.int64)
        for start in range(0, self.n_events, size):
            event = np.arange(start, min(start + size, self.n_events))
            yield event, ends[np.searchsorted(ends, event, side="right")]


def open_split(folder: Path, split: str) -> PackedSplit:
    """Map one split of the store in `folder`; nothing is read into memory.

    Raises DataError where a file is missing, is no array of the type and length that the card says, or the offsets
    do not fit. The bytes themselves are not hashed here, see `integrity.verify`.
    """
    card = read_card(folder)
    if split not in card.splits:
        raise DataError(f"the store {folder} has no split {split!r}; it has {', '.join(card.splits)}")
    part = card.splits[split]
    asks = UNITS[card.unit].asks if card.unit in UNITS else "every"
    held = map_columns(folder, split, part, [name for name in FEATURES if f"{split}/{name}.npy" in card.files])
    if f"{split}/begin.npy" in card.files:
        horizon = round(card.own_settings.get("horizon_days", 0) * DAY)
        plan = None if card.plan is None else plans.read(folder, card.plan)
        return PackedSplit(_bounds(folder / split, part), asks, horizon, plan, **held)
    offsets = _map(folder / split / "offsets.npy", OFFSETS, part.sequences + 1)
    if offsets[0] != 0 or offsets[-1] != part.events:
        raise DataError(f"{folder / split}: offsets.npy does not fit the card", next_step=_AGAIN)
    return PackedSplit(None, asks, offsets=offsets, **held)


def owners(folder: Path, splits: Iterable[str]) -> dict[str, Array]:
    """Whose each sequence of these splits of a store is, int32 [n] by split; a person has one number in all of them.

    From 0 on a person, in the order of appearance, so that no key of the pseudonyms changes a number; below 0 a session
    whose person is not known: the pieces of a long one are one session's.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    tables = {}
    for split in splits:
        file = folder / split / "sequences.parquet"
        there = parquet.read_schema(file).names
        whose = "user_id" if "user_id" in there else there[0]  # a series is its own
        table = parquet.read_table(file, columns=[whose, *({"session_id"} & set(there))])
        tables[split] = table.rename_columns({whose: "user_id"})
    table = pa.concat_tables(tables.values())
    sessions = table["session_id"] if "session_id" in table.column_names else table["user_id"]
    user, session = (
        column.combine_chunks().dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int32)
        for column in (table["user_id"], pc.if_else(pc.is_null(table["user_id"]), sessions, pa.scalar(None)))
    )
    codes = np.where(user >= 0, user, -1 - session).astype(np.int32)
    ends = np.cumsum([len(each) for each in tables.values()])
    return dict(zip(tables, np.split(codes, ends[:-1]), strict=True))


def _bounds(folder: Path, part: Part) -> Bounds:
    bounds = Bounds(*(_map(folder / f"{name}.npy", OFFSETS, part.sequences) for name in BOUNDS))
    ordered = (bounds.begin >= 0) & (bounds.begin <= bounds.end) & (bounds.end <= bounds.until)
    if not (ordered & (bounds.until <= part.events)).all():
        raise DataError(f"{folder}: begin.npy, end.npy and until.npy do not fit the card", next_step=_AGAIN)
    return bounds


def map_columns(folder: Path, split: str, part: Part, names: Iterable[str]) -> dict[str, Array]:
    """These columns of a split whose extent is `part`, mapped read-only, by name; raises as `open_split`."""
    return {name: _map(folder / split / f"{name}.npy", np.dtype(FEATURES[name].stored), part.events) for name in names}


_AGAIN = "run `dvc checkout` to put the recorded bytes back, or `dvc repro` to make them again"


def _map(path: Path, kind: "np.dtype[Any]", length: int) -> Array:
    try:
        # an empty file cannot be mapped
        array: Array = np.load(path, mmap_mode="r" if length else None, allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError, SyntaxError, TokenError) as error:  # the last of its header
        raise DataError(f"{path} cannot be read: {error}", next_step=_AGAIN) from error
    if array.dtype != kind or array.shape != (length,):
        raise DataError(
            f"{path} holds {array.dtype} {list(array.shape)} where the card says {kind} [{length}]", next_step=_AGAIN
        )
    array.flags.writeable = False
    return array
