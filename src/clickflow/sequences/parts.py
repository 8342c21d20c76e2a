"""Which sequences are in the training, validation and test part of a store, and the refusal of a log that fills none.

Sequences of a unit are split by time (`by_time`); those of a unit with cut-offs are made once for each part (`as_of`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.events.contract import EVENT_TYPES
from clickflow.params.sequences import Sequences
from clickflow.sequences import cutting, engine, exclusions, numbering, pack, split
from clickflow.sequences.card import SPLITS
from clickflow.sequences.features import Array
from clickflow.sequences.histories import Histories, Persons, histories
from clickflow.sequences.numbering import KEPT
from clickflow.sequences.units.unit import AsOf, Unit
from clickflow.system.errors import DataError

FEWEST = 2
"""Customers of a part: of one alone nothing is learned, and nothing is measured."""
BASKETS_TO_ONE = 20
"""A log with so many baskets for each sequence is one of baskets."""


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


def by_time(
    connection: Any,
    numbered: numbering.Numbered,
    cut: cutting.Cut,
    settings: Sequences,
    unit: Unit,
    scratch: Path,
    *,
    clock: bool,
) -> Split:
    """The parts of sequences of events: what is left out (robots, baskets, too short) goes first."""
    sequences = connection.read_parquet(str(cut.sequences))
    judged = exclusions.judge(connection, sequences, numbered.actors, cut.cutter.rules, settings.robots, clock=clock)
    kept = judged.kept
    sizes = _sizes(judged.number, judged, numbered, cut, settings, unit)
    ends = engine.batches(connection, kept.select("end").order_by("end"))
    where = split.boundaries((batch["end"].to_numpy() for batch in ends), sizes)
    chosen = engine.keep(connection, "sequences", split.parts(kept, where, settings.embargo_minutes))
    files = {name: scratch / f"{name}.parquet" for name in SPLITS}
    packed = chosen.filter(chosen.part != split.EMBARGOED)
    engine.write(connection, engine.ordered_sequences(packed, numbered.actors.named, list(unit.row)), *files.values())
    held = {
        name: pack.support(path, cut.steps, len(numbered.item_ids), len(numbered.paths)) for name, path in files.items()
    }
    _refuse_empty(held, settings)
    inside, embargoed = chosen.part != split.EMBARGOED, chosen.part == split.EMBARGOED
    number = engine.facts(
        connection,
        chosen,
        steps=chosen.length.sum(where=inside),
        sessions=chosen.count(where=inside & (chosen.piece == 1)),
        moves=chosen.moves.sum(where=inside),
        sequences=chosen.count(where=embargoed),
        events=chosen.length.sum(where=embargoed).fill_null(0),
    )
    after = (number["steps"] or 0) - number["sessions"]
    tie_share = round(1 - number["moves"] / after, 6) if after else 0.0
    left_out = {**judged.left_out, "embargo": {name: number[name] for name in ("events", "sequences")}}
    cut_up = engine.facts(
        connection,
        sequences,
        sessions=sequences.count(where=sequences.piece == 1),
        more=sequences.count(where=sequences.piece == 2),
    )
    counts = {
        "sessions": cut_up["sessions"],
        "sessions_in_pieces": cut_up["more"],
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


def persons_of(connection: Any, numbered: numbering.Numbered, cut: cutting.Cut, scratch: Path) -> Persons:
    """Whose the sequences are, of a unit with cut-offs: one each."""
    sequences = connection.read_parquet(str(cut.sequences)).mutate(part=0)
    path = scratch / "persons.parquet"
    engine.write(connection, engine.ordered_sequences(sequences, numbered.actors.named, ["user_id", "length"]), path)
    return Persons.read(path)


def as_of(
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
        persons_count = len(persons.length)
        whom = ("person" if unit.by_person else "key") + "s" * (persons_count != 1)
        raise DataError(
            f"too few {_them(unit)}: {said}, of {persons_count:,} {whom}; a "
            f"{unit.name} has a {how.active} in the {how.active_days} days before a cut-off"
            + (f", and {how.least} before it" if how.least > 1 else ""),
            kept=KEPT,
            next_step=f"look at sequences.{unit.section} in params.yaml and at the event types of the log, or ingest "
            "more",
        )


def _sizes(
    enough: int,
    judged: exclusions.Judged,
    numbered: numbering.Numbered,
    cut: cutting.Cut,
    settings: Sequences,
    unit: Unit,
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
