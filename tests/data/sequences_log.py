"""Logs written by hand, and the store that is made of them."""

import itertools
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sequences_reference import (
    MINUTE,
    MONDAY,
    Sequence,
    event,
    unpacked,
    write_events,
)

from clickflow.params.sequences import Sequences
from clickflow.sequences import prepare
from clickflow.sequences.store import SPLITS, Card
from clickflow.system.errors import ClickflowError

SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)


def build(folder: Path, events: list[dict[str, Any]], chosen: Sequences, **more: Any) -> Card:
    """The store of some events, in folder/session."""
    log = write_events(folder / "events", events)
    return prepare.build(log, chosen, "session", folder / "session", **more)


def everything(folder: Path) -> list[Sequence]:
    return [sequence for name in SPLITS for sequence in unpacked(folder / "session", name)]


def adds_up(card: Card) -> None:
    packed = sum(part.events for part in card.splits.values())
    assert card.events_read == packed + sum(reason["events"] for reason in card.left_out.values())
    card.add_up()
    with pytest.raises(ClickflowError, match="do not add up"):
        replace(card, events_read=card.events_read + 1).add_up()


def visits(count: int, *, items: str = "abc", apart: timedelta = timedelta(hours=2)) -> list[dict[str, Any]]:
    """So many visits of two steps, one user, each visit `apart` from the one before."""
    return [
        event(MONDAY + number * apart + step * MINUTE, item=items[(number + step) % len(items)])
        for number in range(count)
        for step in range(2)
    ]


def random_log(events: int, seed: int) -> list[dict[str, Any]]:
    """Visits over three days: guests and users, given sessions and none, ties, repeats, prices, categories."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < events:
        user = None if rng.random() < 0.2 else f"u{rng.integers(events // 20)}"
        session = f"s{len(rows)}" if user is None or rng.random() < 0.4 else None
        time = MONDAY + int(rng.integers(0, 3 * 24 * 3600)) * SECOND
        for _ in range(rng.geometric(0.15)):
            time += int(rng.exponential(200)) * SECOND
            kind = str(rng.choice(["view", "view", "view", "cart", "purchase", "search"]))
            number = int(30 * rng.random() ** 2)
            item = None if kind == "search" or rng.random() < 0.05 else f"item-{number}"
            price = None if rng.random() < 0.2 else round(float(rng.random()) * 100, 2)
            category = f"c.{number % 7}" if number % 5 else None
            brand = str(rng.choice(["acme", "éclair", "日"])) if number % 3 else None
            rows.append(event(time, kind, item, user, session, price, category, brand))
    return rows[:events]


def visit(who: tuple[str | None, str | None], start: int, steps: list[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """One visit; a step is minutes since the one before, type, item, price, category."""
    times = itertools.accumulate((step[0] for step in steps), initial=start)
    next(times)
    return [
        event(MONDAY + minute * MINUTE, kind, item, *who, price, category)
        for minute, (_, kind, item, price, category) in zip(times, steps, strict=True)
    ]
