"""Features of a visit so far, for the unit `session`: counts, times, items, prices, the last steps.

Read off a table [N, L] of the steps of each question, the newest last, block by block.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.features.feature import NOW, Feature, Names, Spans
from clickflow.sequences.features import Array
from clickflow.sequences.store import PackedSplit
from clickflow.system.moments import DAY, HOUR, SECOND

TYPES = ("view", "cart", "favourite", "remove", "purchase", "impression", "click")
"""Event types that are counted one by one."""
BACK = 3
"""Last steps whose types are told apart."""
NEAR = TYPES[:4]
"""Of these."""
CELLS = 1 << 21
"""Steps that are looked at together."""
WEEK = 7
FIRST_DAY = 3
"""1970-01-01 was a Thursday; Monday is 0."""
COUNTS = tuple(f"{name}s" for name in TYPES)
BACKS = tuple(f"{name}_{back}_back" for back in range(1, BACK + 1) for name in NEAR)

VISIT = "visit"
TABLE: tuple[Feature, ...] = (
    Feature("steps", "count", "steps so far", VISIT),
    *(Feature(f"{name}s", "count", f"steps of type {name}", VISIT) for name in TYPES),
    Feature("cart_share", "share", "steps of type cart among all", VISIT),
    *(
        Feature(f"{name}_{back}_back", "0 or 1", f"step {back} from the end is of type {name}", f"last {BACK} steps")
        for back in range(1, BACK + 1)
        for name in NEAR
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
    Feature("hour", "hour", "hour of the day, UTC", NOW),
    Feature("hour_sine", "-1 to 1", "sine of the hour on a circle of a day", NOW),
    Feature("hour_cosine", "-1 to 1", "cosine of the hour on a circle of a day", NOW),
    Feature("weekday", "day", "day of the week, Monday is 0, UTC", NOW),
)
"""The features, in the order of the columns."""


def compute(split: PackedSplit, spans: Spans, store: Names) -> Array:
    """float32 [N, features] of N questions; NaN where a value does not exist. Times are in microseconds."""
    if len(spans) == 1:
        return _block(split, spans, store)
    table = np.empty((len(spans), len(TABLE)), np.float32)
    for rows in _blocks(spans.end - spans.begin):
        table[rows] = _block(split, Spans(spans.begin[rows], spans.end[rows], spans.now[rows]), store)
    return table


def _block(split: PackedSplit, spans: Spans, store: Names) -> Array:
    """Likewise, of questions that are looked at together."""
    columns = _columns(split, spans, store)
    table = np.empty((len(TABLE), len(spans)), np.float32)
    for place, feature in enumerate(TABLE):
        table[place] = columns[feature.name]
    return table.T


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
    """By feature its values [n]. Of one question, as a server has it, the calls of numpy take the time."""
    lengths = spans.end - spans.begin
    length = max(1, int(lengths.max(initial=1)))
    at = spans.end[:, None] + np.arange(-length, 0)
    there = at >= spans.begin[:, None]
    steps = np.maximum(lengths, 0)
    if not there.all():
        at[~there] = 0

    def column(name: str) -> NDArray[Any]:
        return np.asarray(getattr(split, name)[at])

    action, item, category = column("action"), column("item"), column("category")
    time = column("time").astype(np.int64)
    price = np.where(there, column("price"), np.nan).astype(np.float64)
    codes = np.array([store.actions.index(name) if name in store.actions else -1 for name in TYPES])
    of = (action == codes[:, None, None]) & there  # [types, n, length]
    counts = of.sum(axis=2)
    columns: dict[str, Any] = {"steps": steps, **dict(zip(COUNTS, counts, strict=True))}
    carts = of[TYPES.index("cart")]
    columns["cart_share"] = columns["carts"] / np.maximum(steps, 1)
    backs = np.full((BACK, len(NEAR), len(spans)), np.nan)
    for back in range(1, min(BACK, length) + 1):
        np.copyto(backs[back - 1], of[: len(NEAR), :, -back], where=steps >= back)
    columns |= zip(BACKS, backs.reshape(len(BACKS), -1), strict=True)
    columns |= _times(spans, there, steps, time, carts)
    columns |= _items(there, steps, item, category, carts)
    columns["open_carts"] = np.maximum(columns["carts"] - columns["removes"] - columns["purchases"], 0)
    columns |= _prices(price, carts)
    hour = spans.now // HOUR % 24
    angle = hour * (2 * np.pi / 24)
    columns |= {"hour": hour, "hour_sine": np.sin(angle), "hour_cosine": np.cos(angle)}
    columns["weekday"] = (spans.now // DAY + FIRST_DAY) % WEEK
    return columns


def _times(
    spans: Spans, there: NDArray[np.bool_], steps: Array, time: NDArray[np.int64], carts: NDArray[np.bool_]
) -> dict[str, Any]:
    """Times between steps, and since the first one and the last cart, in seconds."""
    row, length = np.arange(len(time)), there.shape[1]
    between = (time[:, 1:] - time[:, :-1]) / SECOND
    between[~there[:, :-1]] = 0.0
    nothing = np.full(len(time), np.nan)
    first = time[row, np.minimum(length - steps, length - 1)]
    back = carts[:, ::-1].argmax(axis=1)
    last_cart = time[row, length - 1 - back]
    carted, several = carts[row, length - 1 - back], steps > 1
    return {
        "since_start": np.where(steps > 0, (spans.now - first) / SECOND, np.nan),
        "last_gap": np.where(several, between[:, -1], np.nan) if length > 1 else nothing,
        "gap_before": np.where(steps > 2, between[:, -2], np.nan) if length > 2 else nothing,
        "mean_gap": np.where(several, between.sum(axis=1) / np.maximum(steps - 1, 1), np.nan),
        "longest_gap": np.where(several, between.max(axis=1, initial=0.0), np.nan),
        "since_cart": np.where(carted, (spans.now - last_cart) / SECOND, np.nan),
        "steps_since_cart": np.where(carted, back, np.nan),
    }


def _items(
    there: NDArray[np.bool_], steps: Array, item: NDArray[Any], category: NDArray[Any], carts: NDArray[np.bool_]
) -> dict[str, Any]:
    """Distinct ones, and what was done with the last."""
    both = np.stack([item, category]).astype(np.int64)
    # of items and of categories, the steps that are on the last one
    last, alike = (both == both[:, :, -1:]) & there
    seen, some = np.maximum(steps, 1), steps > 0
    items, categories = _distinct(both, there)
    on_last = last.sum(axis=1)
    run = np.concatenate([last[:, ::-1], np.zeros((len(last), 1), bool)], axis=1).argmin(axis=1)
    return {
        "items": items,
        "categories": categories,
        "repeated": np.where(some, (steps - items) / seen, np.nan),
        "item_seen": on_last,
        "item_carted": np.where(some, (last & carts).any(axis=1), np.nan),
        "item_new": np.where(some, on_last == 1, np.nan),
        "same_item_in_a_row": run,
        "category_share": np.where(some, alike.sum(axis=1) / seen, np.nan),
    }


def _distinct(values: NDArray[np.int64], there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many different ones each row has, of values [..., n, length] and which of them are there."""
    ordered = np.where(there, values, -1)
    ordered.sort(axis=-1)
    # the first value after padding differs from it
    different = (ordered[..., 1:] != ordered[..., :-1]).sum(axis=-1) + (ordered[..., 0] >= 0)
    return np.asarray(different, np.int64)


def _prices(price: NDArray[np.float64], carts: NDArray[np.bool_]) -> dict[str, Any]:
    """Prices of the steps that have one."""
    known = ~np.isnan(price)
    number, plain = known.sum(axis=1), np.where(known, price, 0.0)
    mean = np.where(number > 0, plain.sum(axis=1) / np.maximum(number, 1), np.nan)
    last = price[:, -1]
    return {
        "price": last,
        "mean_price": mean,
        "least_price": np.fmin.reduce(price, axis=1),
        "most_price": np.fmax.reduce(price, axis=1),
        "price_ratio": last / np.where(mean > 0, mean, np.nan),
        "carted_price": np.where(carts, plain, 0.0).sum(axis=1),
    }
