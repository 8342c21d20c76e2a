"""Features of a visit so far, for the unit `session`: counts, times, items, prices, the last steps.

Read off a table [N, L] of the steps of each question, the newest last, block by block.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.features.feature import Feature, Names, Spans
from clickflow.sequences.features import Array
from clickflow.sequences.store import PackedSplit
from clickflow.system.moments import DAY, HOUR, SECOND

TYPES = ("view", "cart", "favourite", "remove", "purchase", "impression", "click")
"""Event types that are counted one by one."""
BACK = 3
"""Last steps whose types are told apart."""
CELLS = 1 << 21
"""Steps that are looked at together."""
WEEK = 7
FIRST_DAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""

VISIT = "visit"
TABLE: tuple[Feature, ...] = (
    Feature("steps", "count", "steps so far", VISIT),
    *(Feature(f"{name}s", "count", f"steps of type {name}", VISIT) for name in TYPES),
    Feature("cart_share", "share", "steps of type cart among all", VISIT),
    *(
        Feature(f"{name}_{back}_back", "0 or 1", f"step {back} from the end is of type {name}", f"last {BACK} steps")
        for back in range(1, BACK + 1)
        for name in TYPES[:4]
    ),
    Feature("since_start", "seconds", "time since the first step", VISIT),
    Feature("last_gap", "seconds", "time between the last two steps", "last 2 steps"),
    Feature("gap_before", "seconds", "time between the two steps before", "last 3 steps"),
    Feature("mean_gap", "seconds", "mean time between two steps", VISIT),
    Feature("longest_gap", "seconds", "longest time between two steps", VISIT),
    Feature("since_cart", "seconds", "time since the last step of type cart", VISIT),
    Feature("steps_since_cart", "count", "steps after the last one of type cart", VISIT),
    Feature("items", "count", "distinct items", VISIT),
    Feature("categories", "count", "distinct categories", VISIT),
    Feature("repeated", "share", "steps on an item seen before", VISIT),
    Feature("item_seen", "count", "steps on the last item", VISIT),
    Feature("item_carted", "0 or 1", "the last item was put into the cart", VISIT),
    Feature("item_new", "0 or 1", "the last item was not seen before", VISIT),
    Feature("same_item_in_a_row", "count", "last steps that are all on the last item", VISIT),
    Feature("category_share", "share", "steps in the category of the last one", VISIT),
    Feature("open_carts", "count", "steps of type cart less those of type remove and purchase, at least 0", VISIT),
    Feature("price", "money", "price at the last step", "last step"),
    Feature("mean_price", "money", "mean price of the steps that have one", VISIT),
    Feature("least_price", "money", "lowest price", VISIT),
    Feature("most_price", "money", "highest price", VISIT),
    Feature("price_ratio", "ratio", "price at the last step over the mean price", VISIT),
    Feature("carted_price", "money", "sum of the prices put into the cart", VISIT),
    Feature("hour", "hour", "hour of the day, UTC", "now"),
    Feature("hour_sine", "-1 to 1", "sine of the hour on a circle of a day", "now"),
    Feature("hour_cosine", "-1 to 1", "cosine of the hour on a circle of a day", "now"),
    Feature("weekday", "day", "day of the week, Monday is 0, UTC", "now"),
)
"""The features, in the order of the columns."""


def compute(split: PackedSplit, spans: Spans, store: Names) -> Array:
    """float32 [N, features] of N questions; NaN where a value does not exist. Times are in microseconds."""
    table = np.full((len(spans), len(TABLE)), np.nan, np.float32)
    for rows in _blocks(spans.end - spans.begin):
        columns = _columns(split, Spans(spans.begin[rows], spans.end[rows], spans.now[rows]), store)
        for place, feature in enumerate(TABLE):
            table[rows, place] = columns[feature.name]
    return table


def _blocks(lengths: Array) -> Iterator[NDArray[np.int64]]:
    """Questions of about one length, so many that they have `CELLS` steps with padding, or one."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # the longest of a block decides: as many as fit by the first, then as many as fit by the last of these
        stop = len(order)
        for place in (start, -1):
            longest = max(1, int(lengths[order[place if place == start else stop - 1]]))
            stop = min(stop, start + max(1, CELLS // longest))
        yield order[start:stop]
        start = stop


def _columns(split: PackedSplit, spans: Spans, store: Names) -> dict[str, Any]:
    """By feature its values [n]."""
    n, length = len(spans), max(1, int((spans.end - spans.begin).max(initial=1)))
    at = spans.end[:, None] - length + np.arange(length)
    there = at >= spans.begin[:, None]
    at = np.where(there, at, 0)
    steps = there.sum(axis=1)
    seen = np.maximum(steps, 1)

    def column(name: str) -> NDArray[Any]:
        return np.asarray(getattr(split, name)[at])

    action, item, category = column("action"), column("item"), column("category")
    time = column("time").astype(np.int64)
    price = np.where(there, column("price"), np.nan).astype(np.float64)
    of = {name: there & (action == code) for code, name in enumerate(store.actions)}
    of |= {name: np.zeros_like(there) for name in TYPES if name not in of}
    counts = {name: of[name].sum(axis=1) for name in TYPES}
    columns: dict[str, Any] = {"steps": steps, **{f"{name}s": counts[name] for name in TYPES}}
    columns["cart_share"] = counts["cart"] / seen
    for back in range(1, BACK + 1):
        for name in TYPES[:4]:
            own = of[name][:, -back] if back <= length else np.zeros(n, bool)
            columns[f"{name}_{back}_back"] = np.where(steps >= back, own, np.nan)
    columns |= _times(spans, there, steps, time, of["cart"])
    columns |= _items(there, steps, item, category, of)
    columns["open_carts"] = np.maximum(counts["cart"] - counts["remove"] - counts["purchase"], 0)
    columns |= _prices(price, of["cart"])
    hour = spans.now // HOUR % 24
    angle = hour * (2 * np.pi / 24)
    columns |= {"hour": hour, "hour_sine": np.sin(angle), "hour_cosine": np.cos(angle)}
    columns["weekday"] = (spans.now // DAY + FIRST_DAY) % WEEK
    return columns


def _times(
    spans: Spans, there: NDArray[np.bool_], steps: Array, time: NDArray[np.int64], carts: NDArray[np.bool_]
) -> dict[str, Any]:
    """Times between steps, and since the first one and the last cart, in seconds."""
    between = np.diff(time, axis=1) / SECOND
    between[~there[:, :-1]] = np.nan
    width = between.shape[1]
    first = time[np.arange(len(time)), np.argmax(there, axis=1)]
    length = there.shape[1]
    carted = carts.any(axis=1)
    back = np.argmax(carts[:, ::-1], axis=1)
    last_cart = time[np.arange(len(time)), length - 1 - back]
    nothing = np.full(len(time), np.nan)
    inside = np.nan_to_num(between)
    return {
        "since_start": np.where(steps > 0, (spans.now - first) / SECOND, np.nan),
        "last_gap": between[:, -1] if width else nothing,
        "gap_before": between[:, -2] if width > 1 else nothing,
        "mean_gap": np.where(steps > 1, inside.sum(axis=1) / np.maximum(steps - 1, 1), np.nan),
        "longest_gap": np.where(steps > 1, inside.max(axis=1, initial=0.0), np.nan),
        "since_cart": np.where(carted, (spans.now - last_cart) / SECOND, np.nan),
        "steps_since_cart": np.where(carted, back, np.nan),
    }


def _items(
    there: NDArray[np.bool_],
    steps: Array,
    item: NDArray[Any],
    category: NDArray[Any],
    of: dict[str, NDArray[np.bool_]],
) -> dict[str, Any]:
    """Distinct ones, and what was done with the last."""
    last = there & (item == item[:, -1:])
    seen, some = np.maximum(steps, 1), steps > 0
    items = _distinct(item, there)
    run = np.argmin(np.concatenate([last[:, ::-1], np.zeros((len(last), 1), bool)], axis=1), axis=1)
    return {
        "items": items,
        "categories": _distinct(category, there),
        "repeated": np.where(some, (steps - items) / seen, np.nan),
        "item_seen": last.sum(axis=1),
        "item_carted": np.where(some, (last & of["cart"]).any(axis=1), np.nan),
        "item_new": np.where(some, last.sum(axis=1) == 1, np.nan),
        "same_item_in_a_row": run,
        "category_share": np.where(some, (there & (category == category[:, -1:])).sum(axis=1) / seen, np.nan),
    }


def _distinct(values: NDArray[Any], there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many different ones each row has."""
    ordered = np.sort(np.where(there, values.astype(np.int64), -1), axis=1)
    # the first value after padding differs from it
    return np.asarray((ordered[:, 1:] != ordered[:, :-1]).sum(axis=1) + (ordered[:, 0] >= 0), np.int64)


def _prices(price: NDArray[np.float64], carts: NDArray[np.bool_]) -> dict[str, Any]:
    """Prices of the steps that have one."""
    known = ~np.isnan(price)
    number, plain = known.sum(axis=1), np.nan_to_num(price)
    some = number > 0
    mean = np.where(some, plain.sum(axis=1) / np.maximum(number, 1), np.nan)
    return {
        "price": price[:, -1],
        "mean_price": mean,
        "least_price": np.where(some, np.where(known, price, np.inf).min(axis=1), np.nan),
        "most_price": np.where(some, np.where(known, price, -np.inf).max(axis=1), np.nan),
        "price_ratio": price[:, -1] / np.where(mean > 0, mean, np.nan),
        "carted_price": np.where(carts, plain, 0.0).sum(axis=1),
    }
