"""The stage `sequences@unit`: canonical events to the packed store of a unit, split by time.

Number and sort (engine), cut by the unit's rules (cutting), or sum (summed), part (split), order (engine), count
(vocabulary), pack.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from clickflow.events import manifest, suspects
from clickflow.events.contract import EVENT_TYPES
from clickflow.params.schema import Params
from clickflow.params.sequences import Sequences
from clickflow.sequences import coverage, cutting, engine, exclusions, features, numbering, pack, split, vocabulary
from clickflow.sequences import summed as summing
from clickflow.sequences.card import SPLITS, Card, Part, write_card
from clickflow.sequences.features import Array
from clickflow.sequences.histories import Histories, Persons, histories
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.numbering import KEPT
from clickflow.sequences.store import map_columns
from clickflow.sequences.units import UNITS, named
from clickflow.sequences.units.unit import AsOf, Rules, Unit
from clickflow.sequences.vocabulary import Vocabulary
from clickflow.system import console, integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import read_json, replacing
from clickflow.system.paths import Paths

FEWEST = 2
"""Customers of a part: of one alone nothing is learned, and nothing is measured."""
BASKETS_TO_ONE = 20
"""A log with so many baskets for each sequence is one of baskets."""


def run(params: Params, paths: Paths, unit: str) -> None:
    """Make `data/sequences/<unit>`. Raises UsageError, DataError."""
    named(unit)
    started = time.perf_counter()
    integrity.verify(paths.events, home=paths.home)
    card = build(paths.events, params.sequences, unit, paths.sequences(unit))
    console.say(f"{card.summary()}; {time.perf_counter() - started:.1f} s")
    for note in card.notes:
        console.say(f"[yellow]warning[/] {escape(note)}")


def build(events: Path, settings: Sequences, name: str, out: Path, *, threads: int | None = None) -> Card:
    """Pack the canonical events below `events` into a store of the unit `name` that takes the place of `out`, whole or
    not at all.

    The engine keeps to `settings.memory_gb` and spills into a folder beside `out` that is removed; neither that nor
    `threads` changes a byte of the store. Raises UsageError where a setting makes no sense, DataError where the events
    give no store.
    """
    unit = named(name)
    rules = unit.rules(getattr(settings, unit.section)) if unit.rules else None
    if rules is not None:
        _check(rules, unit)
    clock = manifest.clock(events)
    with _scratch(out) as scratch, replacing(out, seal=integrity.seal) as fresh:
        with engine.engine(scratch, memory_gb=settings.memory_gb, threads=threads) as connection:
            if rules is None:
                made = _summed(connection, events, settings, unit, scratch, clock=clock)
            else:
                made = _cut_up(connection, events, rules, settings, unit, scratch, clock=clock)
        numbered, split_up = made.numbered, made.split_up
        parts, tables, files = _pack(made, settings, unit, scratch, fresh, clock=clock)
        covered = coverage.measure(parts, split_up.held, tables.items)
        card = Card(
            unit=unit.name,
            known=tables.items.known,
            items_total=len(tables.items.order),
            categories=FIRST_ITEM + len(tables.categories.order),
            actions=unit.actions or EVENT_TYPES,
            splits=parts,
            boundaries={"valid": split_up.where.train, "test": split_up.where.valid},
            statistics=features.statistics(map_columns(fresh, "train", parts["train"], features.held(unit.columns))),
            events_read=numbered.events,
            left_out=made.left_out,
            counts=split_up.counts,
            settings={**_settings(settings, unit), "source": _source(events)},
            files=files,
            clock=clock,
            coverage=covered | {"tie_share": split_up.tie_share},
            repeated=split_up.repeated,
            summed=made.summed,
            notes=(
                *split_up.notes,
                *(suspects.of_items(numbered.item_ids) if rules is not None else ()),
                *coverage.notes(covered, split_up.held, tables.items, settings, clock=clock),
            ),
        )
        card.add_up()
        write_card(fresh, card)
    return card


@dataclass(frozen=True)
class Cut:
    """The stream of steps, mapped, and the file of the sequences in it."""

    cutter: cutting.Cutter
    steps: dict[str, Array]
    sequences: Path


@dataclass(frozen=True)
class Split:
    """The ordered sequences of each split lie in `<split>.parquet` of the scratch folder."""

    where: split.Boundaries
    held: Mapping[str, pack.Support]
    left_out: Mapping[str, Mapping[str, int]]
    counts: Mapping[str, int]
    tie_share: float
    notes: Sequence[str] = ()
    lying: Mapping[str, Histories] = field(default_factory=dict)
    """Of a unit with cut-offs: its sequences, by part; the files then hold persons."""
    repeated: int = 0
    """As on the card."""


@dataclass(frozen=True)
class Packable:
    """What is packed: the stream of steps, and how it is split; `names` are those of the items, an Arrow array."""

    numbered: numbering.Numbered
    steps: Mapping[str, Array]
    split_up: Split
    names: Any
    left_out: Mapping[str, Mapping[str, int]]
    summed: int | None = None
    """As on the card."""
    groups: Any = None
    """`engine.groups`; None where nobody asked, or nothing says it."""


@dataclass(frozen=True)
class Tables:
    """What gets an index."""

    items: Vocabulary
    categories: Vocabulary


def _cut_up(
    connection: Any, events: Path, rules: Rules, settings: Sequences, unit: Unit, scratch: Path, *, clock: bool
) -> Packable:
    """Of a unit whose steps are events."""
    numbered = numbering.number(connection, events, settings, by_person=unit.by_person)
    cut = _cut(connection, numbered, rules, unit, scratch)
    if unit.as_of is None:
        split_up = _parts(connection, numbered, cut, settings, unit, scratch, clock=clock)
    else:
        persons, how = _persons(connection, numbered, cut, scratch), unit.as_of(getattr(settings, unit.section))
        split_up = _parts_as_of(persons, cut.steps, numbered, how, settings, unit, scratch, clock=clock)
    names = engine.item_names(connection, numbered.table, numbered.items, split_up.where.train)
    groups = engine.groups(connection, numbered.table)
    return Packable(numbered, cut.steps, split_up, names, _left_out(numbered, cut, split_up), groups=groups)


def _summed(connection: Any, events: Path, settings: Sequences, unit: Unit, scratch: Path, *, clock: bool) -> Packable:
    """Of a unit whose steps are sums of events."""
    import pyarrow as pa
    import pyarrow.compute as pc

    assert unit.sums is not None
    assert unit.as_of is not None
    section = getattr(settings, unit.section)
    sums, how = unit.sums(section), unit.as_of(section)
    log = numbering.number(connection, events, settings, with_actors=False)
    console.say(f"{unit.name}: summing {log.events - log.outside:,} events")
    made = summing.summed(connection, log, sums, how)
    split_up = _parts_as_of(made.persons, made.steps, made.numbered, how, settings, unit, scratch, clock=clock)
    longest = np.max([each.held for each in split_up.lying.values()], axis=0)
    of = np.arange(len(made.events)) - np.repeat(made.persons.source, made.persons.length)
    held = of < np.repeat(longest, made.persons.length)
    inside = np.repeat(longest > 0, made.persons.length)
    if sums.level == "item":
        every = engine.item_names(connection, log.table, log.items, split_up.where.train)
        names = every.take(pc.index_in(made.numbered.item_ids, log.item_ids))
    else:
        names = pa.nulls(len(made.numbered.item_ids), pa.string())
    reasons = {
        "outside_window": log.outside,
        **made.left_out,
        "inactive": int(made.events[~inside].sum()),
        "after_answers": int(made.events[inside & ~held].sum()),
    }
    counts = {"units_cancelled_beyond_sales": round(made.beyond), **split_up.counts}
    return Packable(
        made.numbered,
        made.steps,
        replace(split_up, counts=counts),
        names,
        {name: {"events": number} for name, number in reasons.items()},
        int(made.events[held].sum()),
    )


def _cut(connection: Any, numbered: numbering.Numbered, rules: Rules, unit: Unit, scratch: Path) -> Cut:
    inside = numbered.events - numbered.outside
    console.say(f"{unit.name}: sorting {inside:,} events")
    rows = engine.ordered_events(
        numbered.table,
        numbered.actors.pairs,
        numbered.items,
        numbered.categories,
        numbered.brands,
        columns=unit.columns,
        with_order=numbered.ordered,
    )
    stream = engine.batches(connection, rows)
    with console.progress(f"{unit.name}: cutting", inside) as advance:
        return _cut_rows(_rows(stream, advance), cutting.Cutter(rules, EVENT_TYPES, unit.columns), scratch)


def _cut_rows(batches: Iterable[Mapping[str, Array]], cutter: cutting.Cutter, scratch: Path) -> Cut:
    import pyarrow as pa
    from pyarrow import parquet

    path, steps = scratch / "sequences.parquet", pack.StepFile(scratch, cutter.columns)
    schema = pa.schema([(name, pa.int64()) for name in cutting.SEQUENCE])
    with steps, parquet.ParquetWriter(path, schema, compression="none") as writer:
        for batch in batches:
            cut, ended = cutter.push(batch)
            steps.append(cut)
            writer.write_table(pa.table(ended).select(schema.names))
        writer.write_table(pa.table(cutter.finish()).select(schema.names))
    return Cut(cutter=cutter, steps=steps.map(), sequences=path)


def _parts(
    connection: Any,
    numbered: numbering.Numbered,
    cut: Cut,
    settings: Sequences,
    unit: Unit,
    scratch: Path,
    *,
    clock: bool,
) -> Split:
    found = connection.read_parquet(str(cut.sequences))
    judged = exclusions.judge(connection, found, numbered.actors, cut.cutter.rules, settings.robots, clock=clock)
    kept = judged.kept
    sizes = _sizes(_extent(kept)["sequences"], judged, numbered, cut, settings, unit)
    where = split.boundaries(kept, sizes)
    chosen = connection.create_table("sequences", split.parts(kept, where, settings.embargo_minutes), temp=True)
    held = {}
    for number, name in enumerate(SPLITS):
        path = scratch / f"{name}.parquet"
        engine.write(connection, engine.ordered_sequences(chosen, numbered.actors.named, number, list(unit.row)), path)
        held[name] = pack.support(path, cut.steps, len(numbered.item_ids), len(numbered.paths))
    _refuse_empty(held, settings)
    packed = chosen.filter(chosen.part != split.EMBARGOED)
    after = packed.length.sum() - (packed.piece == 1).sum()
    share = packed.agg(share=1 - packed.moves.sum() / after.nullif(0)).to_pyarrow()["share"][0].as_py()
    tie_share = round(share or 0.0, 6)
    left_out = {**judged.left_out, "embargo": _extent(chosen.filter(chosen.part == split.EMBARGOED))}
    counts = {
        "sessions": _extent(found.filter(found.piece == 1))["sequences"],
        "sessions_in_pieces": _extent(found.filter(found.piece == 2))["sequences"],
        "sessions_user_known_in_part": numbered.actors.known_in_part,
        "sessions_of_several_users": numbered.actors.of_several,
        "baskets": judged.baskets,
        "sequences_of_guests": sum(part.guests for part in held.values()),
    }
    baskets, section = cut.cutter.rules.baskets, f"sequences.{unit.section}"
    return Split(
        where=where,
        held=held,
        left_out=left_out,
        counts=counts,
        tie_share=tie_share,
        notes=exclusions.notes(counts, left_out, tie_share, baskets=baskets, section=section, long=judged.long),
    )


def _persons(connection: Any, numbered: numbering.Numbered, cut: Cut, scratch: Path) -> Persons:
    """Whose the sequences are, of a unit with cut-offs: one each."""
    found = connection.read_parquet(str(cut.sequences)).mutate(part=0)
    path = scratch / "persons.parquet"
    engine.write(connection, engine.ordered_sequences(found, numbered.actors.named, 0, ["user_id", "length"]), path)
    return Persons.read(path)


def _parts_as_of(
    persons: Persons,
    steps: Mapping[str, Array],
    numbered: numbering.Numbered,
    how: AsOf,
    settings: Sequences,
    unit: Unit,
    scratch: Path,
    *,
    clock: bool,
) -> Split:
    """The parts of whoever has steps."""
    if not clock:
        raise DataError(
            f"the log has an order and no clock: the unit {unit.name} counts days",
            kept=KEPT,
            next_step="map a column with times (source.columns: {event_time: ...}), or take the unit out of units",
        )
    cut_offs = split.cut_offs(numbered.first, numbered.stop, how, settings.valid_share, settings.test_share)
    lying = histories(persons, steps, (unit.actions or EVENT_TYPES).index(how.active), how, cut_offs)
    _refuse_nobody(persons, lying, cut_offs, numbered, how, unit)
    held = {}
    for name, each in lying.items():
        each.write_persons(scratch / f"{name}.parquet")
        support = pack.support(scratch / f"{name}.parquet", steps, len(numbered.item_ids), len(numbered.paths))
        held[name] = replace(support, sequences=len(each.owner))
    longest = np.max([each.held for each in lying.values()], axis=0)
    inside, packed = longest > 0, int(longest.sum())
    first = [cut_offs[name][0] for name in ("valid", "test") if cut_offs[name]] or [numbered.stop]
    return Split(
        where=split.Boundaries(train=first[0] - 1, valid=first[-1] - 1),
        held=held,
        left_out={
            "inactive": {"events": int(persons.length[~inside].sum()), "sequences": int((~inside).sum())},
            "after_answers": {"events": int(persons.length[inside].sum()) - packed, "sequences": 0},
        },
        counts={
            "persons" if unit.by_person else "keys": len(persons.length),
            _them(unit): int(inside.sum()),
            **{f"cut_offs_{name}": len(each) for name, each in cut_offs.items()},
            **{f"{_them(unit)}_{name}": len(each.inside) for name, each in lying.items()},
        },
        tie_share=0.0,
        lying=lying,
        repeated=sum(part.events for part in held.values()) - packed,
    )


def _them(unit: Unit) -> str:
    """Who has sequences as of cut-offs."""
    return "customers" if unit.by_person else unit.name


def _refuse_nobody(
    persons: Persons,
    lying: Mapping[str, Histories],
    cut_offs: Mapping[str, Sequence[int]],
    numbered: numbering.Numbered,
    how: AsOf,
    unit: Unit,
) -> None:
    """Raise DataError where nobody, or one alone, is in a part."""
    if not len(persons.length):
        raise DataError(
            f"no event of the log names a user, so that nobody is a {unit.name} ({numbered.events:,} events)",
            kept=KEPT,
            next_step="map the column of customers (source.columns: {user_id: ...}), or take the unit out of units",
        )
    least = FEWEST if unit.by_person else 1
    few = {name: len(lying[name].inside) for name in SPLITS if cut_offs[name] and len(lying[name].inside) < least}
    if few:
        said = "none" if not any(few.values()) else ""
        said = said or ", ".join(f"{number} in the {name} part" for name, number in few.items())
        asked = len(persons.length)
        whom = ("person" if unit.by_person else "key") + "s" * (asked != 1)
        raise DataError(
            f"too few {_them(unit)}: {said}, of {asked:,} {whom}; a "
            f"{unit.name} has a {how.active} in the {how.active_days} days before a cut-off"
            + (f", and {how.least} before it" if how.least > 1 else ""),
            kept=KEPT,
            next_step=f"look at sequences.{unit.section} in params.yaml and at the event types of the log, or ingest "
            "more",
        )


def _sizes(
    enough: int, judged: exclusions.Judged, numbered: numbering.Numbered, cut: Cut, settings: Sequences, unit: Unit
) -> tuple[int, int, int]:
    """How many sequences go to train, valid, test. Raises DataError where there are too few, with what was left out."""
    baskets = judged.left_out["basket"]["sequences"]
    if baskets > BASKETS_TO_ONE * enough:
        raise DataError(
            f"the log holds baskets: in {baskets:,} of {baskets + enough:,} visits all steps have one time, as the "
            f"lines of an order have, so there is no order in them to learn; {enough:,} sequences are left",
            kept=KEPT,
            next_step="map a column that says the order (source.columns: {order: ...}), ingest a log with the time of "
            f"every event, or set sequences.{unit.section}.baskets: true, to learn the order in which the lines stand",
        )
    if enough:
        return split.sizes(enough, settings.valid_share, settings.test_share)
    left = ", ".join(f"{what['sequences']:,} {name}" for name, what in judged.left_out.items() if what["sequences"])
    raise DataError(
        f"no sequence has {cut.cutter.rules.min_length} steps ({numbered.events:,} events gave {cut.cutter.steps:,} "
        f"steps; left out: {left or 'no sequence'})",
        kept=KEPT,
        next_step=f"look at sequences.{unit.section} (event_types, gap_minutes, min_length) and sequences.robots "
        "in params.yaml, or ingest more",
    )


def _pack(
    made: Packable,
    settings: Sequences,
    unit: Unit,
    scratch: Path,
    out: Path,
    *,
    clock: bool,
) -> tuple[dict[str, Part], Tables, dict[str, str]]:
    numbered, split_up = made.numbered, made.split_up
    held = split_up.held
    train = held["train"]
    later = np.sum([held[name].items for name in held if name != "train"], axis=0)
    tables = Tables(
        vocabulary.of_items(train.items, later, settings.min_item_count), vocabulary.of_categories(train.categories)
    )
    if tables.items.known == FIRST_ITEM:
        raise DataError(
            f"no item has {settings.min_item_count} steps in the training part: its most frequent one has "
            f"{int(train.items.max())}",
            kept=KEPT,
            next_step="lower sequences.min_item_count in params.yaml, or ingest more",
        )
    parts: dict[str, Part] = {}
    files: dict[str, str] = {}
    with console.progress(f"{unit.name}: packing", sum(part.events for part in held.values())) as advance:
        for name in held:
            parts[name], written = pack.pack_split(
                out,
                name,
                scratch / f"{name}.parquet",
                made.steps,
                n_sequences=held[name].sequences,
                n_events=held[name].events,
                items=tables.items,
                categories=tables.categories,
                row=unit.row,
                clock=clock,
                advance=advance,
                lying=split_up.lying.get(name),
            )
            files |= written
    steps = map_columns(out, "train", parts["train"], features.held(unit.columns))
    brands = pack.brands(scratch / "train.parquet", made.steps, steps["item"], len(tables.items.order))
    brands = numbered.brand_names.take(brands)
    files |= pack.write_vocabulary(out, tables.items, numbered.item_ids, made.names, brands, steps)
    files |= pack.write_categories(out, tables.categories, numbered.paths)
    if made.groups is not None:
        files |= pack.write_groups(out, "test", made.groups)
    return parts, tables, files


def _left_out(numbered: numbering.Numbered, cut: Cut, split_up: Split) -> dict[str, Mapping[str, int]]:
    return {
        "outside_window": {"events": numbered.outside},
        "nobody": {"events": numbered.of_nobody},
        "type_not_used": {"events": cut.cutter.type_not_used},
        "no_item": {"events": cut.cutter.no_item},
        "repeat": {"events": cut.cutter.repeats},
        **split_up.left_out,
    }


def _rows(stream: Any, advance: Callable[[int], None]) -> Iterator[dict[str, Array]]:
    """The batches of `engine.ordered_events` as arrays, times as int64, missing prices as NaN."""
    import pyarrow as pa

    for batch in stream:
        arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
        arrays["time"] = arrays["time"].view(pa.int64())
        yield {name: array.to_numpy(zero_copy_only=False) for name, array in arrays.items()}
        advance(len(batch))


def _extent(sequences: Any) -> dict[str, int]:
    """How many sequences a table has, and how many events they hold."""
    row = sequences.agg(sequences=sequences.count(), events=sequences.length.sum().fill_null(0)).to_pyarrow()
    return {name: int(row[name][0].as_py()) for name in ("events", "sequences")}


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


def _settings(settings: Sequences, unit: Unit) -> dict[str, Any]:
    """The params that shape the store; the engine's memory, and what is of other units, do not."""
    others = {"memory_gb", *(each.section for each in UNITS.values())}
    shaping = {name: value for name, value in asdict(settings).items() if name not in others}
    section = asdict(getattr(settings, unit.section))
    shaping[unit.name] = {name: list(value) if isinstance(value, tuple) else value for name, value in section.items()}
    if unit.as_of is not None:
        shaping[unit.name]["horizon_days"] = unit.as_of(getattr(settings, unit.section)).horizon_days
    for end, moment in zip(("since", "until"), settings.window, strict=True):
        shaping[end] = moment.isoformat() if moment else None
    return shaping


def _source(events: Path) -> dict[str, Any]:
    """Where the events come from, as their manifest says; `key` names the key of the pseudonyms. Empty without one."""
    try:
        found = read_json(events / manifest.NAME)["settings"]
    except (OSError, ValueError, KeyError):
        return {}
    named = {name: found.get(name) for name in ("kind", "preset", "key")}
    return named | {name: found[name] for name in ("former_keys",) if name in found}


def _check(rules: Rules, unit: Unit) -> None:
    unknown = [name for name in rules.event_types if name not in EVENT_TYPES]
    if unknown or not rules.event_types:
        raise UsageError(
            f"params.yaml, sequences.{unit.section}.event_types: {', '.join(unknown) or 'empty'}; "
            f"there is {', '.join(EVENT_TYPES)}",
            kept="nothing was run",
        )


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder beside `out` for what is too large for memory; it is removed, also what a killed run left in it."""
    folder = out.with_name(f".{out.name}.scratch")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
