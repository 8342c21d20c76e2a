"""Why a model answers so: leave-one-out is the model asked again, changes flip the answer, Shapley values add up."""

from pathlib import Path
from typing import Any

import numpy as np
import online_shop
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from clickflow.heads import outputs
from clickflow.online import cut, visits
from clickflow.online.history import Question, Step
from clickflow.online.served import Served
from clickflow.online.why import changes, reading, words
from clickflow.online.why.contributions import shapley
from clickflow.online.why.explain import explain
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths

HEADS = ("next_item", "next_action", "purchase")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Served]:
    """A workspace, and a network of three kinds of answer that is served from it."""
    folder = tmp_path_factory.mktemp("why")
    return folder, online_shop.exported(folder, heads=HEADS)


def test_an_effect_is_the_answer_less_that_to_the_history_without(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    question = Question(online_shop.history(folder, served, 5))
    for head in HEADS:
        explanation = explain(served, question, head)
        named = {"next_item": served.items.ids}.get(head, served.artefact.heads[head].classes)
        code = list(named).index(explanation.target)
        value = float(served.answers([question])[head][0, code])
        for effect in (*explanation.effects, *explanation.groups):
            left = tuple(step for place, step in enumerate(question.steps) if place not in effect.steps)
            without = float(served.answers([Question(left)])[head][0, code])
            assert effect.effect == pytest.approx(value - without, abs=1e-5)
            assert effect.without == pytest.approx(np.exp(without), rel=1e-4)
        assert {effect.steps for effect in explanation.effects if effect.what == "step"} == {
            (place,) for place in range(len(question.steps))
        }
        sizes = [abs(effect.effect) for effect in explanation.effects]
        assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("choices", [{}, {"ensemble": ("gru", "transformer")}, {"item": {"horizon": 3}}])
def test_of_many_items_the_best_alone_are_asked_and_it_is_told_the_same(
    choices: dict[str, Any], shop: tuple[Path, Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, served = (tmp_path, online_shop.exported(tmp_path, **choices)) if choices else shop
    questions = [Question(online_shop.history(folder, served, sequence)) for sequence in range(8)]
    own = served.items.index_of["7"]

    def explained() -> list[Any]:
        return [explain(served, question, "next_item", target) for question in questions for target in (None, own)]

    right = explained()
    monkeypatch.setattr(reading, "SMALL", 1)
    monkeypatch.setattr(reading, "QUICK", 1e-9)
    # of one the graph names all for some history, and more are looked for; that two histories a block, in threads
    for tops, together, apart in ((16, 3, reading.APART), (1, 2, 1)):
        monkeypatch.setattr(cut, "TOPS", tops)
        monkeypatch.setattr(reading, "TOGETHER", together)
        monkeypatch.setattr(reading, "APART", apart)
        for quick, slow in zip(explained(), right, strict=True):
            assert quick.target == slow.target
            edits, right_ones = (one.search.change and one.search.change.edits for one in (quick, slow))
            assert edits == right_ones
            # by step: the order of effects that are the same but for rounding is no difference
            effect, same = (
                [each.effect for each in sorted(one.effects, key=lambda each: each.steps)] for one in (quick, slow)
            )
            assert {each.steps for each in quick.effects} == {each.steps for each in slow.effects}
            assert np.allclose(effect, same, atol=1e-5)


def test_a_change_gives_the_other_answer_and_no_nearer_one_does(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    kinds = set()
    for sequence in range(40):
        question = Question(online_shop.history(folder, served, sequence))
        explanation = explain(served, question, "next_item")
        change = explanation.search.change
        assert explanation.search.tried <= changes.MOST
        if change is None:
            assert explanation.search.why_not == "not_within"
            continue
        assert change.before == explanation.target != change.after
        value = words._percent(change.value)  # of the target, which is not first any more
        assert f"Then {change.after} comes first, and {explanation.target} has {value}." in " ".join(
            words.sentences(explanation)
        )
        kinds.add(tuple(edit.what for edit in change.edits))
        edits = {edit.step: edit for edit in change.edits}
        if all(edit.what == "remove" for edit in change.edits):
            left = Question(tuple(step for place, step in enumerate(question.steps) if place not in edits))
            assert _first(served, left) == change.after
        if all(edit.what == "change" for edit in change.edits):
            steps = [
                structs.replace(step, action=edits[place].to or step.action) if place in edits else step
                for place, step in enumerate(question.steps)
            ]
            assert _first(served, Question(tuple(steps))) == change.after
        if tuple(edit.what for edit in change.edits) != ("remove",) and len(question.steps) > 1:
            for place in range(len(question.steps)):
                left = Question(question.steps[:place] + question.steps[place + 1 :])
                assert _first(served, left) == explanation.target, "one step taken away would have been nearer"
    assert ("remove",) in kinds


def _first(served: Served, question: Question) -> str:
    return served.items.ids[int(served.answers([question])["next_item"][0, 2:].argmax()) + 2]


def test_steps_that_cover_each_other_are_named_together(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    (first, *_) = online_shop.history(folder, served, 5)
    twice = Question(
        (first, structs.replace(first, item="9"), structs.replace(first, item="11"), structs.replace(first, item="9"))
    )
    explanation = explain(served, twice, "next_item")
    (both,) = [group for group in explanation.groups if group.what == "item"]
    assert (both.steps, both.item) == ((1, 3), "9")
    alone = [abs(effect.effect) for effect in explanation.effects if effect.what == "step" and effect.item == "9"]
    assert both.covering == (abs(both.effect) > 1.5 * sum(alone))
    assert (both in explanation.effects) == both.covering


def test_a_target_and_a_threshold_may_be_named(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    question = Question(online_shop.history(folder, served, 5))
    other = explain(served, question, "next_item", served.items.index_of["17"])
    assert other.target == "17"
    if other.search.change:
        assert other.search.change.after == "17"
    likely = explain(served, question, "purchase")
    assert (likely.threshold, likely.threshold_of) == (0.5, "half")
    near = explain(served, question, "purchase", threshold=likely.answer - 1e-4)
    assert near.threshold_of == "costs"
    assert near.search.change
    assert (near.search.change.before, near.search.change.after) == ("above", "below")
    assert "%, below the threshold of" in " ".join(words.sentences(near))
    for wrong in (("churn", None), ("next_item", 10_000), ("next_action", -1)):
        with pytest.raises(UsageError, match="has no answer"):
            explain(served, question, *wrong)


def test_ends_are_said(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    (first, *_) = online_shop.history(folder, served, 5)
    with pytest.raises(UsageError, match="reads nothing of this history"):
        explain(served, Question(), "next_item")
    one = explain(served, Question((first,)), "next_item")
    assert not one.effects
    long = tuple(structs.replace(first, item=str(2 + k % 30), time=k * 10**6) for k in range(100))
    explanation = explain(served, Question((*long, Step("nobody knows it"))), "next_item")
    (older,) = [group for group in explanation.groups if group.what == "earlier"]
    assert len(older.steps) + sum(effect.what == "step" for effect in explanation.effects) == 101
    assert older.effect != 0.0 or served.artefact.max_length < 60
    assert not explanation.search.complete
    assert explanation.unknown == (100,)
    for language in words.LANGUAGES:
        lines = words.sentences(explanation, language)
        assert lines == words.explained(explanation).sentences[language]
        assert not any("{" in line for line in lines)
        assert outputs.head("next_item").asks(language) in lines[0]
        of_customer = words.sentences(structs.replace(explanation, output="churn"), language)[-1]
        assert words.WHO[language]["session"] in lines[-1]
        assert words.WHO[language]["customer"] in of_customer and words.WHO[language]["session"] not in of_customer


def test_a_visit_of_the_store_is_asked_as_a_client_would(shop: tuple[Path, Served]) -> None:
    folder, served = shop
    for sequence in range(5):
        sent = Question(online_shop.history(folder, served, sequence))
        question = visits.question(Paths(folder).sequences("session"), "test", sequence)
        assert [step.item for step in question.steps] == [step.item for step in sent.steps]
        for name, column in served.split([sent]).columns.items():
            np.testing.assert_array_equal(getattr(served.split([question]), name), column)


numbers = st.lists(st.floats(-3, 3, width=32) | st.just(float("nan")), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(numbers, numbers, st.randoms(use_true_random=False))
def test_shapley_values_sum_to_the_difference_and_are_exact_of_pairs(
    own: list[float], usual: list[float], random: Any
) -> None:
    x, typical = np.array(own, np.float32), np.array(usual, np.float32)
    weights = np.array([[random.uniform(-1, 1) for _ in range(4)] for _ in range(4)])

    def ask(rows: np.ndarray) -> Any:
        z = np.nan_to_num(rows.astype(np.float64), nan=0.7)
        return np.einsum("ni,ij,nj->n", z, weights, z)

    contributions = shapley(ask, x, typical)
    assert contributions.values.sum() == pytest.approx(contributions.answer - contributions.typical, abs=1e-9)
    assert contributions.answer == pytest.approx(ask(x[None])[0])
    assert contributions.typical == pytest.approx(ask(typical[None])[0])
    # of a quadratic form each is half of what it changes first and half of what it changes last
    first = np.array([_with(ask, typical, x, [k]) - contributions.typical for k in range(4)])
    last = np.array([contributions.answer - _with(ask, x, typical, [k]) for k in range(4)])
    np.testing.assert_allclose(contributions.values, (first + last) / 2, atol=1e-9)


def _with(ask: Any, base: np.ndarray, other: np.ndarray, places: list[int]) -> float:
    mixed = base.copy()
    mixed[places] = other[places]
    return float(ask(mixed[None])[0])
