"""Checks of an artefact beyond its hashes: its card, model and tables must fit each other, whoever wrote them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

import numpy as np

from clickflow.heads.head import Kind
from clickflow.sequences.indexes import FIRST_ITEM

TENSORS = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
}
"""onnxruntime's names of types, and numpy's."""
ITEM = ("item_id", "index", "count", "category")
"""What every row of the vocabulary has."""


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _several(value: Any) -> bool:
    return _texts(value) and 0 < len(value) == len(set(value))


def _count(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31


def _heads(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(head, dict)
        and head.get("kind") in get_args(Kind)
        and _several(head.get("outputs"))
        and _texts(head.get("classes", []))
        for head in value.values()
    )


def _steps(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _several(value.get("event_types", ["any"]))
        and all(isinstance(value.get(name, True), bool) for name in ("clock", "drop_repeats"))
    )


def _hash(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


FORM: Mapping[str, Callable[[Any], bool]] = {
    "inputs": lambda value: isinstance(value, dict) and all(each in TENSORS.values() for each in value.values()),
    "outputs": _several,
    "actions": _several,
    "features": _texts,
    "heads": _heads,
    "known": _count(FIRST_ITEM),
    "max_length": _count(1),
    "spec": lambda value: isinstance(value, dict) and all(isinstance(value.get(k, ""), str) for k in ("kind", "unit")),
    "steps": _steps,
    "unit": lambda value: isinstance(value, str),
    "file": lambda value: isinstance(value, str),
    "model_sha256": _hash,
    "vocabulary_sha256": _hash,
    "categories_sha256": _hash,
    "popularity_sha256": _hash,
}
"""What the keys of card.json may hold; of those that are not there, nothing is asked here."""


def of_card(card: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong in a card, by its own account."""
    wrong = [key for key, holds in FORM.items() if key in card and not holds(card[key])]
    yield from (f"{key} is not what it must be" for key in wrong)
    if "heads" in card and not {"heads", "outputs"} & set(wrong):
        said = [output for head in card["heads"].values() for output in head["outputs"]]
        if sorted(said) != sorted(card["outputs"]):
            yield "its heads and its outputs are not the same"
    if "actions" in card and not {"actions", "steps"} & set(wrong):
        unknown = sorted(set(card.get("steps", {}).get("event_types", ())) - set(card["actions"]))
        yield from (f"its steps are of a type that is none of its actions: {name[:40]!r}" for name in unknown[:1])


def of_session(card: Mapping[str, Any], session: Any) -> Iterator[str]:
    """What an ONNX model reads or answers that its card does not say, or the other way round."""
    inputs = dict(card["inputs"])
    wanted = {**inputs, **({"row": "int64", "column": "int64"} if inputs else {})}
    wanted |= {"features": "float32"} if card.get("features") else {}
    here = {each.name: TENSORS.get(each.type, each.type) for each in session.get_inputs()}
    if here != wanted:
        names = sorted({*here, *wanted})
        different = [name for name in names if here.get(name) != wanted.get(name)]
        yield f"the model reads other inputs than the card says: {', '.join(different[:5])}"
    widths = {each.name: each.shape[-1] if each.shape else None for each in session.get_outputs()}
    if missing := sorted(set(card["outputs"]) - set(widths)):
        yield f"the model has no output {missing[0][:40]!r}"
    for name, head in card.get("heads", {}).items():
        width = card["known"] if head["kind"] == "ranking" else len(head.get("classes", ())) or None
        for output in head["outputs"]:
            if isinstance(widths.get(output), int) and width is not None and widths[output] != width:
                yield f"the answers of {name} are {widths[output]} wide, the card says {width}"


def of_vocabulary(card: Mapping[str, Any], items: Any, categories: Any) -> Iterator[str]:
    """What is wrong with the vocabulary and the categories, Arrow tables."""
    lacking = [name for name in (*ITEM, "price", "name", "brand") if name not in items.column_names]
    lacking += [name for name in ("category", "index") if name not in categories.column_names]
    if lacking:
        yield f"it has no column {lacking[0]}"
        return
    if items.num_rows != card["known"] - FIRST_ITEM:
        yield f"it has {items.num_rows:,} items, the card says {card['known'] - FIRST_ITEM:,}"
    for what, table, names in (("item", items, ITEM), ("category", categories, ("category", "index"))):
        if wrong := [name for name in names if table[name].null_count]:
            yield f"{wrong[0]} of a {what} is missing"
            return
        if not _follow(table["index"]):
            yield f"the indexes of its {what} column do not follow each other from {FIRST_ITEM}"
    numbers = [items[name].type for name in ("count", "category", "price")]
    if not all(str(kind).startswith(("int", "uint", "float", "double")) for kind in numbers):
        yield "its numbers are none"
    elif items.num_rows and not 0 <= _largest(items["category"]) < categories.num_rows + FIRST_ITEM:
        yield "an item is of a category that there is not"


HOURLY = ("hour", "index", "count")


def of_popularity(card: Mapping[str, Any], table: Any) -> Iterator[str]:
    """What is wrong with the popularity by hour, an Arrow table."""
    for name, low, high in zip(HOURLY, (0, FIRST_ITEM, 0), (24, card["known"], 2**62), strict=True):
        if name not in table.column_names or not str(table[name].type).startswith("int") or table[name].null_count:
            yield f"it has no whole numbers {name}"
        elif len(table) and not (low <= table[name].to_numpy().min() and table[name].to_numpy().max() < high):
            yield f"{name} goes beyond {low} to {high - 1}"


def _follow(column: Any) -> bool:
    try:
        return bool(np.array_equal(column.to_numpy(), np.arange(FIRST_ITEM, FIRST_ITEM + len(column))))
    except (ValueError, TypeError):
        return False


def _largest(column: Any) -> int:
    values = column.to_numpy()
    return int(values.max()) if (values >= 0).all() else -1
