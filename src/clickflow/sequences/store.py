"""The packed store: flat memory-mapped columns and offsets, a folder a split. Reading needs numpy alone.

store/card.json, vocabulary.parquet, categories.parquet
store/{train,valid,test}/offsets.npy, item.npy, …, sequences.parquet
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.sequences import features
from clickflow.sequences.card import SPLITS, Card, Part, read_card, write_card
from clickflow.sequences.features import FEATURES, Array
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.units import session
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

__all__ = [
    "SPLITS",
    "Card",
    "PackedSplit",
    "open_split",
    "read_card",
    "verify",
    "write_split",
    "write_store",
]


class PackedSplit:
    """One split; read-only memory maps. Sequence i is `[offsets[i]:offsets[i + 1]]` of every column.

    `offsets` int64 [n + 1]; each column [e] is an attribute of its name in `features.FEATURES`, such as `item`.
    """

    def __init__(self, *, offsets: Array, **columns: Array) -> None:
        self.offsets = offsets
        vars(self).update(columns)

    def __getattr__(self, name: str) -> Array:
        raise AttributeError(f"the split has no column {name!r}; it has {', '.join(self.columns)}")

    @property
    def columns(self) -> dict[str, Array]:
        """The columns, by name."""
        return {name: values for name, values in vars(self).items() if name != "offsets"}

    def with_columns(self, **columns: Array) -> "PackedSplit":
        """The same sequences with other values in some columns."""
        return PackedSplit(offsets=self.offsets, **self.columns | columns)

    @property
    def n_sequences(self) -> int:
        """How many sequences."""
        return len(self.offsets) - 1

    @property
    def n_events(self) -> int:
        """How many steps, of all sequences together."""
        return int(self.offsets[-1])

    @property
    def lengths(self) -> Array:
        """Steps of each sequence, int64 [n]."""
        return np.diff(self.offsets)


def open_split(folder: Path, split: str) -> PackedSplit:
    """Map one split of the store in `folder`; nothing is read into memory.

    Raises DataError where a file is missing, is no array of the type and length that the card says, or the offsets
    do not fit. The bytes themselves are not hashed here, see `verify`.
    """
    card = read_card(folder)
    if split not in card.splits:
        raise DataError(f"the store {folder} has no split {split!r}; it has {', '.join(card.splits)}")
    part = card.splits[split]
    offsets = _map(folder / split / "offsets.npy", OFFSETS, part.sequences + 1)
    if offsets[0] != 0 or offsets[-1] != part.events:
        raise DataError(f"{folder / split}: offsets.npy does not fit the card", next_step=_AGAIN)
    held = [name for name in FEATURES if f"{split}/{name}.npy" in card.files]
    return PackedSplit(offsets=offsets, **map_columns(folder, split, part, held))


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
    folder: Path, split: str, arrays: Mapping[str, Array], *, clock: bool = True
) -> tuple[Part, dict[str, str]]:
    """Write one split from arrays in memory: `offsets` and `item`, and what else there is of a step.

    Missing times are seconds from 1970 on, a step a second; other columns that are missing are none, or 0. What
    follows from the times does so where these are a `clock`'s. Rows are those of the unit `session`; its ids are the
    sequences' numbers. Returns the card's line for it, and the hashes of its files.
    """
    import pyarrow as pa

    offsets = np.asarray(arrays["offsets"], OFFSETS)
    n = int(offsets[-1])
    schema = row_schema(session.UNIT.row)
    time = np.asarray(arrays.get("time", np.arange(n) * features.MICROSECOND), np.int64)
    steps: dict[str, Array] = {
        name: np.full(n, np.nan if feature.optional else 0, feature.stored)
        for name, feature in FEATURES.items()
        if not feature.derive
    }
    steps |= {name: np.asarray(arrays[name]) for name in steps if name in arrays} | {"time": time}
    steps |= features.derived(steps, offsets, clock=clock)
    lengths = np.diff(offsets)
    with SplitWriter(folder, split, FEATURES, n_sequences=len(lengths), n_events=n) as writer:
        writer.append(lengths, steps)
    table = pa.table(
        [
            [f"{split}-{i}" for i in range(len(lengths))],
            pa.nulls(len(lengths), pa.string()),
            pa.array(time[offsets[:-1]]),
            pa.array(time[offsets[1:] - 1]),
            pa.array(lengths),
            pa.array(np.ones(len(lengths), np.int32)),
        ],
        names=schema.names,
    )
    name = f"{split}/sequences.parquet"
    return writer.part, writer.files | {name: write_table(folder / name, [table], schema)}


def write_store(
    folder: Path,
    splits: Mapping[str, Mapping[str, Array]],
    *,
    known: int | None = None,
    items: list[str] | None = None,
    actions: tuple[str, ...] | None = None,
    clock: bool = True,
) -> Card:
    """Build a whole store from arrays, for tests and benchmarks; it replaces `folder`.

    `splits` holds `train` and, where wanted, `valid` and `test` (empty otherwise), each as `write_split` takes it;
    items are indexes from 2 on. `known` is the first index unknown to models (none given: the one after the last of
    the training part). `items` are the ids of indexes 2.. (none given: the index as text). `actions` are the codes'
    names (none given: the event types of the contract). `clock`: see `Card`.
    """
    import pyarrow as pa

    if actions is None:
        from clickflow.events.contract import EVENT_TYPES

        actions = EVENT_TYPES
    empty: dict[str, Array] = {"offsets": np.zeros(1, OFFSETS), "item": np.zeros(0, np.int32)}
    splits = {name: splits.get(name, empty) for name in SPLITS}
    train = np.asarray(splits["train"]["item"])
    size = max(int(np.max(arrays["item"], initial=1)) + 1 for arrays in splits.values())
    ids = items if items is not None else [str(index) for index in range(FIRST_ITEM, size)]
    size = FIRST_ITEM + len(ids)
    if known is None:
        known = int(np.max(train, initial=1)) + 1
    counts = np.bincount(train, minlength=size)[FIRST_ITEM:size]
    indexes = pa.array(np.arange(FIRST_ITEM, size, dtype=np.int32))
    zeros, none = pa.array(np.zeros(len(ids), np.int32)), pa.nulls(len(ids), pa.float64())
    texts = pa.nulls(len(ids), pa.string())
    vocabulary = pa.table([ids, indexes, pa.array(counts), zeros, none, texts, texts], schema=vocabulary_schema())
    named = max(int(np.max(arrays.get("category", train[:0]), initial=1)) + 1 for arrays in splits.values())
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
            parts[name], written = write_split(fresh, name, arrays, clock=clock)
            files |= written
        card = Card(
            unit=folder.name,
            known=known,
            items_total=len(ids),
            categories=named,
            actions=actions,
            splits=parts,
            boundaries={later: parts[earlier].last or 0 for earlier, later in (("train", "valid"), ("valid", "test"))},
            statistics=features.statistics(map_columns(fresh, "train", parts["train"], FEATURES)),
            events_read=sum(part.events for part in parts.values()),
            left_out={},
            counts={},
            settings={},
            files=files,
            clock=clock,
        )
        write_card(fresh, card)
    return card
