"""A ranking with several right answers: which items, which categories, and how many of the pairs stand right."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import online_shop
import pyarrow.parquet as pq
import pytest
import small_models
from sklearn.metrics import roc_auc_score

from clickflow.artefact import export
from clickflow.artefact.artefact import load
from clickflow.evaluation import evaluate, groups
from clickflow.evaluation.answers import ranking
from clickflow.gate import evidence, rules
from clickflow.heads import HEADS, propensity
from clickflow.online.engine import Engine
from clickflow.online.http.app import app
from clickflow.online.http.schema import EPOCH
from clickflow.online.http.settings import Settings
from clickflow.online.served import Served
from clickflow.online.state import Memory
from clickflow.params.file import load as load_params
from clickflow.params.gate import Gate
from clickflow.params.serve import Serve
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import open_split
from clickflow.serving import batch, folder, score
from clickflow.system.files import read_json
from clickflow.system.moments import HOUR
from clickflow.system.paths import Paths

CATEGORY = 2 + np.arange(small_models.ITEMS) % 5
"""Of each item; item indexes begin at 2, as category codes do."""
HEAD = replace(propensity.HEAD, name="viewed", unit="session", needs=(), means={"en": "items bought"})
"""The purchases of the rest of a visit."""


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Paths, dict[str, Any]]]:
    """A workspace with an evaluated and judged model of `HEAD`, and its metrics.json."""
    HEADS[HEAD.name] = HEAD
    try:
        paths, model = Paths(tmp_path_factory.mktemp("several")), small_models.spec(heads=(HEAD.name,), copy=False)
        parts = {
            "train": small_models.split(300, 0),
            "valid": small_models.split(40, 1, 80 * HOUR),
            "test": small_models.split(60, 2, 160 * HOUR),
        }
        write_store(paths.sequences("session"), parts, known=small_models.KNOWN, of_category=CATEGORY)
        small_models.trained(paths.trained("taste"), paths.sequences("session"), model)
        params = load_params(small_models.ROOT / "params.yaml")
        params = replace(params, models={"taste": model}, champion={"taste": 0})
        params = replace(params, evaluation=replace(params.evaluation, bootstrap=50))
        params = replace(params, export=replace(params.export, tolerance=1e-3))
        export.run(params, paths, "taste")
        evaluate.run(params, paths, "taste")
        yield paths, read_json(paths.measured("taste"))
    finally:
        del HEADS[HEAD.name]


def test_the_area_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores = random.random((20, 30))
    right = random.random((20, 30)) < 0.2
    right[:, 0] = True
    question, item = np.nonzero(right)
    rank = (scores[question] >= scores[question, item][:, None]).sum(1)
    rank[question == 3] = 0  # of which the system knows nothing
    value, part = ranking.area(rank.astype(np.int32), question, 30)
    expected = [roc_auc_score(right[n], scores[n]) for n in range(20) if n != 3]
    assert value.sum() / part.sum() == pytest.approx(np.mean(expected))
    assert part.sum() == pytest.approx(19)


def test_what_all_items_are_right_of_has_no_area() -> None:
    value, part = ranking.area(np.array([1, 2], np.int32), np.zeros(2, np.int64), 2)
    assert (value.sum(), part.sum()) == (0, 0)


def test_categories_are_those_of_the_items_and_as_likely_as_these_together(
    evaluated: tuple[Paths, dict[str, Any]],
) -> None:
    paths, metrics = evaluated
    store, artefact = paths.sequences("session"), load(paths.exported("taste"))
    items = np.array([[2, 7, 3, -1], [39, -1, -1, -1]])
    categories = groups.of(store, items)
    assert categories is not None
    assert categories.target.tolist() == [[2, 3, -1, -1], [CATEGORY[37], -1, -1, -1]]
    scores = np.random.default_rng(0).random((3, artefact.known))
    summed = categories.summed(scores, categories.of(artefact))
    for code in range(2, 7):
        own = [index for index in range(2, artefact.known) if CATEGORY[index - 2] == code]
        assert summed[:, code] == pytest.approx(scores[:, own].sum(1))
    rows = pq.read_table(paths.evaluation("taste") / "viewed_categories.parquet").to_pandas()
    bought = pq.read_table(paths.evaluation("taste") / "viewed.parquet").to_pandas()
    whole = {name: set(CATEGORY[each.target - 2]) for name, each in bought.groupby(["sequence", "position"])}
    assert {name: set(each.target) for name, each in rows.groupby(["sequence", "position"])} == whole
    assert set(rows.rank_candidate) == {1, 2, 3, 4, 5}
    assert metrics["viewed_categories"]["candidate"]["recall@5"]["value"] == 1


def test_score_tells_of_categories_what_the_evaluation_measures(
    evaluated: tuple[Paths, dict[str, Any]], tmp_path: Path
) -> None:
    paths, _ = evaluated
    store, artefact = paths.sequences("session"), load(paths.exported("taste"))
    who = {"model": "taste", "version": 1}
    batch.write(artefact, store, [lambda each: folder.Folder(tmp_path, each)], who=who, top=5, since_hours=None)
    rows = pq.read_table(tmp_path / "viewed_categories.parquet").to_pandas()
    names = pq.read_table(store / "categories.parquet")["category"].to_pylist()
    assert list(rows.columns) == ["session_id", "user_id", "last_event", "rank", "category", "probability"]
    each = rows.groupby("session_id", dropna=False)
    assert each["category"].agg(set).map(lambda own: own == set(names)).all()
    assert each["probability"].sum().between(0.99, 1.001).all(), "every item has a category"
    one = score.score(artefact, store, 1)[0]
    values = dict(one.answers["viewed_categories"])
    own = rows[rows.session_id == one.session].set_index("category")["probability"]
    assert values == pytest.approx(own.to_dict(), abs=1e-5)
    assert score._as_json(one, {})["viewed_categories"][0].keys() == {"category", "probability"}


def test_a_server_tells_of_categories_what_score_tells(evaluated: tuple[Paths, dict[str, Any]]) -> None:
    paths, _ = evaluated
    served = Served.of("taste", 1, paths.exported("taste"))
    settings = Settings(serve=Serve(), pseudonym=lambda _, raw: raw)
    application = app(Engine({"taste": served}), Memory(subjects=9, steps=9, keep_seconds=9), settings)
    latest = score.score(load(paths.exported("taste")), paths.sequences("session"), 20)
    place = next(place for place, each in enumerate(latest) if all(step.known for step in each.steps))
    split, one = open_split(paths.sequences("session"), "test"), latest[place]
    order = np.argsort(np.asarray(split.time)[np.asarray(split.end) - 1], kind="stable")
    history = online_shop.history(paths.root, served, int(order[-20:][place]))
    steps = [  # numbers so small would be seconds or milliseconds to the server
        {name: getattr(step, name) for name in ("item", "action", "category", "price")}
        | {"time": (EPOCH + timedelta(microseconds=step.time or 0)).isoformat()}
        for step in history
    ]

    async def ask(**question: Any) -> Any:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.post("/v1/predict", json={"history": steps} | question)).json()

    answers = asyncio.run(ask())["answers"]
    values = {each["category"]: each["probability"] for each in answers["viewed_categories"]["categories"]}
    assert answers["viewed_categories"]["kind"] == "categories"
    assert list(values) == sorted(values, key=lambda name: -values[name])
    assert values == pytest.approx(dict(one.answers["viewed_categories"]), abs=1e-3)
    few = asyncio.run(ask(outputs=["viewed_categories"], k=2))["answers"]
    assert list(few) == ["viewed_categories"]
    assert [each["category"] for each in few["viewed_categories"]["categories"]] == list(values)[:2]
    assert list(asyncio.run(ask(history=[]))["answers"]) == ["viewed"], "popular items stand in, and no categories"
    assert "viewed_categories" not in asyncio.run(ask(outputs=["viewed"]))["answers"]


def test_all_systems_have_an_area_of_items_and_of_categories(evaluated: tuple[Paths, dict[str, Any]]) -> None:
    _, metrics = evaluated
    for name in ("viewed", "viewed_categories"):
        for system in ("candidate", "popularity", "repeat", "itemknn"):
            area = metrics[name][system]["roc_auc"]
            assert 0 < area["low"] <= area["value"] <= area["high"] < 1


def test_the_gate_and_the_report_have_both(evaluated: tuple[Paths, dict[str, Any]]) -> None:
    paths, _ = evaluated
    page = (paths.evaluation("taste") / "report.html").read_text(encoding="utf-8")
    assert "Viewed categories" in page and "roc_auc" in page
    assert "ecall of viewed_categories beyond the first 1 says nothing" in page, "there are five"
    floors = {"viewed.roc_auc": 0.01, "viewed_categories.roc_auc": 0.99, "viewed_categories.recall@5": 0.99}
    judged = rules.judge(Gate(floors=floors), evidence.read(paths, "taste", 0), 0)
    verdicts = {rule.rule: rule.verdict for rule in judged if rule.rule.startswith("floor")}
    assert [verdicts[f"floor: {name}"] for name in floors] == ["passed", "failed", "passed"]


def test_a_store_without_categories_has_none(tmp_path: Path) -> None:
    part = small_models.split(20, 0)
    del part["category"]
    write_store(tmp_path / "session", {"train": part, "test": part})
    assert open_split(tmp_path / "session", "test").n_sequences == 20
    assert groups.of(tmp_path / "session", np.array([[2, -1]])) is None
