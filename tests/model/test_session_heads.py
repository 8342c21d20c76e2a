"""The heads exit and purchase, and the features of a visit so far: against plain loops, and blind to what is later."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from clickflow import features
from clickflow.events.contract import EVENT_TYPES
from clickflow.features import Spans
from clickflow.heads import exit as leaving
from clickflow.heads import propensity, purchase, spend
from clickflow.heads.head import NOTHING
from clickflow.params.file import check
from clickflow.sequences.store import PackedSplit
from clickflow.system.errors import UsageError

CODE = {name: code for code, name in enumerate(EVENT_TYPES)}


class Store:
    known, categories, actions = 10, 5, EVENT_TYPES


def split(visits: list[list[str]], seed: int = 0) -> PackedSplit:
    draw = np.random.default_rng(seed)
    actions = np.array([CODE[name] for visit in visits for name in visit], np.uint8)
    offsets = np.concatenate([[0], np.cumsum([len(visit) for visit in visits])]).astype(np.int64)
    n = len(actions)
    price = draw.uniform(1, 9, n).astype(np.float32)
    price[draw.random(n) < 0.3] = np.nan
    return PackedSplit(
        offsets=offsets,
        action=actions,
        item=draw.integers(2, 6, n).astype(np.int32),
        category=draw.integers(0, 3, n).astype(np.int32),
        price=price,
        time=np.cumsum(draw.integers(1, 90, n)).astype(np.int64) * 1_000_000,
    )


VISITS = st.lists(st.lists(st.sampled_from(["view", "cart", "purchase", "remove"]), min_size=1, max_size=7), min_size=1)


def event_and_end(visits: list[list[str]], part: PackedSplit) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(part.n_events), np.repeat(part.offsets[1:], [len(visit) for visit in visits])


@given(VISITS)
@settings(max_examples=60, deadline=None)
def test_targets_are_those_of_a_plain_loop(visits: list[list[str]]) -> None:
    part = split(visits)
    event, end = event_and_end(visits, part)
    exits, buys, leads = [], [], []
    for visit in visits:
        for place in range(len(visit)):
            exits.append(int(place + 1 == len(visit)))
            later = visit[place + 1 :]
            buys.append(NOTHING if "purchase" in visit[: place + 1] else int("purchase" in later))
            leads.append(later.index("purchase") + 1 if "purchase" in later else NOTHING)
    assert leaving.HEAD.targets(part, event, end, Store()).tolist() == exits
    targets = purchase.HEAD.targets(part, event, end, Store())
    assert targets.tolist() == buys
    assert purchase.lead(part, event, end, Store()).tolist() == leads
    # asked in any shape, as batches do
    both = np.stack([event, event])
    assert (purchase.HEAD.targets(part, both, np.stack([end, end]), Store()) == targets).all()


def test_what_was_bought_is_not_asked_again() -> None:
    """So no input that is read holds the purchase that is asked for."""
    part = split([["view", "purchase", "view", "purchase"]])
    event, end = event_and_end([[""] * 4], part)
    assert purchase.HEAD.targets(part, event, end, Store()).tolist() == [1, NOTHING, NOTHING, NOTHING]


@given(VISITS, st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_features_of_a_prefix_do_not_see_what_is_later(visits: list[list[str]], seed: int) -> None:
    part = split(visits, seed)
    event, _ = event_and_end(visits, part)
    begin = np.repeat(part.offsets[:-1], [len(visit) for visit in visits])
    question = Spans(begin, event + 1, part.time)
    names = features.names("session")
    values = features.compute("session", part, question, Store())
    assert values.dtype == np.float32
    assert values.shape == (part.n_events, len(names))
    column = {name: values[:, place] for place, name in enumerate(names)}
    for k in range(part.n_events):
        a, b = begin[k], event[k] + 1
        assert column["steps"][k] == b - a
        assert column["carts"][k] == (part.action[a:b] == CODE["cart"]).sum()
        assert column["items"][k] == len(set(part.item[a:b].tolist()))
        assert column["categories"][k] == len(set(part.category[a:b].tolist()))
        assert column["item_seen"][k] == (part.item[a:b] == part.item[b - 1]).sum()
        assert column["since_start"][k] == pytest.approx((part.time[b - 1] - part.time[a]) / 1e6)
        prices = part.price[a:b][~np.isnan(part.price[a:b])]
        expected = prices.mean() if len(prices) else np.nan
        assert column["mean_price"][k] == pytest.approx(expected, nan_ok=True, rel=1e-5)
    # each visit cut after its first step: the same numbers
    first = part.offsets[:-1]
    cut = PackedSplit(
        offsets=np.arange(len(first) + 1), **{name: np.asarray(each)[first] for name, each in part.columns.items()}
    )
    place = np.arange(len(first))
    alone = features.compute("session", cut, Spans(place, place + 1, cut.time), Store())
    np.testing.assert_array_equal(alone, values[first])


def test_long_and_short_prefixes_of_one_call_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = [["view"] * length for length in (40, 1, 7, 23, 2)]
    part = split(visits)
    event, _ = event_and_end(visits, part)
    begin = np.repeat(part.offsets[:-1], np.diff(part.offsets))
    question = Spans(begin, event + 1, part.time)
    whole = features.compute("session", part, question, Store())
    monkeypatch.setattr("clickflow.features.prefix.CELLS", 50)
    np.testing.assert_array_equal(features.compute("session", part, question, Store()), whole)
    assert sum(b - a for a, b in pairwise(part.offsets)) == len(whole)


def test_a_store_that_leaves_out_purchases_is_an_error_before_anything_runs(root: Path) -> None:
    raw: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw["models"]["next_step"]["heads"] = {"purchase": {}}
    check(raw)
    raw["sequences"]["session"]["event_types"] = ["view", "cart"]
    with pytest.raises(UsageError, match=r"heads\.purchase: asks about purchase"):
        check(raw)


@given(st.lists(st.tuples(st.sampled_from(["view", "purchase"]), st.integers(2, 6)), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_what_is_bought_later_is_each_item_once(steps: list[tuple[str, int]]) -> None:
    part = split([[name for name, _ in steps]]).with_columns(item=np.array([item for _, item in steps], np.int32))
    event, end = event_and_end([[name for name, _ in steps]], part)
    answers = propensity.bought(part, event, end, Store())
    assert answers.shape == (len(steps), propensity.MOST)
    for k in event:
        later = list(dict.fromkeys(item for name, item in steps[k + 1 :] if name == "purchase"))
        assert answers[k].tolist() == later + [NOTHING] * (propensity.MOST - len(later))
    assert (propensity.targets(part, event, end, Store()) == answers[:, 0]).all()
    both = propensity.bought(part, np.stack([event, event]), np.stack([end, end]), Store())
    assert (both == answers).all()


def test_spend_is_the_value_of_what_is_bought_later() -> None:
    part = split([["view", "purchase", "view", "purchase", "purchase"]]).with_columns(
        price=np.array([9.0, 2.0, 9.0, np.nan, 4.0], np.float32), quantity=np.array([1, 3, 1, 1, 2], np.int32)
    )
    event, end = event_and_end([[""] * 5], part)
    assert spend.targets(part, event, end, Store()).tolist() == [14, 8, 8, 8, 0]
    without = split([["purchase", "purchase"]]).with_columns(price=np.array([1.5, 2.5], np.float32))
    assert spend.targets(without, np.array([0, 1]), np.array([2, 2]), Store()).tolist() == [2.5, 0]
