"""The packed store: flat memory-mapped columns and offsets, a folder a split. Reading needs numpy alone.

store/card.json, vocabulary.parquet, categories.parquet
store/{train,valid,test}/offsets.npy, item.npy, …, sequences.parquet
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clickflow.sequences import features
from clickflow.sequences.card import NOW, SPLITS, Card, Part, read_card, write_card
from clickflow.sequences.features import FEATURES, Array
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.units import UNITS, session
from clickflow.sequences.units.unit import Asks, Unit
from clickflow.sequences.writer import (
    OFFSETS,
    SplitWriter,
    categories_schema,
    row_schema,
    vocabulary_schema,
    write_table,
)
from clickflow.system import integrity
from clickflow.system.errors import DataError
from clickflow.system.files import replacing, sha256

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "SPLITS",
    "Bounds",
    "Card",
    "PackedSplit",
    "open_split",
    "owners",
    "read_card",
    "verify",
    "write_split",
    "write_store",
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


class PackedSplit:
    """One split; read-only memory maps. Of every column, steps `[begin[i], end[i])` are what sequence i reads, and
    `[end[i], until[i])` what its answers come from.

    Each column [e] is an attribute of its name in `features.FEATURES`, such as `item`. Where one sequence stands after
    the other and all of it is read, `offsets` int64 [n + 1] say where; otherwise `bounds` do. `asks`: as `Unit.asks`;
    `horizon`: how long after its cut-off an answer is there, microseconds.
    """

    def __init__(
        self,
        bounds: Bounds | None = None,
        asks: Asks = "every",
        horizon: int = 0,
        /,
        *,
        offsets: Array | None = None,
        **columns: Array,
    ) -> None:
        assert (offsets is None) != (bounds is None)
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

    def latest(self, sequences: int) -> "PackedSplit":
        """The last so many sequences, of which there are more."""
        if self.bounds is not None:
            return self._with(self.bounds.take(slice(-sequences, None)), self._columns)
        start = int(self.offsets[-sequences - 1])
        columns = {name: column[start:] for name, column in self._columns.items()}
        return PackedSplit(None, self.asks, offsets=self.offsets[-sequences - 1 :] - start, **columns)

    def _with(self, bounds: Bounds | None, columns: Mapping[str, Array]) -> "PackedSplit":
        return PackedSplit(bounds, self.asks, self.horizon, offsets=self._offsets, **columns)

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

    def asked(self) -> tuple[Array, Array, Array]:
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

    def asked_in_chunks(self, size: int) -> Iterator[tuple[Array, Array]]:
        """The first and the last of `asked`, some `size` steps or sequences at a time."""
        if self.asks == "last":
            event, _, until = self.asked()
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
    do not fit. The bytes themselves are not hashed here, see `verify`.
    """
    card = read_card(folder)
    if split not in card.splits:
        raise DataError(f"the store {folder} has no split {split!r}; it has {', '.join(card.splits)}")
    part = card.splits[split]
    asks = UNITS[card.unit].asks if card.unit in UNITS else "every"
    held = map_columns(folder, split, part, [name for name in FEATURES if f"{split}/{name}.npy" in card.files])
    if f"{split}/begin.npy" in card.files:
        horizon = round(card.own_settings.get("horizon_days", 0) * features.DAY)
        return PackedSplit(_bounds(folder / split, part), asks, horizon, **held)
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


def verify(folder: Path) -> Card:
    """Hash every file of the store against its card, and return the card; DataError names the files that differ."""
    card = read_card(folder)
    wrong = [
        f"{name} ({'has changed' if (folder / name).is_file() else 'is missing'})"
        for name, expected in sorted(card.files.items())
        if not (folder / name).is_file() or sha256(folder / name) != expected
    ]
    if wrong:
        raise DataError(f"the store {folder} is not what its card says: {', '.join(wrong)}", next_step=_AGAIN)
    return card


_AGAIN = "run `dvc checkout` to put the recorded bytes back, or `dvc repro` to make them again"


def _map(path: Path, kind: "np.dtype[Any]", length: int) -> Array:
    try:
        # an empty file cannot be mapped
        array: Array = np.load(path, mmap_mode="r" if length else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}", next_step=_AGAIN) from error
    if array.dtype != kind or array.shape != (length,):
        raise DataError(
            f"{path} holds {array.dtype} {list(array.shape)} where the card says {kind} [{length}]", next_step=_AGAIN
        )
    array.flags.writeable = False
    return array


def write_split(
    folder: Path, split: str, arrays: Mapping[str, Array], *, unit: Unit = session.UNIT, clock: bool = True
) -> tuple[Part, dict[str, str]]:
    """Write one split from arrays in memory: `offsets` and `item`, and what else there is of a step.

    Missing times are seconds from 1970 on, a step a second; other columns that are missing are none, or 0. What
    follows from the times does so where these are a `clock`'s. With `begin`, `end`, `until` and `cut_off` (`Bounds`)
    sequences lie so, and `offsets` are those of the persons. Ids in sequences.parquet are numbers: of the sequences, or
    of the persons. Returns the card's line for it, and the hashes of its files.
    """
    offsets = np.asarray(arrays["offsets"], OFFSETS)
    n, lengths = int(offsets[-1]), np.diff(offsets)
    time = np.asarray(arrays.get("time", np.arange(n) * features.MICROSECOND), np.int64)
    held = features.held(unit.columns)
    steps: dict[str, Array] = {
        name: np.full(n, np.nan if feature.optional else 0, feature.stored)
        for name, feature in held.items()
        if not feature.derive
    }
    steps |= {name: np.asarray(arrays[name]) for name in steps if name in arrays} | {"time": time}
    steps |= features.derived(steps, offsets, clock=clock)
    bounds = Bounds(*(np.asarray(arrays[name], OFFSETS) for name in BOUNDS)) if "begin" in arrays else None
    sequences = len(lengths) if bounds is None else len(bounds.begin)
    with SplitWriter(folder, split, held, n_sequences=sequences, n_events=n, bounds=BOUNDS if bounds else ()) as writer:
        writer.append(lengths, steps)
        if bounds is not None:
            writer.append_bounds(vars(bounds))
    table, schema = _rows(split, unit, offsets, time, bounds), row_schema(unit.row)
    name = f"{split}/sequences.parquet"
    return writer.part, writer.files | {name: write_table(folder / name, [table.select(schema.names)], schema)}


def _rows(split: str, unit: Unit, offsets: Array, time: Array, bounds: Bounds | None) -> "pa.Table":
    """Every column that a unit of people may have of its sequences."""
    import pyarrow as pa

    begin, end = (offsets[:-1], offsets[1:]) if bounds is None else (bounds.begin, bounds.end)
    person = np.searchsorted(offsets, begin, side="right") - 1
    n = len(begin)
    return pa.table(
        {
            "session_id": [f"{split}-{i}" for i in range(n)],
            "user_id": pa.nulls(n, pa.string()) if unit.asks == "every" else [f"person-{i}" for i in person],
            "series": [f"series-{i}" for i in person],
            "start": pa.array(time[begin]),
            "end": pa.array(time[end - 1]),
            "cut_off": pa.array(time[end - 1] + 1 if bounds is None else bounds.cut_off),
            "length": pa.array(end - begin),
            "piece": pa.array(np.ones(n, np.int32)),
        }
    )


def write_store(
    folder: Path,
    splits: Mapping[str, Mapping[str, Array]],
    *,
    known: int | None = None,
    items: list[str] | None = None,
    actions: tuple[str, ...] | None = None,
    clock: bool = True,
    settings: Mapping[str, Any] | None = None,
    of_category: Array | None = None,
) -> Card:
    """Build a whole store from arrays, for tests and benchmarks; it replaces `folder`.

    `splits` holds `train` and, where wanted, `valid` and `test` (empty otherwise), and `now`, each as `write_split`
    takes it; the name of the folder is the unit's, of those that there are, or they are sessions;
    items are indexes from 2 on. `known` is the first index unknown to models (none given: the one after the last of
    the training part). `items` are the ids of indexes 2.. (none given: the index as text). `actions` are the codes'
    names (none given: those of the unit, or the event types of the contract). `clock`: see `Card`. `settings`: those of
    the unit itself. `of_category`: the category of each item (none given: none).
    """
    import pyarrow as pa

    unit = UNITS.get(folder.name, session.UNIT)
    if actions is None:
        actions = unit.actions
    if actions is None:
        from clickflow.events.contract import EVENT_TYPES

        actions = EVENT_TYPES
    empty: dict[str, Array] = {"offsets": np.zeros(1, OFFSETS), "item": np.zeros(0, np.int32)}
    splits = {name: splits.get(name, empty) for name in (*SPLITS, *({NOW} & splits.keys()))}
    train = np.asarray(splits["train"]["item"])
    size = max(int(np.max(arrays["item"], initial=1)) + 1 for arrays in splits.values())
    ids = items if items is not None else [str(index) for index in range(FIRST_ITEM, size)]
    size = FIRST_ITEM + len(ids)
    if known is None:
        known = int(np.max(train, initial=1)) + 1
    counts = np.bincount(train, minlength=size)[FIRST_ITEM:size]
    indexes = pa.array(np.arange(FIRST_ITEM, size, dtype=np.int32))
    of = np.zeros(len(ids)) if of_category is None else of_category
    own, none = pa.array(np.asarray(of, np.int32)), pa.nulls(len(ids), pa.float64())
    texts = pa.nulls(len(ids), pa.string())
    vocabulary = pa.table([ids, indexes, pa.array(counts), own, none, texts, texts], schema=vocabulary_schema())
    named = max(int(np.max(arrays.get("category", train[:0]), initial=1)) + 1 for arrays in splits.values())
    named = max(named, int(np.max(of, initial=1)) + 1)
    categories = pa.table(
        [
            [str(index) for index in range(FIRST_ITEM, named)],
            list(range(FIRST_ITEM, named)),
            [0] * (named - FIRST_ITEM),
        ],
        schema=categories_schema(),
    )
    with replacing(folder, seal=integrity.seal) as fresh:
        files = {
            "vocabulary.parquet": write_table(fresh / "vocabulary.parquet", [vocabulary], vocabulary_schema()),
            "categories.parquet": write_table(fresh / "categories.parquet", [categories], categories_schema()),
        }
        parts = {}
        for name, arrays in splits.items():
            parts[name], written = write_split(fresh, name, arrays, unit=unit, clock=clock)
            files |= written
        card = Card(
            unit=folder.name,
            known=known,
            items_total=len(ids),
            categories=named,
            actions=actions,
            splits=parts,
            boundaries={later: parts[earlier].last or 0 for earlier, later in (("train", "valid"), ("valid", "test"))},
            statistics=features.statistics(map_columns(fresh, "train", parts["train"], features.held(unit.columns))),
            events_read=sum(part.events for part in parts.values()),
            left_out={},
            counts={},
            settings={unit.name: dict(settings)} if settings else {},
            files=files,
            clock=clock,
        )
        write_card(fresh, card)
    return card
