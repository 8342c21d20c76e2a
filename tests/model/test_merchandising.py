"""What merchants say of a list, pins and boosts: held, with every other rule, against the plainest reading of them."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import online_shop
import pyarrow as pa
import pytest
from http_app import VISIT, client
from hypothesis import given, settings
from hypothesis import strategies as st

from clickflow.online import likeness, ranking
from clickflow.online import served as ranked
from clickflow.online.cut import Ranked
from clickflow.online.engine import Engine
from clickflow.online.history import Question, Step
from clickflow.online.merchandising import Boost, Pin, placed
from clickflow.online.ranking import POOL, Rules, recommend
from clickflow.online.served import Served
from clickflow.sequences.indexes import FIRST_ITEM

BRANDS = ("x", "y", None)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Served]]:
    """A shop whose items have categories, prices and brands, and whose best items are looked for first."""
    folder = tmp_path_factory.mktemp("merchants")
    served = online_shop.with_categories(online_shop.exported(folder))
    count = len(served.items) - FIRST_ITEM
    brand = pa.array([BRANDS[place % 3] for place in range(count)], pa.string())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "RARE", 0)
        patch.setattr(ranking, "SPARE", 2)
        patch.setattr(ranked, "FEW", 6)  # of more, items are looked for among the best of all
        texts = {"name": pa.nulls(count, pa.string()), "brand": brand}
        yield folder, replace(served, items=replace(served.items, _texts=texts))


def plainly(served: Served, question: Question, rules: Rules) -> list[str]:
    """The list that the docs describe, item by item."""
    items, free = served.items, recommend(served, question, Rules(k=len(served.items)))
    score = dict(zip(free.items, free.scores, strict=True))
    seen = {step.item for step in question.steps} if rules.exclude_seen else set()
    pinned = {pin.item for pin in rules.pins}
    own = list[str]()
    for item, value in score.items():
        at = items.index_of[item]
        category, price = items.categories[items.category[at]], float(items.price[at])
        brand = BRANDS[(at - FIRST_ITEM) % 3]
        least, most = rules.price
        if item in rules.exclude | seen | pinned or (rules.only is not None and item not in rules.only):
            continue
        if rules.categories is not None and category not in rules.categories:
            continue
        if (least is not None and price < least) or (most is not None and price > most):
            continue
        for boost in rules.boosts:
            if {"items": item, "categories": category, "brands": brand}[boost.of] in boost.names:
                value *= boost.factor
        score[item] = value
        own.append(item)
    own.sort(key=lambda item: -score[item])
    places, wanted = range(1, rules.k + 1), rules.k - len(rules.pins)

    def few(listed: list[str]) -> list[str]:
        known = [items.index_of[item] for item in pinned if item in items.index_of]
        met = Counter(int(items.category[at]) for at in known)
        kept = list[str]()
        for item in listed:
            code = int(items.category[items.index_of[item]])
            met[code] += 1
            if rules.per_category is None or code < FIRST_ITEM or met[code] <= rules.per_category:
                kept.append(item)
        return kept

    width = POOL * wanted
    while len(pool := few(own[:width])) < wanted and width < len(own):
        width *= 2
    if rules.diversity and pool:
        best, stand = max(score[item] for item in pool), [item for item in pinned if item in items.index_of]
        chosen = list[str]()
        while pool and len(chosen) < wanted:
            rows = np.array([items.index_of[item] for item in pool])
            near = np.zeros(len(pool))
            for item in stand:
                near = np.maximum(near, likeness.to(served, items.index_of[item], rows))
            values = (1 - rules.diversity) * np.array([score[item] / best for item in pool]) - rules.diversity * near
            chosen.append(pool.pop(int(np.argmax(values))))
            stand.append(chosen[-1])
        pool = chosen
    rest, at_place = iter(pool if rules.diversity else few(own)[:wanted]), {pin.place: pin.item for pin in rules.pins}
    listed = list[str]()
    for place in places:
        if place in at_place:
            listed.append(at_place.pop(place))
        elif following := next(rest, ""):
            listed.append(following)
        else:
            break
    return listed + [at_place[place] for place in sorted(at_place)]


@st.composite
def rules_of(draw: st.DrawFn, names: tuple[str, ...]) -> Rules:
    k = draw(st.integers(1, 12))
    some = st.frozensets(st.sampled_from(names), max_size=6)
    places = draw(st.lists(st.integers(1, k), unique=True, max_size=4))
    pinned = draw(st.lists(st.sampled_from((*names, "new")), unique=True, min_size=len(places), max_size=len(places)))
    kinds = {
        "items": some,
        "categories": st.frozensets(st.sampled_from("abcd"), max_size=2),
        "brands": st.frozensets(st.sampled_from("xyz"), max_size=2),
    }
    boosts = [
        Boost(draw(st.sampled_from([0.001, 0.3, 3.0, 1000.0])), of, draw(kinds[of]))  # type: ignore[arg-type]
        for of in draw(st.lists(st.sampled_from(sorted(kinds)), max_size=3))
    ]
    only = draw(st.none() | st.frozensets(st.sampled_from(names), max_size=15))
    least, most = sorted(draw(st.tuples(st.integers(1, 7), st.integers(1, 7))))
    return Rules(
        k=k,
        exclude=draw(some) - frozenset(pinned),
        only=None if only is None else only | frozenset(pinned),
        exclude_seen=draw(st.booleans()),
        categories=draw(st.none() | st.frozensets(st.sampled_from("abcd"), min_size=1)),
        price=draw(st.sampled_from([(None, None), (float(least), float(most))])),
        per_category=draw(st.none() | st.integers(1, 3)),
        diversity=draw(st.sampled_from([0.0, 0.0, 0.4])),
        pins=tuple(Pin(place, item) for place, item in sorted(zip(places, pinned, strict=True))),
        boosts=tuple(boosts),
    )


def test_a_list_is_what_its_rules_say_in_their_order(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    engine, names = Engine({served.model: served}), tuple(served.items.ids[FIRST_ITEM:])
    visits = [Question(online_shop.history(folder, served, k)) for k in range(4)]
    visits += [Question((), 1_700_000_000_000_000), Question((Step("nowhere", category="b"),))]
    quick = 0

    @settings(max_examples=300, deadline=None)
    @given(rules_of(names), st.sampled_from(visits))
    def check(rules: Rules, question: Question) -> None:
        nonlocal quick
        right = plainly(served, question, rules)
        whole = recommend(served, question, rules)
        own = engine.answer(served.model, question, rules).rankings["next_item"]
        quick += ranking.needed(served, question, rules) is not None
        assert list(whole.items) == right
        assert own.items == whole.items
        assert own.pinned == whole.pinned == {pin.item for pin in rules.pins}
        assert own.factors == whole.factors
        assert np.allclose(own.scores, whole.scores, rtol=1e-4, equal_nan=True)
        free = recommend(served, question, Rules(k=len(served.items)))
        score = dict(zip(free.items, free.scores, strict=True))
        assert np.allclose(whole.scores, [score.get(item, math.nan) for item in right], rtol=1e-4, equal_nan=True)

    check()
    assert quick > 100, "boosts and pins are answered without scoring all items in full"


def test_what_is_held_back_stands_before_nothing_that_was_not_looked_at(shop: tuple[Path, Served]) -> None:
    """Of the best two of all, and a third item that is scored because a boost names it."""
    served, (first, second, third) = shop[1], shop[1].items.ids[FIRST_ITEM : FIRST_ITEM + 3]
    looked_at = Ranked(FIRST_ITEM + np.arange(3), np.array([-1.0, -2.0, -3.0], np.float32), 2)

    def listed(factor: float) -> tuple[str, ...] | None:
        rules = Rules(k=3, boosts=(Boost(factor, "items", frozenset({third})),))
        own = ranking.few(served, Question((Step(first),)), rules, looked_at)
        return None if own is None else own.items

    assert listed(0.1) is None, "others may be better"
    assert listed(10) == (third, first, second)


def test_pins_behind_the_end_of_a_short_list_come_last() -> None:
    pins = (Pin(2, "p"), Pin(9, "q"))
    assert placed(pins, ["p", "q"], ["a", "b"]) == ["a", "p", "b", "q"]
    assert placed(pins, ["p", "q"], []) == ["p", "q"]


def test_an_answer_says_what_is_pinned_and_by_how_much_others_were_boosted(shop: tuple[Path, Served]) -> None:
    _, served = shop
    ask = client(served)
    free = ask("POST", "/v1/recommend", json={"history": VISIT, "k": 5}).json()["items"]
    names = [item["item"] for item in free]
    body: dict[str, Any] = {
        "history": VISIT,
        "k": 5,
        "pins": [{"item": "new", "place": 2}, {"item": names[4], "place": 1}],
        "boosts": [{"factor": 0.001, "items": [names[0], "gone"]}, {"factor": 100, "brands": ["x", "nobody's"]}],
    }
    answer = ask("POST", "/v1/recommend", json=body).json()
    first, second, *others = answer["items"]
    assert (first["item"], first["pinned"], first["score"]) == (names[4], True, pytest.approx(free[4]["score"]))
    assert second == {"item": "new", "score": None, "pinned": True}
    assert not any("pinned" in item for item in others)
    assert {item.get("boost") for item in others} <= {None, 100.0, 0.001, 0.1}
    assert [item["boost"] for item in others if item.get("brand") == "x"], "a boosted one is among them"
    assert {each["where"]: each["some"] for each in answer["unknown"]} == {
        "pins": ["new"],
        "boosted_items": ["gone"],
        "boosted_brands": ["nobody's"],
    }


@pytest.mark.parametrize(
    ("rules", "where"),
    [
        ({"k": 3, "pins": [{"item": "5", "place": 4}]}, "$.pins[0]"),
        ({"pins": [{"item": "5", "place": 0}]}, "$.pins[0].place"),
        ({"pins": [{"item": "5", "place": 1}, {"item": "6", "place": 1}]}, "$.pins[1]"),
        ({"pins": [{"item": "5", "place": 1}, {"item": "5", "place": 2}]}, "$.pins[1]"),
        ({"pins": [{"item": "5", "place": 1}], "exclude": ["5"]}, "$.pins[0]"),
        ({"pins": [{"item": "5", "place": 1}], "only": ["6"]}, "$.pins[0]"),
        ({"boosts": [{"factor": 2}]}, "$.boosts[0]"),
        ({"boosts": [{"factor": 2, "items": []}]}, "$.boosts[0]"),
        ({"boosts": [{"factor": 2, "items": ["5"], "brands": ["x"]}]}, "$.boosts[0]"),
        ({"boosts": [{"factor": 2, "items": ["5"]}, {"factor": 3, "items": ["5"]}]}, "$.boosts[1].items"),
        ({"boosts": [{"factor": 0, "items": ["5"]}]}, "$.boosts[0].factor"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(shop: tuple[Path, Served], rules: Any, where: str) -> None:
    answer = client(shop[1])("POST", "/v1/recommend", json={"history": VISIT, **rules})
    assert answer.status_code == 422
    assert answer.json()["where"] == where


def test_a_list_of_nothing_is_diverse_too(shop: tuple[Path, Served]) -> None:
    for rules in ({"only": ["no such"]}, {"k": 1, "pins": [{"item": "5", "place": 1}]}):
        answer = client(shop[1])("POST", "/v1/recommend", json={"history": VISIT, "diversity": 0.5, **rules})
        assert answer.status_code == 200, answer.text
