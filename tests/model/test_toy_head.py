"""Heads of somebody's own, from params.yaml to a served answer: trained, exported, evaluated, gated, scored."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import yaml
from pyarrow import compute as pc
from pyarrow import parquet
from toy_heads import LATER_ITEM, LATER_VALUE, LEAVING, RETURNING
from watched_shop import MODEL, call, crown

from clickflow import heads
from clickflow.artefact import export
from clickflow.artefact.artefact import Artefact, load
from clickflow.artefact.windows import Translation, batch, questions
from clickflow.heads import outputs
from clickflow.models.answers.ranking import Ranking
from clickflow.models.saved import load_trained
from clickflow.params.file import check
from clickflow.sequences.store import open_split
from clickflow.system.errors import UsageError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths
from clickflow.training import stage
from undrawn import render, undraw

ALONE: dict[str, Any] = {"returning": {"weight": 1.0}}
SEVERAL: dict[str, Any] = {"later_item": {"negatives": 16, "output": "separate"}, **ALONE}
SEVERAL |= {"next_item": {"negatives": 16, "output": "separate"}, "next_action": {}, "leaving": {}}
SEVERAL |= {"later_value": {}}
WATCHED = {"returning": "accuracy", "later_item": "mrr@20", "leaving": "log_loss", "later_value": "mae"}


@pytest.fixture(scope="module")
def known() -> Iterator[None]:
    before = dict(heads.HEADS)
    heads.add(RETURNING)
    heads.add(LATER_ITEM)
    heads.add(LEAVING)
    heads.add(LATER_VALUE)
    yield
    heads.HEADS.clear()
    heads.HEADS.update(before)


@pytest.fixture
def raw(root: Path) -> Any:
    return yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Shop:
    """A workspace with a champion: what the gate decided before there was one, and beside it."""

    paths: Paths
    artefact: Artefact
    first: dict[str, Any]
    second: dict[str, Any]

    @property
    def home(self) -> Path:
        return self.paths.root / "home"

    def rules(self, which: str) -> dict[str, str]:
        return {rule["rule"]: rule["verdict"] for rule in getattr(self, which)["rules"]}

    @property
    def metrics(self) -> dict[str, Any]:
        content: dict[str, Any] = read_json(self.paths.measured(MODEL))
        return content


def shipped(root: Path, folder: Path, own_heads: dict[str, Any]) -> Shop:
    """Every stage of the small shop for a model with these heads, twice the evaluation and the gate: alone, and beside
    itself as the champion.
    """
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw["models"], raw["champion"] = {MODEL: raw["models"][MODEL]}, {MODEL: 0}
    raw["models"][MODEL]["heads"] = own_heads
    raw["models"][MODEL]["encoder"] |= {"units": 12, "hand_made": False}
    raw["models"][MODEL]["budget"] = {"epochs": 3, "batch_tokens": 128, "max_length": 8}
    raw["evaluation"]["bootstrap"] = 50
    raw["units"] = ["session"]
    raw["gate"] |= {"max_calibration_error": 1.0, "max_latency_ms": 5000, "min_slice": 100}
    del raw["gate"]["floors"]
    drops = {f"{name}.{metric}": 0.5 for name, metric in WATCHED.items() if name in own_heads}
    raw["watch"] = {"min_sequences": 30, "max_metric_drop": drops}
    if "later_item" in own_heads:
        raw["evaluation"]["baselines"] = {"next_item": ["popularity"], "next_action": ["majority"]}
        raw["gate"]["primary"] = "later_item.mrr@20"
    paths = Paths(folder)
    paths.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    shutil.copy(root / "dvc.yaml", folder)
    small_models.shop(paths.sequences("session"), test=160)
    params, decisions = check(raw), []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CLICKFLOW_HOME", str(folder / "home"))
        stage.run(params, paths, MODEL)
        export.run(params, paths, MODEL)
        for _ in range(2):
            with pytest.MonkeyPatch.context() as figures:
                if not decisions:
                    undraw(figures)
                elif "later_item" in own_heads:  # of the second, which has a champion too, and of all heads together
                    render(figures)
                for verb in ("evaluate", "gate"):
                    call(verb, MODEL, as_json=False)
            decisions.append(read_json(paths.gate(MODEL) / "decision.json"))
            if len(decisions) == 1:
                crown(paths)
                assert call("open")["champion"] == {MODEL: 1}
    return Shop(paths, load(paths.exported(MODEL)), *decisions)


@pytest.fixture(scope="module")
def alone(known: None, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return shipped(root, tmp_path_factory.mktemp("alone"), ALONE)


@pytest.fixture(scope="module")
def several(known: None, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return shipped(root, tmp_path_factory.mktemp("several"), SEVERAL)


@pytest.fixture
def here(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop that the test names, as the current workspace."""
    shop: Shop = request.getfixturevalue(request.param)
    monkeypatch.chdir(shop.paths.root)
    monkeypatch.setenv("CLICKFLOW_HOME", str(shop.home))
    return shop


def test_a_head_alone_learns_and_its_artefact_answers(alone: Shop) -> None:
    paths, artefact = alone.paths, alone.artefact
    (head,) = artefact.heads.values()
    assert (head.kind, head.outputs, head.classes) == ("classes", ("returning",), ("new", "seen"))
    history = read_json(paths.trained(MODEL) / "history.json")
    assert set(history[0]["train"]) == {"loss", "returning"}
    test = open_split(paths.sequences("session"), "test")
    positions = questions(test.offsets, np.arange(test.n_sequences), 8)
    plain = Translation(*(np.arange(300) for _ in range(3)))
    answers = []
    for chosen in np.array_split(np.arange(len(positions)), 4):
        inputs, rows, columns = batch(test, positions, chosen, artefact.inputs, plain)
        answers.append(artefact.scores(inputs, rows, columns)["returning"])
    event = np.concatenate([np.arange(a, b) for a, b in pairwise(test.offsets)])
    ends = np.repeat(test.offsets[1:], test.lengths)
    targets = RETURNING.targets(test, event, ends, load_trained(paths.trained(MODEL)).sizes)
    logs = np.concatenate(answers)
    np.testing.assert_allclose(np.exp(logs).sum(1), 1, atol=1e-5)
    true = targets[targets >= 0]
    losses = -logs[targets >= 0][np.arange(len(true)), true]
    shares = np.bincount(true) / len(true)
    assert losses.mean() < -(shares * np.log(shares)).sum() - 0.02, "better than the share of each class"
    assert alone.metrics["returning"]["candidate"]["log_loss"]["value"] == pytest.approx(losses.mean(), abs=1e-5)


def test_several_heads_of_a_kind_share_an_encoder(several: Shop) -> None:
    paths, artefact = several.paths, several.artefact
    order = ["next_item", "next_action", "returning", "later_item", "leaving", "later_value"]
    assert list(artefact.heads) == list(artefact.outputs) == order, "as the table of heads has them"
    kinds = ["ranking", "classes", "classes", "ranking", "probability", "amount"]
    assert [head.kind for head in artefact.heads.values()] == kinds
    network = load_trained(paths.trained(MODEL))
    known = network.sizes.known
    assert len(network.items) == 3 * known, "each that answers by vectors of its own has some"
    rankings = [head.rows for head in network.heads.values() if isinstance(head, Ranking)]
    assert [(rows.start, rows.stop) for rows in rankings] == [(known, 2 * known), (2 * known, None)]
    record = read_json(paths.trained(MODEL) / "history.json")[-1]
    assert set(order) <= set(record["train"])
    assert {"recall@20", "later_item.recall@20"} <= set(record["valid"])
    assert record["train"]["loss"] == pytest.approx(sum(record["train"][name] for name in order))


def test_a_head_alone_is_judged_by_what_it_says_itself(alone: Shop) -> None:
    assert set(alone.metrics["returning"]) == {"candidate", "champion", "majority", "markov"}
    assert alone.metrics["returning"]["candidate"] == alone.metrics["returning"]["champion"]
    first, second = alone.rules("first"), alone.rules("second")
    for rule in ("floor: returning.accuracy", "beats majority: returning.log_loss", "calibration of returning"):
        assert first[rule] == second[rule] == "passed"
    assert "beats markov: returning.log_loss" in first
    rule = "not inferior to the champion: returning.log_loss"
    assert (first[rule], second[rule]) == ("not_applicable", "passed")
    assert (first["no slice drops"], second["no slice drops: length"]) == ("not_applicable", "passed")
    assert alone.first["decision"] == alone.second["decision"] == "promote"


def test_each_of_several_heads_is_judged(several: Shop) -> None:
    for head, baselines in {
        "next_item": {"popularity"},
        "next_action": {"majority"},
        "returning": {"majority", "markov"},
        "later_item": {"popularity"},
        "leaving": {"majority", "markov"},
        "later_value": {"mean", "boosting"},
    }.items():
        assert set(several.metrics[head]) == {"candidate", "champion", *baselines}
    first, second = several.rules("first"), several.rules("second")
    for rule in ("floor: recall@20", "floor: returning.accuracy", "floor: later_item.recall@20", "coverage"):
        assert first[rule] == "passed"
    for rule in (
        "floor: leaving.roc_auc",
        "floor: leaving.recall@20%",
        "calibration of leaving",
        "floor: later_value.gini",
    ):
        assert first[rule] == "passed"
    assert {"beats majority: leaving.brier", "beats mean: later_value.mae"} <= set(first)
    for rule in (
        "beats popularity: mrr@20",
        "beats popularity: later_item.mrr@20",
        "beats majority: returning.log_loss",
    ):
        assert first[rule] == "passed"
    rule = "not inferior to the champion: later_item.mrr@20"
    assert (first[rule], second[rule]) == ("not_applicable", "passed")
    assert (first["no slice drops"], second["no slice drops: popularity"]) == ("not_applicable", "passed")
    assert several.second["metrics"].keys() >= {"returning.accuracy", "later_item.mrr@20", "later_item.recall@20"}
    page = (several.paths.evaluation(MODEL) / "report.html").read_text(encoding="utf-8")
    for head in several.artefact.outputs:
        assert f">{outputs.named(head).title}</h2>" in page
    for figure in ("leaving_precision_recall", "leaving_deciles", "leaving_calibration", "later_value_deciles"):
        assert (several.paths.evaluation(MODEL) / f"figures/{figure}.png").is_file()


@pytest.mark.parametrize("here", ["alone", "several"], indirect=True)
def test_one_visit_is_answered_by_every_head(here: Shop) -> None:
    latest = call("score", MODEL, "--limit", "2")["sessions"]
    (answer,) = call("score", MODEL, "--session", latest[0]["session"])["sessions"]
    assert answer == latest[0]
    assert set(answer["returning"]) == {"new", "seen"}
    assert sum(answer["returning"].values()) == pytest.approx(1, abs=1e-5)
    shown = call("score", MODEL, "--session", answer["session"], as_json=False)
    assert ("later" if "later_item" in here.artefact.heads else "returning") in shown
    if "later_item" in here.artefact.heads:
        assert len(answer["later_item"]) == len(answer["next_items"]) == 5
        assert answer["later_item"] != answer["next_items"]
        assert 0 < answer["leaving"] < 1
        worth = answer["later_value"]
        assert list(worth) == ["expected", "quantile_10", "quantile_50", "quantile_90"]
        assert 0 <= worth["quantile_10"] <= worth["quantile_50"] <= worth["quantile_90"]


@pytest.mark.parametrize("here", ["alone", "several"], indirect=True)
def test_all_visits_are_answered_by_every_head(here: Shop, tmp_path: Path) -> None:
    card = call("score", MODEL, "--all", "--out", str(tmp_path / "out"), "--top", "3")
    rankings = [name for name, head in here.artefact.heads.items() if head.kind == "ranking"]
    assert card["top"] == (3 if rankings else None)
    assert set(card["rows"]) == {outputs.named(name).predictions for name in here.artefact.heads}
    table = parquet.read_table(tmp_path / "out/returning.parquet")
    assert len(table) == card["sessions"] == 500
    by_session = {row["session_id"]: row for row in table.to_pylist()}
    for answer in call("score", MODEL)["sessions"]:
        row = by_session[answer["session"]]
        assert {name: row[name] for name in ("new", "seen")} == pytest.approx(answer["returning"], abs=1e-5)
    if rankings:
        later = parquet.read_table(tmp_path / "out/later_item.parquet").to_pylist()
        item_ids = [row["item_id"] for row in later if row["session_id"] == answer["session"]]
        assert item_ids == [item["item"] for item in answer["later_item"][:3]]
        (leaves,) = parquet.read_table(tmp_path / "out/leaving.parquet", columns=["session_id", "probability"]).filter(
            pc.field("session_id") == answer["session"]
        )["probability"]
        assert leaves.as_py() == pytest.approx(answer["leaving"], abs=1e-5)
        worth = parquet.read_table(tmp_path / "out/later_value.parquet").filter(
            pc.field("session_id") == answer["session"]
        )
        assert worth["expected"][0].as_py() == pytest.approx(answer["later_value"]["expected"], rel=1e-3)


@pytest.mark.parametrize("here", ["alone", "several"], indirect=True)
def test_metrics_of_every_head_can_be_watched(here: Shop) -> None:
    watched = call("watch", MODEL, "--as-of", "1970-01-11T00:00:00Z")["models"][MODEL]
    judged = {bound["name"]: bound for bound in watched["windows"][-1]["bounds"] if bound["kind"] == "metric"}
    expected = {f"{name}.{metric}" for name, metric in WATCHED.items() if name in here.artefact.heads}
    assert set(judged) == expected
    for name, bound in judged.items():
        head, metric = name.split(".")
        assert bound["expected"] == here.metrics[head]["candidate"][metric]["value"]
        assert bound["value"] == pytest.approx(bound["expected"], rel=0.3)
        assert not bound["breach"]


@pytest.mark.usefixtures("known")
def test_associations_are_of_the_next_step_alone(raw: Any) -> None:
    raw["models"]["next_step"]["heads"] = {"later_item": {"associations": True}}
    with pytest.raises(UsageError, match=r"heads\.later_item\.associations: .* very next step"):
        check(raw)


def test_a_head_that_nobody_knows_names_the_nearest(raw: Any) -> None:
    raw["models"]["next_step"]["heads"] = {"returning": {}, "next_itm": {}}
    with pytest.raises(UsageError, match=r"heads\.next_itm: unknown key; did you mean 'next_item'"):
        check(raw)
    with pytest.raises(UsageError, match=r"no head is called 'next_itm'.* did you mean 'next_item'"):
        heads.named("next_itm")


@pytest.mark.usefixtures("known")
def test_a_head_cannot_be_called_as_a_part_of_a_network(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(heads.HEADS, "encoder", replace(RETURNING, name="encoder"))
    with pytest.raises(UsageError, match="no head can be called 'encoder'"):
        shipped(root, tmp_path, {"encoder": {}})
