"""The stage `sequences@unit`: canonical events to the packed store of a unit, split by time.

Number and sort (engine), cut (sessions), part (split), order (engine), count (vocabulary), pack.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickflow import console
from clickflow.errors import ClickflowError, DataError, UsageError
from clickflow.events.contract import EVENT_TYPES
from clickflow.files import replacing
from clickflow.params import Params, Sequences
from clickflow.paths import Paths
from clickflow.sequences import engine, features, pack, sessions, split, vocabulary
from clickflow.sequences.card import SPLITS, Card, Part, write_card
from clickflow.sequences.features import Array
from clickflow.sequences.store import FIRST_ITEM, map_columns
from clickflow.sequences.vocabulary import Vocabulary
from clickflow.sequences.writer import categories_schema, vocabulary_schema, write_table

UNITS = ("session",)
KEPT = "the store made before, if there was one"


def run(params: Params, paths: Paths, unit: str) -> None:
    """Make `data/sequences/<unit>`. Raises UsageError, DataError."""
    if unit not in UNITS:
        raise UsageError(f"there is no unit {unit!r}; there is: {', '.join(UNITS)}")
    started = time.perf_counter()
    card = build(paths.events, params.sequences, unit, paths.sequences(unit), scratch=paths.home / "scratch")
    console.say(_summary(card, time.perf_counter() - started))


def build(
    events: Path, settings: Sequences, unit: str, out: Path, *, scratch: Path, threads: int | None = None
) -> Card:
    """Pack the canonical events below `events` into a store that takes the place of `out`, whole or not at all.

    The engine keeps to `settings.memory_gb` and spills below `scratch`; neither that nor `threads` changes a byte of
    the store. Raises UsageError where a setting makes no sense, DataError where the events give no store.
    """
    _check(settings)
    with _scratch(scratch) as temporary, replacing(out) as fresh:
        with engine.engine(temporary, memory_gb=settings.memory_gb, threads=threads) as connection:
            card = _build(connection, events, settings, unit, fresh, temporary)
        write_card(fresh, card)
    return card


def _build(connection: Any, events: Path, settings: Sequences, unit: str, out: Path, scratch: Path) -> Card:
    table = engine.read_events(connection, events)
    read = int(table.count().to_pyarrow().as_py())
    items = engine.number_items(connection, table)
    categories = engine.number_categories(connection, table)
    actors = engine.number_actors(connection, table)
    item_ids, paths = items.order_by("item").item_id.to_pyarrow(), categories.order_by("code").category.to_pyarrow()

    rules = sessions.rules(
        [EVENT_TYPES.index(name) for name in settings.session.event_types],
        gap_minutes=settings.session.gap_minutes,
        drop_repeats=settings.session.drop_repeats,
        max_length=settings.session.max_length,
    )
    with console.progress(f"{unit}: cutting sequences", read) as advance:
        rows = _rows(connection, engine.ordered_events(table, actors, items, categories), advance)
        cut = _cut(rows, sessions.Cutter(rules), scratch)
    found = connection.read_parquet(str(cut.sequences))
    long_enough = found.filter(found.length >= settings.session.min_length)
    enough, steps_enough = _extent(long_enough)
    if not enough:
        raise DataError(
            f"no sequence of unit {unit} has {settings.session.min_length} steps "
            f"({read} events gave {cut.cutter.steps} steps)",
            kept=KEPT,
            next_step="look at sequences.session in params.yaml (event_types, gap_minutes, min_length), or ingest more",
        )
    where = split.boundaries(long_enough, split.sizes(enough, settings.valid_share, settings.test_share))
    chosen = connection.create_table("sequences", split.parts(long_enough, where, settings.embargo_minutes), temp=True)
    held = {}
    for number, name in enumerate(SPLITS):
        path = scratch / f"{name}.parquet"
        engine.write(connection, engine.ordered_sequences(chosen, actors, number), path)
        held[name] = pack.support(path, cut.steps, len(item_ids), len(paths))
    _refuse_empty(held, settings)

    known_items = vocabulary.of_items(
        held["train"].items, held["valid"].items + held["test"].items, settings.min_item_count
    )
    known_categories = vocabulary.of_categories(held["train"].categories)
    if known_items.known == FIRST_ITEM:
        raise DataError(
            f"no item has {settings.min_item_count} steps in the training part: its most frequent one has "
            f"{int(held['train'].items.max())}",
            kept=KEPT,
            next_step="lower sequences.min_item_count in params.yaml, or ingest more",
        )
    parts: dict[str, Part] = {}
    files: dict[str, str] = {}
    with console.progress(f"{unit}: packing", sum(part.events for part in held.values())) as advance:
        for name in SPLITS:
            parts[name], written = pack.pack_split(
                out,
                name,
                scratch / f"{name}.parquet",
                cut.steps,
                n_sequences=held[name].sequences,
                n_events=held[name].events,
                items=known_items,
                categories=known_categories,
                advance=advance,
            )
            files |= written
    train = map_columns(out, "train", parts["train"])
    files |= _write_vocabulary(out, known_items, item_ids, train)
    files |= _write_categories(out, known_categories, paths)

    short, steps_short = _extent(found.filter(found.length < settings.session.min_length))
    kept = sum(part.sequences for part in parts.values()), sum(part.events for part in parts.values())
    left_out = {
        "nobody": {"events": read - cut.rows},
        "type_not_used": {"events": cut.cutter.type_not_used},
        "no_item": {"events": cut.cutter.no_item},
        "repeat": {"events": cut.cutter.repeats},
        "too_short": {"events": steps_short, "sequences": short},
        "embargo": {"events": steps_enough - kept[1], "sequences": enough - kept[0]},
    }
    card = Card(
        unit=unit,
        known=known_items.known,
        items_total=len(known_items.order),
        categories=FIRST_ITEM + len(known_categories.order),
        actions=EVENT_TYPES,
        splits=parts,
        boundaries={"valid": where.train, "test": where.valid},
        statistics=features.statistics(train),
        events_read=read,
        left_out=left_out,
        counts={
            "sessions": _extent(found.filter(found.piece == 1))[0],
            "sessions_in_pieces": _extent(found.filter(found.piece == 2))[0],
            "sequences_of_guests": sum(part.guests for part in held.values()),
        },
        settings=_settings(settings),
        files=files,
    )
    if read != kept[1] + sum(reason["events"] for reason in left_out.values()):
        raise ClickflowError(f"the events do not add up: {card.left_out} of {read}, {kept[1]} packed", kept=KEPT)
    return card


@dataclass(frozen=True)
class Cut:
    """The stream of steps, and where the sequences in it are written down."""

    cutter: sessions.Cutter
    rows: int
    steps: dict[str, Array]
    sequences: Path


def _rows(connection: Any, expression: Any, advance: Callable[[int], None]) -> Iterator[dict[str, Array]]:
    import pyarrow as pa

    for batch in engine.batches(connection, expression):
        arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
        arrays["time"] = arrays["time"].view(pa.int64())
        yield {name: array.to_numpy(zero_copy_only=False) for name, array in arrays.items()}
        advance(len(batch))


def _cut(batches: Iterable[Mapping[str, Array]], cutter: sessions.Cutter, scratch: Path) -> Cut:
    import pyarrow as pa
    from pyarrow import parquet

    path, rows, steps = scratch / "sequences.parquet", 0, pack.StepFile(scratch)
    schema = pa.schema([(name, pa.int64()) for name in sessions.SEQUENCE])
    with steps, parquet.ParquetWriter(path, schema, compression="none") as writer:
        for batch in batches:
            rows += len(batch["time"])
            cut, ended = cutter.push(batch)
            steps.append(cut)
            writer.write_table(pa.table(ended).select(schema.names))
        writer.write_table(pa.table(cutter.finish()).select(schema.names))
    return Cut(cutter=cutter, rows=rows, steps=steps.map(), sequences=path)


def _extent(sequences: Any) -> tuple[int, int]:
    """How many sequences a table has, and how many steps they have."""
    row = sequences.agg(n=sequences.count(), steps=sequences.length.sum().fill_null(0)).to_pyarrow()
    return int(row["n"][0].as_py()), int(row["steps"][0].as_py())


def _refuse_empty(held: Mapping[str, pack.Support], settings: Sequences) -> None:
    shares = {"train": 1.0, "valid": settings.valid_share, "test": settings.test_share}
    empty = [name for name in SPLITS if shares[name] and not held[name].sequences]
    if empty:
        raise DataError(
            f"no sequence is left for {' and '.join(empty)}: too many sequences end at one instant"
            + (", or the embargo is too long for this log" if settings.embargo_minutes else ""),
            kept=KEPT,
            next_step="ingest more days, or change the shares or the embargo in params.yaml, sequences",
        )


def _write_vocabulary(out: Path, items: Vocabulary, ids: Any, train: Mapping[str, Array]) -> dict[str, str]:
    import pyarrow as pa

    n = len(items.order)
    table = pa.table(
        [
            ids.take(pa.array(items.order)),
            pa.array(np.arange(FIRST_ITEM, FIRST_ITEM + n, dtype=np.int32)),
            pa.array(items.count),
            pa.array(vocabulary.modes(train["item"], train["category"], n)),
            pa.array(vocabulary.medians(train["item"], train["price"], n), from_pandas=True),
        ],
        schema=vocabulary_schema(),
    )
    return {"vocabulary.parquet": write_table(out / "vocabulary.parquet", [table], vocabulary_schema())}


def _write_categories(out: Path, categories: Vocabulary, paths: Any) -> dict[str, str]:
    import pyarrow as pa

    n = len(categories.order)
    table = pa.table(
        [
            paths.take(pa.array(categories.order)),
            pa.array(np.arange(FIRST_ITEM, FIRST_ITEM + n, dtype=np.int32)),
            pa.array(categories.count),
        ],
        schema=categories_schema(),
    )
    return {"categories.parquet": write_table(out / "categories.parquet", [table], categories_schema())}


def _settings(settings: Sequences) -> dict[str, Any]:
    """The params that shape the store; the engine and its memory do not."""
    shaping = {name: value for name, value in asdict(settings).items() if name not in ("engine", "memory_gb")}
    shaping["session"]["event_types"] = list(settings.session.event_types)
    return shaping


def _check(settings: Sequences) -> None:
    unknown = [name for name in settings.session.event_types if name not in EVENT_TYPES]
    if unknown or not settings.session.event_types:
        raise UsageError(
            f"params.yaml, sequences.session.event_types: {', '.join(unknown) or 'empty'}; "
            f"there is {', '.join(EVENT_TYPES)}",
            kept="nothing was run",
        )


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """A folder for what is too large for memory; it is removed."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="sequences-", dir=parent) as folder:
        yield Path(folder)


def _summary(card: Card, seconds: float) -> str:
    parts = ", ".join(f"{name} {part.sequences:,}" for name, part in card.splits.items())
    packed = sum(part.events for part in card.splits.values())
    reasons = ", ".join(f"{name} {what['events']:,}" for name, what in card.left_out.items() if what["events"])
    return (
        f"{card.unit}: {packed:,} steps of {card.events_read:,} events in {parts} sequences; "
        f"{card.known - FIRST_ITEM:,} of {card.items_total:,} items known; left out: {reasons or 'nothing'}; "
        f"{seconds:.1f} s"
    )
