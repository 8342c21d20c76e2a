"""Features of customers: what they say of a history, and that nothing after the time of asking is read."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clickflow import features
from clickflow.features import Spans
from clickflow.sequences.features import Array
from clickflow.sequences.store import PackedSplit
from clickflow.system.errors import UsageError
from clickflow.system.moments import DAY

STORE = SimpleNamespace(actions=("view", "cart", "purchase", "cancel"))
VIEW, CART, PURCHASE, CANCEL = range(4)
NAMES = features.names("customer")


def split(steps: Sequence[tuple[float, int, int, float]], lengths: list[int]) -> PackedSplit:
    """Steps (day, action, item, price) of customers one after the other."""
    day, action, item, price = (np.array(column) for column in zip(*steps, strict=True))
    return PackedSplit(
        offsets=np.cumsum([0, *lengths]),
        time=(day * DAY).astype(np.int64),
        action=action.astype(np.uint8),
        item=item.astype(np.int32),
        category=item.astype(np.int32) // 2,
        price=price.astype(np.float32),
    )


def of(store: PackedSplit, begin: int, end: int, day: float) -> dict[str, float]:
    spans = Spans(np.array([begin]), np.array([end]), np.array([int(day * DAY)]))
    return dict(zip(NAMES, features.compute("customer", store, spans, STORE)[0].tolist(), strict=True))


HISTORY = [
    (10, VIEW, 2, 5.0),
    (10, PURCHASE, 2, 5.0),
    (10, PURCHASE, 4, 7.0),  # the same instant: one purchase of two lines
    (20, PURCHASE, 2, 6.0),
    (40, PURCHASE, 6, 12.0),
    (41, CANCEL, 6, 12.0),
    (45, CART, 8, 3.0),
]


def test_what_they_say_of_a_history() -> None:
    values = of(split(HISTORY, [7]), 0, 7, 50)
    expected: dict[str, float] = {
        "tenure_days": 40, "recency_days": 10, "purchases": 3, "repeat_days": 2, "active_span_days": 30,
        "gap_mean_days": 15, "gap_median_days": 15, "gap_longest_days": 20, "gap_last_days": 20,
        "overdue": 10 / 15, "overdue_share": 0, "purchases_7d": 0, "purchases_14d": 1, "purchases_30d": 1,
        "purchases_60d": 3, "amount": 30, "amount_mean": 10, "amount_largest": 12, "amount_last": 12,
        "amount_30d": 12, "lines_mean": 4 / 3, "price_mean": 7.5, "items": 3, "rebought_share": 0.25,
        "returns": 1, "returned_share": 12 / 30, "events_since": 2, "carts_since": 1, "silence_days": 5,
        "views_30d": 0, "carts_30d": 1, "first_day_tenure": 40, "last_day_span": 30, "amount_day_mean": 10,
    }  # fmt: skip
    for name, value in expected.items():
        assert values[name] == pytest.approx(value), name
    assert np.isnan(values["season_30d"])  # there was no year ago


def test_what_does_not_exist_is_missing_and_not_zero() -> None:
    one = of(split(HISTORY, [7]), 0, 3, 50)
    assert one["purchases"] == 1 and np.isnan([one["gap_mean_days"], one["overdue"], one["gap_variation"]]).all()
    nobody = of(split(HISTORY, [7]), 0, 1, 50)
    assert nobody["purchases"] == 0 and nobody["amount"] == 0
    assert np.isnan([nobody["recency_days"], nobody["tenure_days"], nobody["amount_mean"]]).all()
    assert of(split(HISTORY, [7]), 3, 3, 50)["purchases"] == 0


def log(seed: int, customers: int = 30) -> tuple[PackedSplit, Spans]:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 20, customers)
    days = np.concatenate([np.sort(random.integers(0, 400, length)) for length in lengths])
    steps = list(
        zip(days, random.choice([0, 1, 2, 2, 3], len(days)), random.integers(1, 9, len(days)),
            random.lognormal(1, 1, len(days)), strict=True)
    )  # fmt: skip
    store = split([(float(d), int(a), int(i), float(p)) for d, a, i, p in steps], lengths.tolist())
    end = store.offsets[1:]
    return store, Spans(store.offsets[:-1], end, store.time[end - 1] + DAY)


def test_nothing_after_the_time_of_asking_is_read() -> None:
    store, spans = log(1)
    now = spans.now - 60 * DAY
    before = features.compute("customer", store, Spans(spans.begin, spans.end, now), STORE)
    customer = np.repeat(np.arange(len(now)), np.diff(store.offsets))
    later = store.time > now[customer]
    assert later.any()
    changed = store.with_columns(
        price=np.where(later, 1e6, store.price).astype(np.float32),
        action=np.where(later, PURCHASE, store.action).astype(np.uint8),
        time=np.where(later, store.time + 1000 * DAY, store.time),
    )
    again = features.compute("customer", changed, Spans(spans.begin, spans.end, now), STORE)
    np.testing.assert_array_equal(again, before)
    ends = spans.begin + np.bincount(customer[~later], minlength=len(now))
    np.testing.assert_array_equal(features.compute("customer", store, Spans(spans.begin, ends, now), STORE), before)


def test_a_customer_does_not_depend_on_others_nor_on_the_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    store, spans = log(2)
    together = features.compute("customer", store, spans, STORE)
    apart = [features.compute("customer", store, spans.part(i, i + 1), STORE)[0] for i in range(len(spans))]
    np.testing.assert_allclose(together, np.stack(apart), rtol=1e-5)
    from clickflow.features import customer

    monkeypatch.setattr(customer, "CHUNK", 25)
    np.testing.assert_allclose(features.compute("customer", store, spans, STORE), together, rtol=1e-5)


def test_a_later_question_sees_more_days_and_no_other_history() -> None:
    store, spans = log(3)
    tables: dict[str, Array] = {}
    for days in (0, 10):
        later: Any = Spans(spans.begin, spans.end, spans.now + days * DAY)
        tables[str(days)] = features.compute("customer", store, later, STORE)
    first, second = (dict(zip(NAMES, tables[days].T, strict=True)) for days in ("0", "10"))
    np.testing.assert_allclose(second["recency_days"], first["recency_days"] + 10, rtol=1e-5)
    np.testing.assert_allclose(second["amount"], first["amount"])
    assert (second["purchases_30d"] <= first["purchases_30d"]).all()


def test_chosen_features_stand_in_their_order_and_an_unknown_one_is_named() -> None:
    store, spans = log(4)
    everything = features.compute("customer", store, spans, STORE)
    chosen = features.compute("customer", store, spans, STORE, ["amount", "purchases"])
    np.testing.assert_array_equal(chosen, everything[:, [NAMES.index("amount"), NAMES.index("purchases")]])
    with pytest.raises(UsageError, match="did you mean 'purchases'"):
        features.compute("customer", store, spans, STORE, ["purchase"])
    with pytest.raises(UsageError, match="no hand-made features"):
        features.names("series")
