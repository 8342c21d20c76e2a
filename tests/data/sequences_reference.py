"""The rules of the unit `session` once more, slowly and in plain Python, and the ways to hold a store against them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from clickflow.events.contract import SCHEMA
from clickflow.params.sequences import Robots, Sequences, SessionUnit
from clickflow.sequences.card import SPLITS, Card, read_card
from clickflow.sequences.exclusions import REASONS
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import open_split
from clickflow.system.files import sha256

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

Step = tuple[int, str, str, float | None, str | None]
"""Time (microseconds), type, item, price, category."""


def as_its_card_says(store: Path) -> Card:
    """The card, whose hashes are those of the files."""
    card = read_card(store)
    assert {name: sha256(store / name) for name in card.files} == dict(card.files)
    return card


@dataclass(frozen=True)
class Sequence:
    session_id: str
    user_id: str | None
    piece: int
    steps: tuple[Step, ...]

    @property
    def start(self) -> int:
        return self.steps[0][0]

    @property
    def end(self) -> int:
        return self.steps[-1][0]


def event(
    time: datetime,
    kind: str = "view",
    item: str | None = "a",
    user: str | None = "u",
    session: str | None = None,
    price: float | None = None,
    category: str | None = None,
    brand: str | None = None,
    name: str | None = None,
) -> dict[str, Any]:
    return {
        "event_time": time,
        "event_type": kind,
        "user_id": user,
        "session_id": session,
        "item_id": item,
        "category": category,
        "brand": brand,
        "price": price,
        "quantity": None,
        "campaign": None,
        "order": None,
        "item_name": name,
    }


def write_events(folder: Path, events: Iterable[dict[str, Any]]) -> Path:
    """Canonical Parquet; the rows in the order given, which must not matter where times differ."""
    days = defaultdict(list)
    for row in events:
        days[row["event_time"].date()].append(row)
    for day, rows in days.items():
        target = folder / f"day={day}"
        target.mkdir(parents=True)
        parquet.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), target / "events.parquet")
    return folder


def settings(**changes: Any) -> Sequences:
    """Params of the stage; keys of the unit and of the stage alike."""
    unit = {name for name in changes if name in {each.name for each in fields(SessionUnit)}}
    stage: dict[str, Any] = {
        "memory_gb": 0.5,
        "min_known_share": None,
        "min_part_sequences": None,
        "robots": Robots(max_steps_per_minute=None, max_session_steps=None, max_log_share=None),
        **{name: value for name, value in changes.items() if name not in unit},
    }
    return Sequences(**stage, session=SessionUnit(**{name: changes[name] for name in unit}))


@dataclass(frozen=True)
class Expected:
    splits: dict[str, list[Sequence]]
    left_out: dict[str, int]


def expected(events: list[dict[str, Any]], chosen: Sequences) -> Expected | None:
    """What must come out; None where the log has too few sequences."""
    left_out = dict.fromkeys(("outside_window", "nobody", "type_not_used", "no_item", "repeat", *REASONS, "embargo"), 0)
    actors = defaultdict(list)
    users = defaultdict(set)
    since, until = chosen.window
    for row in events:
        if (since and row["event_time"] < since) or (until and row["event_time"] >= until):
            left_out["outside_window"] += 1
        elif row["user_id"] is None and row["session_id"] is None:
            left_out["nobody"] += 1
        else:
            users[row["session_id"]].add(row["user_id"])
    for row in events:
        if (since and row["event_time"] < since) or (until and row["event_time"] >= until):
            continue
        user, session = row["user_id"], row["session_id"]
        if session is not None and len(users[session] - {None}) == 1:
            (user,) = users[session] - {None}
        if user is not None or session is not None:
            actors[user, session].append(row)
    sequences = []
    for (user, session), rows in actors.items():
        for visit in _visits(sorted(rows, key=itemgetter("event_time")), chosen, cut=session is None):
            steps = _steps(visit, chosen, left_out)
            if len(steps) > 1 and not chosen.session.baskets and len({step[0] for step in steps}) == 1:
                left_out["basket"] += len(steps)
                continue
            name = session if session is not None or not steps else f"{user}@{steps[0][0]}"
            for number, first in enumerate(range(0, len(steps), chosen.session.max_length)):
                piece = tuple(steps[first : first + chosen.session.max_length])
                if len(piece) < chosen.session.min_length:
                    left_out["too_short"] += len(piece)
                else:
                    sequences.append(Sequence(str(name), user, number + 1, piece))
    splits = _split(sequences, chosen, left_out)
    return None if splits is None else Expected(splits, left_out)


def _visits(rows: list[dict[str, Any]], chosen: Sequences, cut: bool) -> list[list[dict[str, Any]]]:
    visits = [[rows[0]]]
    for before, row in pairwise(rows):
        if cut and row["event_time"] - before["event_time"] > chosen.session.gap_minutes * MINUTE:
            visits.append([])
        visits[-1].append(row)
    return visits


def _steps(visit: list[dict[str, Any]], chosen: Sequences, left_out: dict[str, int]) -> list[Step]:
    steps: list[Step] = []
    for row in visit:
        if row["event_type"] not in chosen.session.event_types:
            left_out["type_not_used"] += 1
        elif row["item_id"] is None:
            left_out["no_item"] += 1
        elif chosen.session.drop_repeats and steps and steps[-1][1:3] == (row["event_type"], row["item_id"]):
            left_out["repeat"] += 1
        else:
            price = None if row["price"] is None else float(np.float32(row["price"]))
            time = (row["event_time"] - EPOCH) // timedelta(microseconds=1)
            steps.append((time, row["event_type"], row["item_id"], price, row["category"]))
    return steps


def _split(sequences: list[Sequence], chosen: Sequences, left_out: dict[str, int]) -> dict[str, list[Sequence]] | None:
    shares = (chosen.valid_share, chosen.test_share)
    valid, test = (max(1, round(len(sequences) * share)) if share else 0 for share in shares)
    train = len(sequences) - valid - test
    if train < 1:
        return None
    ends = sorted(sequence.end for sequence in sequences)
    bounds = ends[train - 1], ends[train + valid - 1]
    embargo = chosen.embargo_minutes * 60_000_000
    splits: dict[str, list[Sequence]] = {name: [] for name in SPLITS}
    for sequence in sequences:
        part = sum(sequence.end > bound for bound in bounds)
        if part and embargo and sequence.start < bounds[part - 1] + embargo:
            left_out["embargo"] += len(sequence.steps)
        else:
            splits[SPLITS[part]].append(sequence)
    needed = [True, *(share > 0 for share in shares)]
    if any(need and not part for need, part in zip(needed, splits.values(), strict=True)):
        return None
    return splits


def by_name(part: Iterable[Sequence]) -> list[Sequence]:
    """In an order of its own: that of the store follows a hash of the steps."""
    return sorted(part, key=lambda s: (s.start, s.session_id, s.user_id is None, s.user_id or "", s.piece))


def unpacked(folder: Path, split: str) -> list[Sequence]:
    """The sequences of a store as the reference has them; a category of no training step reads '?'."""
    card, packed = read_card(folder), open_split(folder, split)
    items = parquet.read_table(folder / "vocabulary.parquet").column("item_id").to_pylist()
    named = parquet.read_table(folder / "categories.parquet").column("category").to_pylist()
    categories = [None, "?", *named]
    rows = parquet.read_table(folder / split / "sequences.parquet").to_pylist()
    assert len(rows) == packed.n_sequences
    sequences = []
    for number, row in enumerate(rows):
        first, last = packed.offsets[number], packed.offsets[number + 1]
        steps = tuple(
            (
                int(packed.time[step]),
                card.actions[packed.action[step]],
                items[packed.item[step] - FIRST_ITEM],
                None if np.isnan(packed.price[step]) else float(packed.price[step]),
                categories[packed.category[step]],
            )
            for step in range(first, last)
        )
        sequence = Sequence(row["session_id"], row["user_id"], row["piece"], steps)
        assert (row["start"] - EPOCH) // timedelta(microseconds=1) == sequence.start
        assert (row["end"] - EPOCH) // timedelta(microseconds=1) == sequence.end
        assert row["length"] == len(steps)
        sequences.append(sequence)
    return sequences


def with_known_categories(splits: dict[str, list[Sequence]]) -> dict[str, list[Sequence]]:
    """The expected sequences, with '?' for each category that the training part does not hold."""
    known = {step[4] for sequence in splits["train"] for step in sequence.steps} | {None}
    return {
        name: [
            Sequence(
                s.session_id,
                s.user_id,
                s.piece,
                tuple((*step[:4], step[4] if step[4] in known else "?") for step in s.steps),
            )
            for s in part
        ]
        for name, part in splits.items()
    }
