"""Answers online: the columns are those of the packed store, and so the answers are those that were measured."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import online_shop
import pytest

from clickflow.artefact import asking
from clickflow.artefact.checks import identity
from clickflow.artefact.windows import last
from clickflow.online import likeness
from clickflow.online.engine import Engine
from clickflow.online.history import Question, Step
from clickflow.online.ranking import Rules, recommend, similar
from clickflow.online.served import Items, Served
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import open_split, read_card
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Served]:
    """A workspace and the model that is served from it."""
    folder = tmp_path_factory.mktemp("online")
    return folder, online_shop.exported(folder)


def test_columns_and_answers_are_those_of_the_packed_store(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    store = Paths(folder).sequences("session")
    split, card = open_split(store, "test"), read_card(store)
    chosen = np.arange(split.n_sequences)
    own_split = served.split(questions := [Question(online_shop.history(folder, served, k)) for k in chosen.tolist()])
    assert own_split.columns.keys() == split.columns.keys()
    for name, column in split.columns.items():
        own = own_split.columns[name]
        assert own.dtype == column.dtype
        if name == "item":  # the order of items that the model does not know is nobody's
            column, own = (np.minimum(each, served.artefact.known) for each in (column, own))
        assert np.array_equal(own, column, equal_nan=own.dtype.kind == "f"), name
    positions = last(split, chosen, served.artefact.max_length)
    right = asking.answers(served.artefact, split, positions, chosen, identity(split, card))
    for name, values in served.answers(questions).items():
        assert np.array_equal(values, right[name]), name


def test_an_engine_answers_each_output_by_its_kind(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    engine = Engine({served.model: served})
    question = Question(online_shop.history(folder, served, 3))
    answer = engine.answer(served.model, question, Rules(k=5, exclude_seen=True))
    assert answer.version == 1
    assert {*answer.values, *answer.rankings} == set(served.artefact.outputs)
    ranking = answer.rankings["next_item"]
    assert len(set(ranking.items)) == 5
    assert [served.items.ids[at] for at in ranking.indexes] == list(ranking.items)
    assert ranking.fallback is None
    assert not {step.item for step in question.steps} & set(ranking.items)
    cold = engine.answer(served.model, Question()).rankings["next_item"]
    assert (cold.fallback, cold.reason) == ("popularity", "no_history")
    assert cold.items[0] == served.items.ids[served.items.popular[0]]


def test_where_a_history_says_nothing_its_categories_answer_and_else_the_hour(shop: tuple[Path, Served]) -> None:
    folder, served = shop[0], online_shop.with_categories(shop[1])
    items, rules = served.items, Rules(k=5)
    train = open_split(Paths(folder).sequences("session"), "train")
    hours = train.time // 3_600_000_000 % 24
    of_model = (train.item >= FIRST_ITEM) & (train.item < len(items))
    for hour in (3, 17):
        counted = np.bincount(train.item[of_model & (hours == hour)], minlength=len(items))
        share = (counted + 500 * items.count / items.count.sum()) / (counted.sum() + 500)
        cold = recommend(served, Question((), hour * 3_600_000_000), rules)
        assert (cold.fallback, cold.reason) == ("popularity_by_hour", "no_history")
        assert np.allclose(cold.scores, np.sort(share)[::-1][:5], rtol=1e-5)
        category = items.categories[items.category[-1]]
        new = Question((Step("new here", category=category), Step("new too")), hour * 3_600_000_000)
        ranking = recommend(served, new, rules)
        assert (ranking.fallback, ranking.reason) == ("category", "unknown_items")
        own = np.flatnonzero(items.category == items.category[-1])
        best = own[np.argsort(-share[own], kind="stable")][:5]
        assert list(ranking.items)[: len(best)] == [items.ids[index] for index in best]
        everything = recommend(served, new, Rules(k=len(items)))
        assert len(everything.items) == len(items) - FIRST_ITEM
        assert sum(everything.scores) == pytest.approx(1, abs=1e-4)
    unread = recommend(served, Question((Step("5", "waved at"),)), rules)
    assert unread.reason == "unknown_actions"
    known = recommend(served, Question((Step("new here"), Step("5"))), rules)
    assert (known.fallback, known.reason) == (None, None)


def test_an_artefact_from_before_there_were_hours_answers_by_all_of_them(shop: tuple[Path, Served]) -> None:
    _, served = shop
    old = replace(served, items=Items.read(served.artefact, hourly=False))
    ranking = recommend(old, Question((), 3_600_000_000), Rules(k=3))
    assert ranking.fallback == "popularity"
    assert list(ranking.items) == [old.items.ids[index] for index in old.items.popular[:3]]


def test_rules_hold_whatever_else_would_be_better(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    question, items = Question(online_shop.history(folder, served, 3)), served.items
    free = recommend(served, question, Rules(k=len(items))).items
    assert len(free) == len(items) - FIRST_ITEM

    def category(item: str) -> int:
        return int(items.category[items.index_of[item]])

    few = recommend(served, question, Rules(k=10, per_category=1)).items
    named = [category(item) for item in few if category(item) >= FIRST_ITEM]
    assert len(named) == len(set(named))
    assert few[0] == free[0]
    assert recommend(served, question, Rules(only=frozenset())).items == ()
    assert recommend(served, question, Rules(categories=frozenset({"nowhere"}))).items == ()


def test_diversity_gives_up_score_for_likeness(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    question = Question(online_shop.history(folder, served, 3))

    def alike(weight: float) -> float:
        items = recommend(served, question, Rules(k=5, diversity=weight)).items
        places = np.array([served.items.index_of[item] for item in items])
        assert len(set(items)) == 5
        return float(np.mean([likeness.to(served, int(place), places[places != place]).max() for place in places]))

    assert recommend(served, question, Rules(k=5, diversity=1e-9)) == recommend(served, question, Rules(k=5))
    assert alike(0.9) < alike(0)


def test_similar_items_are_those_with_the_nearest_vectors(shop: tuple[Path, Served]) -> None:
    _, served = shop
    neighbours = similar(served, "5", 4)
    table = likeness.vectors(served)
    assert table is not None
    own = served.items.index_of["5"]
    right = [served.items.ids[at] for at in np.argsort(-(table @ table[own]), kind="stable") if at not in (0, 1, own)]
    assert list(neighbours.items) == right[:4]
    assert [served.items.ids[at] for at in neighbours.indexes] == right[:4]
    assert list(neighbours.scores) == sorted(neighbours.scores, reverse=True)
    with pytest.raises(UsageError, match="does not know"):
        similar(served, "nothing", 4)
