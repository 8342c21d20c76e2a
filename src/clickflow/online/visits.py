"""A sequence of the packed store as a client would send it: what a person did, by ids."""

from pathlib import Path
from typing import Any

import numpy as np

from clickflow.online.history import Question, Step
from clickflow.sequences.indexes import UNKNOWN
from clickflow.sequences.store import open_split, read_card


def question(store: Path, part: str, index: int) -> Question:
    """Sequence `index` of a part of the store, read as of its cut-off where its unit has one."""
    from pyarrow import parquet

    split, card = open_split(store, part), read_card(store)
    steps = slice(int(split.begin[index]), int(split.end[index]))
    items = parquet.read_table(store / "vocabulary.parquet", columns=["item_id"])["item_id"]
    categories = parquet.read_table(store / "categories.parquet", columns=["category"])["category"]
    quantity = split.quantity[steps] if "quantity" in split.columns else np.full(steps.stop - steps.start, np.nan)
    columns = (split.item, split.action, split.time, split.category, split.price)
    rows = zip(*(column[steps].tolist() for column in columns), quantity.tolist(), strict=True)
    found = tuple(
        Step(
            item=_named(items, item),
            action=card.actions[action],
            time=time,
            category=None if category < UNKNOWN else _named(categories, category),
            price=_number(price),
            quantity=_number(pieces),
        )
        for item, action, time, category, price, pieces in rows
    )
    return Question(found, None if split.cut_off is None else int(split.cut_off[index]))


def _named(names: Any, index: int) -> str:
    """Of an index of the store; `?` of the unknown one, which no name is."""
    return "?" if index <= UNKNOWN else str(names[index - UNKNOWN - 1])


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
