"""A history that a shop sends becomes the very steps that preparing the log makes of it, to the last digit."""

from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet
from sequences_reference import EPOCH, MONDAY, event, settings, write_events

from clickflow import features
from clickflow.artefact import asking, checks
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import last
from clickflow.online import visits
from clickflow.online.history import Question, Step
from clickflow.online.served import Items, Served
from clickflow.params.sequences import CustomerUnit
from clickflow.sequences import prepare
from clickflow.sequences.card import SPLITS
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import PackedSplit, open_split, read_card

SHORT = 7
"""Steps that the model reads: fewer than most histories have."""


def log(seed: int) -> list[dict[str, Any]]:
    """Visits and customers with repeats, types that training leaves out, events without an item, price or category."""
    draw, rows = np.random.default_rng(seed), []
    kinds = ["view", "view", "view", "cart", "purchase", "impression", "search", "click"]
    for number in range(160):
        time = MONDAY + timedelta(seconds=int(draw.integers(40 * 86_400)))
        for _ in range(int(draw.integers(1, 25))):
            time += timedelta(microseconds=int(draw.integers(1, 600_000_000)))
            kind, item = str(draw.choice(kinds)), f"item-{int(draw.exponential(4))}"
            for _ in range(1 + int(draw.random() < 0.3)):
                row = event(
                    time,
                    kind,
                    None if kind == "search" else item,
                    f"u{number % 20}",
                    f"s{number}",
                    None if draw.random() < 0.2 else round(float(draw.random()) * 90, 2),
                    None if draw.random() < 0.2 else f"c{draw.integers(5)}",
                )
                rows.append(row | {"quantity": None if draw.random() < 0.3 else int(draw.integers(1, 4))})
                time += timedelta(microseconds=1)
    return rows


def served(store: Path, out: Path) -> Served:
    """Who reads histories as a model of this store does; it answers nothing."""
    card = read_card(store)
    out.mkdir()
    checks.vocabulary(store, card, out)
    about = {"actions": list(card.actions), "known": card.known, "unit": store.name, "max_length": SHORT}
    artefact = Artefact(out, {**about, "inputs": {}, "outputs": [], "steps": checks.steps_of(card)}, None)
    return Served("m", 1, artefact, Items.read(artefact))


def same(own: PackedSplit, packed: PackedSplit, index: int, known: int) -> None:
    """Whether the only sequence of `own` is what is read of a sequence of `packed`."""
    there = slice(int(packed.begin[index]), int(packed.end[index]))
    assert own.columns.keys() == packed.columns.keys()
    for name, column in packed.columns.items():
        right, left = column[there], own.columns[name]
        assert left.dtype == right.dtype
        if name == "item":  # the order of items that the model does not know is nobody's
            right, left = np.minimum(right, known), np.minimum(left, known)
        assert np.array_equal(left, right, equal_nan=right.dtype.kind == "f"), name


def question_of(rows: list[dict[str, Any]], now: int | None = None) -> Question:
    """As a shop tells it: all that happened."""
    return Question(
        tuple(
            Step(
                row["item_id"],
                row["event_type"],
                (row["event_time"] - EPOCH) // timedelta(microseconds=1),
                row["category"],
                row["price"],
                row["quantity"],
            )
            for row in sorted(rows, key=lambda row: row["event_time"])
            if row["item_id"] is not None
        ),
        now,
    )


@pytest.mark.parametrize(
    ("unit", "chosen"),
    [
        ("session", {}),
        ("session", {"drop_repeats": False, "event_types": ("view", "purchase", "impression")}),
        ("customer", {}),
    ],
)
def test_a_history_becomes_the_steps_of_the_packed_store(unit: str, chosen: dict[str, Any], tmp_path: Path) -> None:
    rows, how = log(3), settings(**chosen)
    if unit == "customer":
        from dataclasses import replace

        how = replace(how, customer=CustomerUnit(horizon_days=3, every_days=2, active_days=30))
    store = tmp_path / unit
    prepare.build(write_events(tmp_path / "events", rows), how, unit, store, threads=1)
    model, known = served(store, tmp_path / "model"), read_card(store).known
    who = "session_id" if unit == "session" else "user_id"
    by_owner: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_owner[row[who]].append(row)
    names = features.names(unit)
    counted = passed_over = longer = 0
    for part in SPLITS:
        packed = open_split(store, part)
        owners = parquet.read_table(store / part / "sequences.parquet")[who].to_pylist()
        for index, owner in enumerate(owners):
            now = None if packed.cut_off is None else int(packed.cut_off[index])
            question = question_of(by_owner[owner], now)
            own = model.split([question])
            same(own, packed, index, known)
            counted += 1
            passed_over += len(question.steps) - len(own.item)
            longer += len(own.item) > SHORT
            positions, alone = last(packed, [index], SHORT), last(own, [0], SHORT)
            assert positions.window[0] == min(SHORT, len(own.item))
            here = np.arange(1)
            right = asking.hand_made(unit, names, packed, positions, here, read_card(store))
            translated = model._translation(own).store
            assert translated is not None
            values = asking.hand_made(unit, names, own, alone, here, translated)
            assert np.array_equal(values, right, equal_nan=True)
    assert counted > 40
    assert longer > 20
    assert passed_over > 50


@pytest.mark.parametrize("clock", [True, False])
def test_without_a_clock_times_are_an_order_alone(clock: bool, tmp_path: Path) -> None:
    draw, store = np.random.default_rng(0), tmp_path / "session"
    arrays = {
        "offsets": np.array([0, 4, 9, 30]),
        "item": draw.integers(2, 12, 30).astype(np.int32),
        "time": np.arange(30) * 3_700_000_000,
        "action": draw.integers(0, 3, 30).astype(np.uint8),
    }
    write_store(store, {"train": arrays, "valid": arrays}, clock=clock)
    model, packed = served(store, tmp_path / "model"), open_split(store, "valid")
    assert bool(np.any(packed.gap)) is clock
    for index in range(3):
        same(model.split([visits.question(store, "valid", index)]), packed, index, read_card(store).known)


def test_a_card_from_before_it_said_so_reads_all_types_and_repeats(tmp_path: Path) -> None:
    store = tmp_path / "session"
    write_store(store, {"train": {"offsets": np.array([0, 3]), "item": np.array([2, 3, 4], np.int32)}})
    model = served(store, tmp_path / "model")
    card = {name: value for name, value in model.artefact.card.items() if name != "steps"}
    old = Served("m", 1, Artefact(model.artefact.folder, card, None), model.items)
    twice = Question((Step("2"), Step("2"), Step("3", "impression")))
    assert len(old.steps(twice)) == 3
    new = Served("m", 1, Artefact(model.artefact.folder, card | {"steps": {"drop_repeats": True}}, None), model.items)
    assert [step.item for step in new.steps(twice)] == ["2", "3"]
