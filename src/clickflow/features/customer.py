"""Features of a customer as of a time of asking: when, how often, how much, how regularly, at what price.

A *purchase* here is an occasion: all steps of type `purchase` of one customer at one instant (the lines of an invoice).
Its amount is the sum of price times quantity; a missing price counts as 0, a missing quantity as 1. Nothing is read but
the steps of the question at times up to `now`.
"""

import numpy as np

from clickflow.features.feature import Feature, Names, Spans
from clickflow.sequences.features import Array, amounts
from clickflow.sequences.store import PackedSplit
from clickflow.system.moments import DAY

WINDOWS = (7, 14, 30, 60, 90, 180, 365)
"""Days before the time of asking."""
MONEY_WINDOWS = (30, 90, 180, 365)
DECAYS = (30, 90, 365)
"""Days in which a purchase comes to count 1/e of what it did."""
DUE = (30, 90)
"""Days ahead of the time of asking."""
BLOCKS, BLOCK = 12, 30
"""The last twelve times thirty days."""
CHUNK = 1 << 21
"""Steps read at a time."""

TABLE: tuple[Feature, ...] = (
    Feature("tenure_days", "days", "since the first purchase"),
    Feature("recency_days", "days", "since the last purchase"),
    Feature("purchases", "count", "purchases"),
    Feature("repeat_days", "count", "days with a purchase after the day of the first"),
    Feature("active_span_days", "days", "from the first purchase to the last"),
    Feature("first_day_tenure", "days", "whole days from the day of the first purchase to the day of asking"),
    Feature("last_day_span", "days", "whole days from the day of the first purchase to the day of the last"),
    Feature("gap_mean_days", "days", "mean time between purchases"),
    Feature("gap_median_days", "days", "median time between purchases"),
    Feature("gap_longest_days", "days", "longest time between purchases"),
    Feature("gap_last_days", "days", "time between the last two purchases"),
    Feature("gap_variation", "ratio", "standard deviation of the gaps over their mean"),
    Feature("overdue", "ratio", "time since the last purchase over the mean gap"),
    Feature("overdue_share", "share", "of the own gaps, how many are shorter than the time since the last purchase"),
    Feature("gap_last_ratio", "log ratio", "the last gap over the mean gap"),
    *(
        Feature(f"due_{days}d", "share", f"of the own gaps longer than this silence, how many ended within {days} days")
        for days in DUE
    ),
    Feature("purchase_rate", "log per day", "purchases over the days since the first, two weeks added"),
    Feature("active_blocks", "share", "thirty-day blocks with a purchase, of those since the first", "last 360 days"),
    *(
        Feature(f"purchases_decayed_{days}d", "count", f"purchases, each weighted by exp(-age / {days} days)")
        for days in DECAYS
    ),
    *(Feature(f"purchases_{days}d", "count", "purchases", f"last {days} days") for days in WINDOWS),
    Feature("purchases_90d_trend", "log ratio", "purchases of the last 90 days over those of the 90 before"),
    Feature("season_30d", "count", "purchases in the 30 days that began a year ago", "365 to 335 days ago"),
    Feature("season_90d", "count", "purchases in the 90 days that began a year ago", "365 to 275 days ago"),
    Feature("amount", "money", "value of all purchases"),
    Feature("amount_mean", "money", "mean value of a purchase"),
    Feature("amount_largest", "money", "largest value of a purchase"),
    Feature("amount_last", "money", "value of the last purchase"),
    Feature("amount_variation", "ratio", "standard deviation of the values over their mean"),
    Feature("amount_day_mean", "money", "mean value of a day with a purchase"),
    Feature("amount_decayed_90d", "money", "value of purchases, each weighted by exp(-age / 90 days)"),
    *(Feature(f"amount_{days}d", "money", "value of purchases", f"last {days} days") for days in MONEY_WINDOWS),
    Feature("lines_mean", "count", "lines of a purchase"),
    Feature("units_mean", "count", "units of a purchase"),
    Feature("price_mean", "money", "mean price of what was bought, by line"),
    Feature("items", "count", "different items bought"),
    Feature("rebought_share", "share", "lines on an item that was bought before"),
    Feature("category_entropy", "nats", "spread of purchases over categories"),
    Feature("returns", "count", "steps of type cancel"),
    Feature("returned_share", "share", "value of what was cancelled over the value of all purchases"),
    Feature("weekend_share", "share", "purchases on Saturday or Sunday"),
    Feature("events_since", "count", "other steps (views, carts …) since the last purchase"),
    Feature("carts_since", "count", "carts since the last purchase"),
    Feature("silence_days", "days", "since the last step of any kind"),
    Feature("views_30d", "count", "views", "last 30 days"),
    Feature("carts_30d", "count", "carts", "last 30 days"),
)
"""In the order of the columns of `compute`."""


def compute(split: PackedSplit, spans: Spans, store: Names) -> Array:
    """float32 [N, len(TABLE)]; NaN where a value does not exist, as every gap of a customer with one purchase."""
    out = np.full((len(spans), len(TABLE)), np.nan, np.float32)
    lengths = np.cumsum(spans.end - spans.begin)
    first = 0
    while first < len(spans):
        done = lengths[first - 1] if first else 0
        last = max(int(np.searchsorted(lengths, done + CHUNK, side="right")), first + 1)
        columns = _columns(split, spans.part(first, last), store)
        for index, feature in enumerate(TABLE):
            out[first:last, index] = columns[feature.name]
        first = last
    return out


def _columns(split: PackedSplit, spans: Spans, store: Names) -> dict[str, Array]:
    n = len(spans)
    row, step = expanded(spans.begin, spans.end)
    kept = split.time[step] <= spans.now[row]
    row, step = row[kept], step[kept]
    time, action = np.asarray(split.time[step]), np.asarray(split.action[step])
    bought = action == _code(store, "purchase")
    ages = (spans.now[row] - time) / DAY
    lines = _Lines(split, row[bought], step[bought], time[bought], ages[bought], n)
    return {
        **_occasions(lines, spans.now, n),
        **_baskets(split, lines, n),
        **_others(split, store, row, step, action, ages, lines, n),
    }


def expanded(begin: Array, end: Array) -> tuple[Array, Array]:
    """The rows and the flat steps of N questions, both [sum of lengths]."""
    lengths = np.maximum(end - begin, 0)
    row = np.repeat(np.arange(len(begin)), lengths)
    starts = np.cumsum(lengths) - lengths
    return row, np.arange(len(row)) - starts[row] + begin[row]


class _Lines:
    """The purchase steps of N questions, and the occasions that they make."""

    def __init__(self, split: PackedSplit, row: Array, step: Array, time: Array, ages: Array, n: int) -> None:
        self.row, self.step, self.ages = row, step, ages
        self.value, self.units = amounts(split, step)
        new = np.ones(len(row), bool)
        new[1:] = (row[1:] != row[:-1]) | (time[1:] != time[:-1])
        self.occasion = np.cumsum(new) - 1
        self.o_row, self.o_time, self.o_age = row[new], time[new], ages[new]
        self.o_value = np.bincount(self.occasion, self.value, minlength=int(new.sum()))
        self.count = np.bincount(self.o_row, minlength=n).astype(np.float64)


def _occasions(lines: _Lines, now: Array, n: int) -> dict[str, Array]:
    row, age, value, count = lines.o_row, lines.o_age, lines.o_value, lines.count
    some = np.where(count > 0, count, np.nan)

    def total(weights: Array) -> Array:
        return np.bincount(row, weights, minlength=n)

    first, last = _ends(row, n)
    tenure, recency = _at(age, first), _at(age, last)
    day = lines.o_time // DAY
    new_day = np.ones(len(row), bool)
    new_day[1:] = (row[1:] != row[:-1]) | (day[1:] != day[:-1])
    days = np.bincount(row[new_day], minlength=n).astype(np.float64)
    first_day = _at(day.astype(np.float64), first)
    columns = {
        "tenure_days": tenure,
        "recency_days": recency,
        "purchases": count,
        "repeat_days": np.where(count > 0, days - 1, np.nan),
        "active_span_days": tenure - recency,
        "first_day_tenure": now // DAY - first_day,
        "last_day_span": _at(day.astype(np.float64), last) - first_day,
    }
    columns |= _gaps(row, age, recency, n)
    for window in WINDOWS:
        columns[f"purchases_{window}d"] = total(age < window)
    for decay in DECAYS:
        columns[f"purchases_decayed_{decay}d"] = total(np.exp(-age / decay))
    columns["amount_decayed_90d"] = total(value * np.exp(-age / 90))
    columns["purchase_rate"] = np.log(some / (tenure + 14))
    block = (age // BLOCK).astype(np.int64)
    recent = block < BLOCKS
    active = np.bincount(_pairs(row[recent], block[recent])[0], minlength=n)
    columns["active_blocks"] = active / np.minimum(tenure // BLOCK + 1, BLOCKS)
    before = total((age >= 90) & (age < 180))
    columns["purchases_90d_trend"] = np.log((columns["purchases_90d"] + 0.5) / (before + 0.5))
    for season in (30, 90):
        there = tenure >= 365
        columns[f"season_{season}d"] = np.where(there, total((age <= 365) & (age > 365 - season)), np.nan)
    mean = total(value) / some
    spread = np.sqrt(np.maximum(total(value * value) / some - mean * mean, 0))
    largest = np.full(n, np.nan)
    largest[row] = -np.inf
    np.maximum.at(largest, row, value)
    columns |= {
        "amount": total(value),
        "amount_mean": mean,
        "amount_largest": largest,
        "amount_last": _at(value, last),
        "amount_variation": np.divide(spread, mean, out=np.full(n, np.nan), where=(count > 1) & (mean > 0)),
        "amount_day_mean": np.divide(total(value), days, out=np.full(n, np.nan), where=days > 0),
        "weekend_share": total((day + 3) % 7 >= 5) / some,
    }
    for window in MONEY_WINDOWS:
        columns[f"amount_{window}d"] = total(value * (age < window))
    return columns


def _gaps(row: Array, age: Array, recency: Array, n: int) -> dict[str, Array]:
    within = row[1:] == row[:-1]
    owner, gap = row[1:][within], (age[:-1] - age[1:])[within]
    count = np.bincount(owner, minlength=n).astype(np.float64)
    some = np.where(count > 0, count, np.nan)
    mean = np.bincount(owner, gap, minlength=n) / some
    spread = np.sqrt(np.maximum(np.bincount(owner, gap * gap, minlength=n) / some - mean * mean, 0))
    order = np.lexsort((gap, owner))
    ranked = gap[order]
    first, last = _ends(owner, n)
    low, high = first + (count.astype(np.int64) - 1) // 2, first + count.astype(np.int64) // 2
    none = count == 0
    low, high = np.where(none, -1, low), np.where(none, -1, high)
    positive = np.where(mean > 0, mean, np.nan)
    silence = recency[owner]
    longer = np.bincount(owner, gap > silence, minlength=n)
    due = {
        f"due_{days}d": _share(np.bincount(owner, (gap > silence) & (gap <= silence + days), minlength=n), longer)
        for days in DUE
    }
    return due | {
        "gap_mean_days": mean,
        "gap_median_days": (_at(ranked, low) + _at(ranked, high)) / 2,
        "gap_longest_days": _at(ranked, last),
        "gap_last_days": _at(gap, last),
        "gap_last_ratio": np.log((_at(gap, last) + 1) / (mean + 1)),
        "gap_variation": np.where(count > 1, spread / positive, np.nan),
        "overdue": recency / positive,
        "overdue_share": np.bincount(owner, gap < recency[owner], minlength=n) / some,
    }


def _baskets(split: PackedSplit, lines: _Lines, n: int) -> dict[str, Array]:
    row, count = lines.row, np.where(lines.count > 0, lines.count, np.nan)
    priced = np.asarray(split.price[lines.step], np.float64)
    there = ~np.isnan(priced)
    of_lines = np.bincount(row, minlength=n)
    item = np.asarray(split.item[lines.step], np.int64)
    named = item > 0
    items = np.bincount(_pairs(row[named], item[named])[0], minlength=n).astype(np.float64)
    known = np.bincount(row[named], minlength=n)
    category = np.asarray(split.category[lines.step], np.int64)
    return {
        "lines_mean": of_lines / count,
        "units_mean": np.bincount(row, lines.units, minlength=n) / count,
        "price_mean": _share(np.bincount(row[there], priced[there], minlength=n), np.bincount(row[there], minlength=n)),
        "items": np.where(known > 0, items, np.nan),
        "rebought_share": 1 - _share(items, known),
        "category_entropy": _entropy(row[category > 0], category[category > 0], n),
    }


def _others(
    split: PackedSplit, store: Names, row: Array, step: Array, action: Array, ages: Array, lines: _Lines, n: int
) -> dict[str, Array]:
    _, last = _ends(lines.o_row, n)
    recency = _at(lines.o_age, last)
    cancelled = action == _code(store, "cancel")
    value, _ = amounts(split, step[cancelled])
    bought = np.bincount(lines.row, lines.value, minlength=n)
    cart, view = action == _code(store, "cart"), action == _code(store, "view")
    after = ~(ages >= recency[row])  # true also where nothing was bought
    _, newest = _ends(row, n)

    def total(which: Array) -> Array:
        return np.bincount(row[which], minlength=n).astype(np.float64)

    return {
        "returns": total(cancelled),
        "returned_share": _share(np.bincount(row[cancelled], np.abs(value), minlength=n), bought),
        "events_since": total(after & (action != _code(store, "purchase"))),
        "carts_since": total(after & cart),
        "silence_days": _at(ages, newest),
        "views_30d": total(view & (ages < 30)),
        "carts_30d": total(cart & (ages < 30)),
    }


def _code(store: Names, action: str) -> int:
    """The code of an action; one that the store does not have is none that a step has."""
    return store.actions.index(action) if action in store.actions else -1


def _ends(row: Array, n: int) -> tuple[Array, Array]:
    """Where each row's run of entries begins and ends (its last entry) in sorted `row`; -1 where it has none."""
    rows = np.arange(n)
    first, past = np.searchsorted(row, rows), np.searchsorted(row, rows, side="right")
    none = past == first
    return np.where(none, -1, first), np.where(none, -1, past - 1)


def _at(values: Array, index: Array) -> Array:
    """`values[index]`, NaN where the index is -1."""
    out = np.full(len(index), np.nan)
    out[index >= 0] = values[index[index >= 0]]
    return out


def _share(part: Array, whole: Array) -> Array:
    share: Array = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share


def _entropy(row: Array, value: Array, n: int) -> Array:
    """Of each row's values, in nats; NaN where it has none."""
    owner, counts = _pairs(row, value)
    whole = np.bincount(owner, counts, minlength=n)
    share = counts / np.maximum(whole[owner], 1)
    entropy = np.bincount(owner, -share * np.log(share), minlength=n)
    values: Array = np.where(whole > 0, entropy, np.nan)
    return values


def _pairs(row: Array, value: Array) -> tuple[Array, Array]:
    """The different pairs of row and value: the row of each, sorted, and how often it occurs."""
    width = int(value.max(initial=0)) + 1
    pairs, counts = np.unique(row * width + value, return_counts=True)
    return pairs // width, counts
