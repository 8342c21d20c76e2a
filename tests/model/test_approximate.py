"""An approximate index finds nearly what all scores say, tells how nearly, and breaks no rule."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import online_shop
import pytest

from clickflow.online import near
from clickflow.online.cut import Cut
from clickflow.online.engine import Engine
from clickflow.online.history import Question
from clickflow.online.http.server import not_as_chosen
from clickflow.online.ranking import Rules, recommend
from clickflow.online.served import Served
from clickflow.online.table import Table
from clickflow.params.serve import Serve
from clickflow.sequences.indexes import FIRST_ITEM


def clustered(rows: int = 20_100, columns: int = 32) -> tuple[Table, Any]:
    """Items in neighbourhoods, as a trained network has them, and questions from among them."""
    draw = np.random.default_rng(3)
    middles = draw.standard_normal((200, columns))

    def near_middles(count: int, length: float) -> Any:
        vectors = middles[draw.integers(0, 200, count)] + 0.7 * draw.standard_normal((count, columns))
        return (length * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    return Table(near_middles(rows, 1), FIRST_ITEM, scan=False), near_middles(64, 8)


def test_an_index_finds_nearly_all_of_the_best_and_weighs_all_items(tmp_path: Path) -> None:
    table, queries = clustered()
    index, quality = near.build(table, queries, 0.95, tmp_path / ".near-a.faiss")
    assert index is not None
    assert quality is not None
    rows, scores, total = index.best(queries, 20)
    right, _, totals = table.exact(queries, 20)
    recall = np.mean([np.isin(own, row).mean() for own, row in zip(right, rows, strict=True)])
    assert recall == pytest.approx(quality.recall, abs=1e-4)
    assert recall >= 0.95
    assert quality.read * near.WIDEST <= quality.lists
    error = np.abs(np.expm1(total - totals))
    assert np.quantile(error, 0.95) == pytest.approx(quality.probability_error, abs=1e-4)
    assert quality.probability_error < 0.1
    for k, row in enumerate(rows):
        assert np.allclose(scores[k], table.vectors[row] @ queries[k], atol=1e-4)
    every, _, _ = index.best(queries[:2], 2_000)  # so many that all are scored
    assert all(
        set(own.tolist()) == set(of.tolist()) for own, of in zip(every, table.exact(queries[:2], 2_000)[0], strict=True)
    )


def test_an_index_that_finds_too_few_is_left_and_its_quality_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    vectors = draw.standard_normal((20_100, 32)).astype(np.float32)  # no neighbourhoods at all
    queries = draw.standard_normal((16, 32)).astype(np.float32)
    index, quality = near.build(Table(vectors, FIRST_ITEM, scan=False), queries, 0.999, tmp_path / ".near-a.faiss")
    assert index is None
    assert quality is not None
    assert quality.recall < 0.999


def test_processes_share_the_file_of_an_index_and_a_spoilt_one_is_made_again(tmp_path: Path) -> None:
    table, queries = clustered()
    file = tmp_path / ".near-a.faiss"
    first, _ = near.build(table, queries, 0.9, file)
    stamp = file.stat().st_mtime_ns
    second, _ = near.build(table, queries, 0.9, file)
    assert file.stat().st_mtime_ns == stamp
    file.write_bytes(file.read_bytes()[:-9] + b"spoilt!!!")
    third, _ = near.build(table, queries, 0.9, file)
    assert file.stat().st_mtime_ns != stamp
    assert json.loads(file.with_suffix(".json").read_bytes())["rows"] == 20_098
    assert first is not None
    for other in (second, third):
        assert other is not None
        assert all(
            np.array_equal(a, b) for a, b in zip(first.best(queries, 20)[0], other.best(queries, 20)[0], strict=True)
        )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Served]:
    """A workspace, and the model that is served from it, exactly."""
    folder = tmp_path_factory.mktemp("near")
    return folder, online_shop.exported(folder)


def test_rules_hold_and_answers_say_that_they_are_approximate(
    shop: tuple[Path, Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "LEAST", 1)
    monkeypatch.setattr(near, "SHARE", 1)
    monkeypatch.setattr(near, "LOOKED_AT", 1)
    tmp_path, exact = shop
    folder = exact.artefact.folder
    served = Served.of(exact.model, 1, folder, recall=0.01)
    assert served.approximate
    assert isinstance(served.artefact.session, Cut)
    engine, items = Engine({served.model: served}), served.items
    some = frozenset(items.ids[FIRST_ITEM : FIRST_ITEM + 9])
    steps = online_shop.history(tmp_path, served, 3)
    seen = {step.item for step in steps}
    for rules in (Rules(k=5), Rules(k=5, exclude_seen=True), Rules(k=5, exclude=some), Rules(k=5, per_category=1)):
        ranking = engine.answer(served.model, Question(steps), rules).rankings["next_item"]
        assert ranking.approximate
        assert len(set(ranking.items)) == 5
        assert not rules.exclude & set(ranking.items)
        assert not (rules.exclude_seen and seen & set(ranking.items))
    named = engine.answer(served.model, Question(steps), Rules(k=9, only=some)).rankings["next_item"]
    right = recommend(exact, Question(steps), Rules(k=9, only=some))
    assert named.items == right.items  # what is named is scored, whatever the index finds
    assert np.allclose(named.scores, right.scores, rtol=0.5)
    for rules in (Rules(k=len(items)), Rules(k=5, price=(0.0, 1e9)), Rules(k=4, exclude=frozenset(items.ids[2:-6]))):
        ranking = engine.answer(served.model, Question(steps), rules).rankings["next_item"]
        assert ranking.items == recommend(exact, Question(steps), rules).items  # too few are left to an index


def test_an_index_below_the_floor_does_not_answer_and_health_says_so(
    shop: tuple[Path, Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near, "LEAST", 1)
    tmp_path, exact = shop
    served = Served.of(exact.model, 1, exact.artefact.folder, recall=1.01)
    assert not served.approximate
    question = Question(online_shop.history(tmp_path, served, 3))
    own, right = (Engine({each.model: each}).answer(each.model, question, Rules(k=5)) for each in (served, exact))
    assert own.rankings == right.rankings
    engine = Engine({served.model: served})
    assert list(not_as_chosen(engine, Serve(index="approximate"))) == [f"index of {served.model}"]
    assert not not_as_chosen(engine, Serve())
