"""A packed store made of arrays in memory, for tests and benchmarks."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clickflow.events.contract import EVENT_TYPES
from clickflow.sequences import features
from clickflow.sequences import plan as plans
from clickflow.sequences.card import NOW, SPLITS, Card, Part, write_card
from clickflow.sequences.features import Array
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.plan import Plan
from clickflow.sequences.store import BOUNDS, OFFSETS, Bounds, map_columns
from clickflow.sequences.units import UNITS, session
from clickflow.sequences.units.unit import Unit
from clickflow.sequences.writer import SplitWriter, categories_schema, row_schema, vocabulary_schema, write_table
from clickflow.system import integrity
from clickflow.system.files import replacing
from clickflow.system.moments import SECOND

if TYPE_CHECKING:
    import pyarrow as pa


def write_store(
    folder: Path,
    splits: Mapping[str, Mapping[str, Array]],
    *,
    known: int | None = None,
    items: list[str] | None = None,
    clock: bool = True,
    settings: Mapping[str, Any] | None = None,
    of_category: Array | None = None,
    plan: Plan | None = None,
) -> Card:
    """Build a whole store from arrays, for tests and benchmarks; it replaces `folder`.

    `splits` holds `train` and, where wanted, `valid` and `test` (empty otherwise), and `now`, each as `_write_split`
    takes it; the name of the folder is the unit's, of those that there are, or they are sessions;
    items are indexes from 2 on. `known` is the first index unknown to models (none given: the one after the last of
    the training part). `items` are the ids of indexes 2.. (none given: the index as text). `clock`: see `Card`.
    `settings`: those of the unit itself. `of_category`: the category of each item (none given: none). `plan`: what is
    planned of its series.
    """
    import pyarrow as pa

    unit = UNITS.get(folder.name, session.UNIT)
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
        if plan is not None:
            files[plans.FILE] = plans.write(fresh, plan)
        parts = {}
        for name, arrays in splits.items():
            parts[name], written = _write_split(fresh, name, arrays, unit=unit, clock=clock)
            files |= written
        card = Card(
            unit=folder.name,
            known=known,
            items_total=len(ids),
            categories=named,
            actions=unit.actions or EVENT_TYPES,
            splits=parts,
            boundaries={later: parts[earlier].last or 0 for earlier, later in (("train", "valid"), ("valid", "test"))},
            statistics=features.statistics(map_columns(fresh, "train", parts["train"], features.held(unit.columns))),
            events_read=sum(part.events for part in parts.values()),
            left_out={},
            counts={},
            settings={unit.name: dict(settings)} if settings else {},
            files=files,
            clock=clock,
            plan=None
            if plan is None
            else {"columns": list(plan.names), "last": str(np.datetime64(int(plan.stop.max()) - 1, "D"))},
        )
        write_card(fresh, card)
    return card


def _write_split(
    folder: Path, split: str, arrays: Mapping[str, Array], *, unit: Unit, clock: bool
) -> tuple[Part, dict[str, str]]:
    """Write one split from arrays in memory: `offsets` and `item`, and what else there is of a step.

    Missing times are seconds from 1970 on, a step a second; other columns that are missing are none, or 0. What
    follows from the times does so where these are a `clock`'s. With `begin`, `end`, `until` and `cut_off` (`Bounds`)
    sequences lie so, and `offsets` are those of the persons. Ids in sequences.parquet are numbers: of the sequences, or
    of the persons. Returns the card's line for it, and the hashes of its files.
    """
    offsets = np.asarray(arrays["offsets"], OFFSETS)
    n, lengths = int(offsets[-1]), np.diff(offsets)
    time = np.asarray(arrays.get("time", np.arange(n) * SECOND), np.int64)
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
