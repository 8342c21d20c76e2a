"""The stage `sequences@unit`: canonical events to the packed store of a unit, split by time.

Number and sort (engine), cut by the unit's rules (cutting), or sum (summed), split (parts), order (engine), count
(vocabulary), pack.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape

from clickflow.events import manifest, suspects
from clickflow.events.contract import EVENT_TYPES, GROUPS
from clickflow.params.schema import Params
from clickflow.params.sequences import Sequences
from clickflow.sequences import coverage, cutting, engine, features, numbering, pack, parts, plan, plan_file, vocabulary
from clickflow.sequences import summed as summing
from clickflow.sequences.card import Card, Part, write_card
from clickflow.sequences.features import Array
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.numbering import KEPT
from clickflow.sequences.plan_file import PlanFile
from clickflow.sequences.split import midnight
from clickflow.sequences.store import map_columns
from clickflow.sequences.units import UNITS, named
from clickflow.sequences.units.unit import Rules, Unit
from clickflow.sequences.vocabulary import Vocabulary
from clickflow.system import console, integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import read_json, replacing, scratch_folder, sha256
from clickflow.system.moments import DAY
from clickflow.system.paths import Paths


def run(params: Params, paths: Paths, unit: str) -> None:
    """Make `data/sequences/<unit>`. Raises UsageError, DataError."""
    named(unit)
    started = time.perf_counter()
    of_file = plan_file.of_params(params, unit, paths.root)
    integrity.verify(paths.events, home=paths.home)
    card = build(paths.events, params.sequences, unit, paths.sequences(unit), plan_of=of_file)
    console.say(f"{card.summary()}; {time.perf_counter() - started:.1f} s")
    for note in card.notes:
        console.say(f"[yellow]warning[/] {escape(note)}")


def build(
    events: Path,
    settings: Sequences,
    name: str,
    out: Path,
    *,
    threads: int | None = None,
    plan_of: PlanFile | None = None,
) -> Card:
    """Pack the canonical events below `events` into a store of the unit `name` that takes the place of `out`, whole or
    not at all.

    The engine keeps to `settings.memory_gb` and spills into a folder beside `out` that is removed; neither that nor
    `threads` changes a byte of the store. `plan_of`: what is planned of its series. Raises UsageError where a setting
    makes no sense, DataError where the events give no store.
    """
    unit = named(name)
    rules = unit.rules(getattr(settings, unit.section)) if unit.rules else None
    if rules is not None:
        _check(rules, unit)
    clock = manifest.clock(events)
    with scratch_folder(out) as scratch, replacing(out, seal=integrity.seal) as fresh:
        with engine.engine(scratch, memory_gb=settings.memory_gb, threads=threads) as connection:
            if rules is None:
                packable = _summed(connection, events, settings, unit, scratch, clock=clock)
            else:
                packable = _cut_up(connection, events, rules, settings, unit, scratch, clock=clock)
        numbered, split_up = packable.numbered, packable.split_up
        packed, tables, files = _pack(packable, settings, unit, scratch, fresh, clock=clock)
        covered = coverage.measure(packed, split_up.held, tables.items)
        planned, said, written = _planned(plan_of, packable, tables, unit, settings, fresh)
        card = Card(
            unit=unit.name,
            known=tables.items.known,
            items_total=len(tables.items.order),
            categories=FIRST_ITEM + len(tables.categories.order),
            actions=unit.actions or EVENT_TYPES,
            splits=packed,
            boundaries={"valid": split_up.where.train, "test": split_up.where.valid},
            statistics=features.statistics(map_columns(fresh, "train", packed["train"], features.held(unit.columns))),
            events_read=numbered.events,
            left_out=packable.left_out,
            counts=split_up.counts,
            settings={**_settings(settings, unit), "source": _source(events)},
            files=files | written,
            clock=clock,
            coverage=covered | {"tie_share": split_up.tie_share},
            repeated=split_up.repeated,
            summed=packable.summed,
            plan=planned,
            notes=(
                *split_up.notes,
                *(suspects.of_items(numbered.item_ids) if rules is not None else ()),
                *coverage.notes(covered, split_up.held, tables.items, settings, clock=clock),
                *said,
            ),
        )
        card.add_up()
        write_card(fresh, card)
    return card


@dataclass(frozen=True)
class Packable:
    """What is packed: the stream of steps, and how it is split; `names` are those of the items, an Arrow array."""

    numbered: numbering.Numbered
    steps: Mapping[str, Array]
    split_up: parts.Split
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
        split_up = parts.by_time(connection, numbered, cut, settings, unit, scratch, clock=clock)
    else:
        persons, how = parts.persons_of(connection, numbered, cut, scratch), unit.as_of(getattr(settings, unit.section))
        split_up = parts.as_of(persons, cut.steps, numbered, how, settings, unit, scratch, clock=clock)
    names = _names(connection, numbered, split_up.where.train)
    groups = engine.groups(connection, numbered.table, [name for name in GROUPS if name in numbered.said])
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
    series = summing.summed(connection, log, sums, how)
    split_up = parts.as_of(series.persons, series.steps, series.numbered, how, settings, unit, scratch, clock=clock)
    longest = np.max([each.held for each in split_up.lying.values()], axis=0)
    of = np.arange(len(series.events)) - np.repeat(series.persons.source, series.persons.length)
    held = of < np.repeat(longest, series.persons.length)
    inside = np.repeat(longest > 0, series.persons.length)
    if sums.level == "item":
        every = _names(connection, log, split_up.where.train)
        names = every.take(pc.index_in(series.numbered.item_ids, log.item_ids))
    else:
        names = pa.nulls(len(series.numbered.item_ids), pa.string())
    reasons = {
        "outside_window": log.outside,
        **series.left_out,
        "inactive": int(series.events[~inside].sum()),
        "after_answers": int(series.events[inside & ~held].sum()),
    }
    counts = {"units_cancelled_beyond_sales": round(series.beyond), **split_up.counts}
    return Packable(
        series.numbered,
        series.steps,
        replace(split_up, counts=counts),
        names,
        {name: {"events": number} for name, number in reasons.items()},
        int(series.events[held].sum()),
    )


def _names(connection: Any, numbered: numbering.Numbered, until: int) -> Any:
    """`engine.item_names`, of a log that has any."""
    import pyarrow as pa

    if "item_name" not in numbered.said:
        return pa.nulls(len(numbered.item_ids), pa.string())
    return engine.item_names(connection, numbered.table, numbered.items, until)


def _cut(connection: Any, numbered: numbering.Numbered, rules: Rules, unit: Unit, scratch: Path) -> cutting.Cut:
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


def _cut_rows(batches: Iterable[Mapping[str, Array]], cutter: cutting.Cutter, scratch: Path) -> cutting.Cut:
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
    return cutting.Cut(cutter=cutter, steps=steps.map(), sequences=path)


def _pack(
    packable: Packable,
    settings: Sequences,
    unit: Unit,
    scratch: Path,
    out: Path,
    *,
    clock: bool,
) -> tuple[dict[str, Part], Tables, dict[str, str]]:
    numbered, split_up = packable.numbered, packable.split_up
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
    packed: dict[str, Part] = {}
    files: dict[str, str] = {}
    with console.progress(f"{unit.name}: packing", sum(part.events for part in held.values())) as advance:
        for name in held:
            packed[name], written = pack.pack_split(
                out,
                name,
                scratch / f"{name}.parquet",
                packable.steps,
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
    steps = map_columns(out, "train", packed["train"], features.held(unit.columns))
    brands = pack.brands(scratch / "train.parquet", packable.steps, steps["item"], len(tables.items.order))
    brands = numbered.brand_names.take(brands)
    files |= pack.write_vocabulary(out, tables.items, numbered.item_ids, packable.names, brands, steps)
    files |= pack.write_categories(out, tables.categories, numbered.paths)
    if packable.groups is not None:
        files |= pack.write_groups(out, "test", packable.groups)
    return packed, tables, files


def _planned(
    of_file: PlanFile | None, packable: Packable, tables: Tables, unit: Unit, settings: Sequences, out: Path
) -> tuple[dict[str, Any] | None, tuple[str, ...], dict[str, str]]:
    """Write the plan of the store's series, by their indexes; returns what the card says of it, its notes, and the hash
    of the file. Nothing of each where there is no plan.
    """
    if of_file is None:
        return None, (), {}
    assert unit.as_of is not None
    how, order = unit.as_of(getattr(settings, unit.section)), tables.items.order
    ids = packable.numbered.item_ids.take(order).to_pylist()
    rows, unknown = of_file.of(ids, FIRST_ITEM)
    end = midnight(packable.numbered.stop, how) // DAY
    trained = (packable.split_up.where.valid + 1) // DAY
    card = {
        "file": of_file.file.name,
        "sha256": sha256(of_file.file),
        "columns": list(of_file.names),
        "rows": len(rows.first),
        "first": str(np.datetime64(int(rows.first.min()), "D")) if len(rows.first) else None,
        "last": str(np.datetime64(int(rows.stop.max()) - 1, "D")) if len(rows.stop) else None,
        "series_not_of_the_store": len(unknown),
    }
    known = (
        f"the plan {of_file.file.name} ({', '.join(of_file.names)}) is taken for known on the days that are asked "
        "about: models of kind forecast read it, and no baseline does"
    )
    notes = of_file.notes(rows, ids, unknown, trained=trained, end=end, until=end + how.horizon_days)
    return card, (known, *notes), {plan.FILE: plan.write(out, rows)}


def _left_out(numbered: numbering.Numbered, cut: cutting.Cut, split_up: parts.Split) -> dict[str, Mapping[str, int]]:
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


def _settings(settings: Sequences, unit: Unit) -> dict[str, Any]:
    """The params that shape the store; the engine's memory, and what is of other units, do not."""
    others = {"memory_gb", *(each.section for each in UNITS.values())}
    shaping = {name: value for name, value in asdict(settings).items() if name not in others}
    section = asdict(getattr(settings, unit.section))
    if not section.get("plan", True):
        del section["plan"]  # stores of before had none
    shaping[unit.name] = {name: list(value) if isinstance(value, tuple) else value for name, value in section.items()}
    if unit.as_of is not None:
        shaping[unit.name]["horizon_days"] = unit.as_of(getattr(settings, unit.section)).horizon_days
    for end, moment in zip(("since", "until"), settings.window, strict=True):
        shaping[end] = moment.isoformat() if moment else None
    return shaping


def _source(events: Path) -> dict[str, Any]:
    """Where the events come from, as their manifest says; `key` names the key of the pseudonyms. Empty without one."""
    try:
        settings = read_json(events / manifest.NAME)["settings"]
    except (OSError, ValueError, KeyError):
        return {}
    named = {name: settings.get(name) for name in ("kind", "preset", "key")}
    return named | {name: settings[name] for name in ("former_keys",) if name in settings}


def _check(rules: Rules, unit: Unit) -> None:
    unknown = [name for name in rules.event_types if name not in EVENT_TYPES]
    if unknown or not rules.event_types:
        raise UsageError(
            f"params.yaml, sequences.{unit.section}.event_types: {', '.join(unknown) or 'empty'}; "
            f"there is {', '.join(EVENT_TYPES)}",
            kept="nothing was run",
        )
