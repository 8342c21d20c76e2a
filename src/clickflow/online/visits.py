"""A sequence of the packed store as a client would send it: what a person did, by ids."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.online.history import Question, Step
from clickflow.sequences.indexes import UNKNOWN
from clickflow.sequences.store import open_split, read_card


def question(store: Path, part: str, index: int) -> Question:
    """Sequence `index` of a part of the store, read as of its cut-off where its unit has one."""
    return questions(store, part, [index])[0]


def questions(store: Path, part: str, indexes: Sequence[int]) -> list[Question]:
    """The same of several sequences."""
    from pyarrow import parquet

    split, card = open_split(store, part), read_card(store)
    items = parquet.read_table(store / "vocabulary.parquet", columns=["item_id"])["item_id"]
    categories = parquet.read_table(store / "categories.parquet", columns=["category"])["category"]

    def steps(index: int) -> tuple[Step, ...]:
        own = slice(int(split.begin[index]), int(split.end[index]))
        quantity = split.quantity[own] if "quantity" in split.columns else np.full(own.stop - own.start, np.nan)
        columns = (split.item, split.action, split.time, split.category, split.price)
        rows = zip(*(column[own].tolist() for column in columns), quantity.tolist(), strict=True)
        return tuple(
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

    as_of = split.cut_off
    return [Question(steps(index), None if as_of is None else int(as_of[index])) for index in indexes]


def _named(names: Any, index: int) -> str:
    """Of an index of the store; `?` of the unknown one, which no name is."""
    return "?" if index <= UNKNOWN else str(names[index - UNKNOWN - 1])


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
