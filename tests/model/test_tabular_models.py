"""Models of hand-made features, of each kind: from a packed store to served answers, by the same verbs as networks."""

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
import yaml
from pyarrow import parquet
from watched_shop import MODEL, call, crown

from clickflow import features
from clickflow.artefact import asking, export
from clickflow.artefact.artefact import Artefact, load
from clickflow.artefact.windows import last, questions
from clickflow.evaluation import evaluate, headline, overall, report, vocabularies
from clickflow.events.contract import EVENT_TYPES
from clickflow.models import estimators
from clickflow.online import visits
from clickflow.online.served import Served
from clickflow.online.why import words
from clickflow.online.why.explain import explain
from clickflow.params.file import check
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import open_split, read_card
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import read_json, sha256_folder
from clickflow.system.paths import Paths
from clickflow.training import questions as questions_of
from clickflow.training import stage, tabular
from undrawn import undraw

KINDS = ("boosting", "logistic", "blend")
HEADS = ("next_action", "purchase")


@dataclass(frozen=True)
class Shop:
    """A workspace in which a model of a kind was trained, exported, evaluated, gated, and made champion."""

    paths: Paths
    kind: str
    decision: dict[str, Any]

    @property
    def artefact(self) -> Artefact:
        return load(self.paths.exported(MODEL))

    @property
    def metrics(self) -> dict[str, Any]:
        return dict(read_json(self.paths.measured(MODEL)))


def params_of(root: Path, kind: str, **model: Any) -> dict[str, Any]:
    """params.yaml with a model of that kind in the place of the network."""
    raw: dict[str, Any] = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    heads: dict[str, Any] = {name: {} for name in HEADS}
    raw["models"][MODEL] = {"unit": "session", "kind": kind, "heads": heads, **model}
    raw["evaluation"] |= {"bootstrap": 50, "baselines": {name: ["majority", "markov"] for name in HEADS}}
    raw["gate"] |= {
        "primary": {"next_action": "log_loss"},
        "max_calibration_error": 1.0,
        "max_latency_ms": 5000,
        "min_slice": 9000,
    }
    raw["gate"]["beat_baselines"] = {f"{name}.log_loss": "warn" for name in HEADS}
    raw["gate"]["floors"] = {"next_action.accuracy": 0.3}
    raw["watch"] = {"min_sequences": 30, "max_metric_drop": {"next_action.accuracy": 0.5}}
    return raw


def prepared(root: Path, folder: Path, kind: str) -> Paths:
    """A workspace with a store, and params of that kind."""
    raw = params_of(root, kind)
    if kind != "logistic":
        raw["models"][MODEL]["boosting"] = {"trees": 4, "leaves": 4}
    paths = Paths(folder)
    paths.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    shutil.copy(root / "dvc.yaml", folder)
    small_models.shop(paths.sequences("session"), test=100)
    return paths


@pytest.fixture(scope="module", params=KINDS)
def shop(request: pytest.FixtureRequest, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    paths = prepared(root, tmp_path_factory.mktemp(request.param), request.param)
    with pytest.MonkeyPatch.context() as patch:
        if request.param != KINDS[0]:
            undraw(patch)
        patch.chdir(paths.root)
        patch.setenv("CLICKFLOW_HOME", str(paths.root / "home"))
        params = check(yaml.safe_load(paths.params.read_text(encoding="utf-8")))
        stage.run(params, paths, MODEL)
        export.run(params, paths, MODEL)
        for verb in ("evaluate", "gate"):
            call(verb, MODEL, as_json=False)
        crown(paths)
    return Shop(paths, request.param, read_json(paths.gate(MODEL) / "decision.json"))


@pytest.fixture
def here(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(shop.paths.root)
    monkeypatch.setenv("CLICKFLOW_HOME", str(shop.paths.root / "home"))
    return shop


def test_it_is_judged_as_every_model_is(shop: Shop) -> None:
    metrics = read_json(shop.paths.measured(MODEL))
    assert set(metrics["next_action"]) == {"candidate", "champion", "majority", "markov"}
    for head in HEADS:
        assert metrics[head]["candidate"]["log_loss"]["value"] < metrics[head]["majority"]["log_loss"]["value"] + 0.05
    assert metrics["artefact"]["parity"] <= 1e-4
    assert shop.decision["decision"] == "promote"
    report = (shop.paths.evaluation(MODEL) / "report.html").read_text(encoding="utf-8")
    assert shop.kind in report
    assert f"{len(shop.artefact.features)} hand-made features" in report


def test_one_and_all_are_answered_alike(here: Shop, tmp_path: Path) -> None:
    (latest, *_) = call("score", MODEL, "--limit", "2")["sessions"]
    assert sum(latest["next_actions"].values()) == pytest.approx(1, abs=1e-5)
    card = call("score", MODEL, "--all", "--out", str(tmp_path / "out"))
    assert card["sessions"] == 440
    assert set(card["rows"]) == {"actions.parquet", "purchase.parquet"}
    rows = parquet.read_table(tmp_path / "out/actions.parquet").to_pylist()
    (row,) = [row for row in rows if row["session_id"] == latest["session"]]
    assert {name: row[name] for name in latest["next_actions"]} == pytest.approx(latest["next_actions"], abs=1e-5)


def test_what_each_feature_adds_sums_to_the_answer(shop: Shop) -> None:
    served = Served.of(MODEL, 1, shop.paths.exported(MODEL))
    for sequence in range(3):
        question = visits.question(shop.paths.sequences("session"), "test", sequence)
        explanation = explain(served, question, "purchase")
        assert explanation.contributions
        total = sum(each.effect for each in explanation.contributions.features)
        assert total == pytest.approx(np.log(explanation.answer) - np.log(explanation.contributions.typical), abs=1e-4)
        table = {each.feature: each for each in explanation.contributions.features}
        assert "steps" not in table or table["steps"].value == len(question.steps)
        assert not any("{" in line for line in words.sentences(explanation, "zh"))


@pytest.mark.parametrize("shop", ["boosting"], indirect=True)
def test_what_the_features_weigh_on_the_whole(shop: Shop) -> None:
    params = check(yaml.safe_load(shop.paths.params.read_text(encoding="utf-8")))
    artefact, store = shop.artefact, shop.paths.sequences("session")
    whole = evaluate.evaluate(artefact, store, params.evaluation, params.seed).overall
    assert whole is not None
    assert not whole.alike
    assert set(whole.weights) == set(HEADS)
    for head, own in whole.weights.items():
        assert own.read == len(artefact.features)
        assert len(own.heaviest) == min(overall.SHOWN, own.read)
        assert own.value == pytest.approx(shop.metrics[head]["candidate"]["log_loss"]["value"], rel=0.3)
        assert own.heaviest[0].rise > 0, head
        assert own.heaviest[0].rise > own.heaviest[0].error, head
    page = (shop.paths.evaluation(MODEL) / "report.html").read_text(encoding="utf-8")
    assert all(each.name in page.split('id="overall"')[1] for own in whole.weights.values() for each in own.heaviest)


@pytest.mark.parametrize("shop", ["blend"], indirect=True)
def test_it_is_watched(here: Shop) -> None:
    watched = call("watch", MODEL, "--as-of", "1970-01-11T00:00:00Z")["models"][MODEL]
    (bound,) = [bound for bound in watched["windows"][-1]["bounds"] if bound["kind"] == "metric"]
    assert bound["name"] == "next_action.accuracy"
    assert bound["value"] == pytest.approx(bound["expected"], rel=0.3)


def test_the_future_changes_no_answer(shop: Shop) -> None:
    store, artefact = shop.paths.sequences("session"), shop.artefact
    card, split = read_card(store), open_split(store, "test")
    translation = vocabularies.translation(store, card, artefact)
    positions = questions(split.offsets, np.arange(20), artefact.max_length)
    whole = asking.answers(artefact, split, positions, np.arange(len(positions)), translation)["next_action"]
    draw = np.random.default_rng(0)
    for k in draw.choice(len(positions), 12, replace=False):
        end = int(positions.event[k]) + 1
        later = {name: np.array(values) for name, values in split.columns.items()}
        for values in later.values():
            draw.shuffle(values[end:])
        other = asking.answers(artefact, split.with_columns(**later), positions, np.array([k]), translation)[
            "next_action"
        ]
        np.testing.assert_allclose(other[0], whole[k], atol=1e-6)


@pytest.mark.parametrize("shop", ["blend"], indirect=True)
def test_the_same_again_is_the_same_bytes(shop: Shop, tmp_path: Path) -> None:
    params = check(yaml.safe_load(shop.paths.params.read_text(encoding="utf-8")))
    again = Paths(tmp_path)
    shutil.copytree(shop.paths.sequences("session"), again.sequences("session"))
    stage.run(params, again, MODEL)
    assert sha256_folder(again.trained(MODEL)) == sha256_folder(shop.paths.trained(MODEL))
    export.run(params, again, MODEL)
    assert load(again.exported(MODEL)).card["model_sha256"] == shop.artefact.card["model_sha256"]


@pytest.mark.parametrize("shop", ["blend"], indirect=True)
def test_a_feature_that_is_no_more_is_refused_by_name(shop: Shop) -> None:
    store = shop.paths.sequences("session")
    card, split = read_card(store), open_split(store, "test")
    old = replace(shop.artefact, card={**shop.artefact.card, "features": ["moon_phase", *shop.artefact.features[1:]]})
    positions = questions(split.offsets, [0], 8)
    with pytest.raises(DataError, match="does not compute: moon_phase"):
        asking.answers(old, split, positions, np.array([0]), vocabularies.translation(store, card, shop.artefact))


def test_features_can_be_chosen_and_are_asked_by_name(root: Path, tmp_path: Path) -> None:
    paths = prepared(root, tmp_path, "logistic")
    chosen = list(reversed(features.names("session")[:2]))
    params = check(params_of(root, "logistic", features=chosen, max_questions=500))
    stage.run(params, paths, MODEL)
    export.run(params, paths, MODEL)
    artefact = load(paths.exported(MODEL))
    assert list(artefact.features) == artefact.card["spec"]["features"] == chosen
    assert read_json(paths.trained(MODEL) / "model.json")["questions"]["train"] == 500
    with pytest.raises(DataError, match=r"reads features \[N, 2\]; given: \[4, 3\]"):
        artefact.scores({}, features=np.zeros((4, 3), np.float32))


def test_of_many_questions_some_are_drawn_over_the_whole_part(root: Path, tmp_path: Path) -> None:
    paths = prepared(root, tmp_path, "logistic")
    spec = check(params_of(root, "logistic", max_questions=200)).model(MODEL)
    split = open_split(paths.sequences("session"), "train")
    nobody = np.arange(split.n_sequences)
    drawn = questions_of.drawn(split, spec, 0, nobody)
    event = drawn.spans.end - 1
    assert (len(event), drawn.of) == (200, split.n_events)
    assert (np.diff(event) > 0).all()
    assert event.max() > 0.9 * split.n_events
    assert not np.array_equal(event, questions_of.drawn(split, spec, 1, nobody).spans.end - 1)


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ({"encoder": {"units": 12}}, r"encoder: is a param of kind network; this model is of kind boosting"),
        ({"budget": {"epochs": 3}}, r"budget: is a param of kind network"),
        ({"logistic": {"l2": 0.5}}, r"logistic: is a param of kind logistic and blend"),
        ({"features": ["stepz"]}, r"features: the unit session has no feature 'stepz'"),
        ({"features": []}, r"features: there is none"),
        ({"heads": {"next_item": {}}}, r"kind boosting gives no answer of kind ranking; kind network or counts does"),
        ({"heads": {"next_action": {"weight": 2}}}, r"weight: weighs losses against each other"),
    ],
)
def test_params_that_a_kind_does_not_read_are_faults(root: Path, model: Mapping[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        check(params_of(root, "boosting", **model))


def test_a_network_has_no_trees(root: Path) -> None:
    with pytest.raises(UsageError, match="boosting: is a param of kind boosting and blend; this model is of kind netw"):
        check(params_of(root, "network", boosting={"trees": 5}))


def histories(people: int, seed: int, cut_offs: Sequence[int]) -> dict[str, Any]:
    """Purchases of people who buy at rates of their own, as of some days, with the 30 days after each."""
    draw, day = np.random.default_rng(seed), 86_400_000_000
    columns: dict[str, list[Any]] = {name: [] for name in ("offsets", "time", "begin", "end", "until", "cut_off")}
    columns["offsets"].append(0)
    for rate in draw.gamma(1.0, 0.05, people):
        days = np.sort(draw.uniform(0, 200, 1 + draw.poisson(rate * 200)))
        start, times = columns["offsets"][-1], (days * day).astype(np.int64)
        for cut_off in cut_offs:
            end, until = np.searchsorted(days, [cut_off, cut_off + 30])
            if end:
                columns["begin"].append(start)
                columns["end"].append(start + end)
                columns["until"].append(start + until)
                columns["cut_off"].append(cut_off * day)
        columns["offsets"].append(start + len(days))
        columns["time"] += times.tolist()
    arrays: dict[str, Any] = {name: np.array(values, np.int64) for name, values in columns.items()}
    n = len(arrays["time"])
    item, price = draw.integers(2, 12, n).astype(np.int32), draw.uniform(5, 50, n).astype(np.float32)
    return arrays | {"item": item, "price": price, "action": np.full(n, EVENT_TYPES.index("purchase"), np.uint8)}


@pytest.mark.usefixtures("figures_rendered")
def test_customers_are_asked_as_of_a_cut_off(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = params_of(root, "blend", unit="customer", heads={"churn": {}, "spend": {}}, boosting={"trees": 8})
    raw["units"], raw["gate"]["primary"] = ["customer"], {"churn": "log_loss"}
    raw["evaluation"] = {"bootstrap": 50, "costs": {"churn": {"act_on": "yes", "value": 60, "response": 0.25}}}
    raw["gate"]["floors"], raw["gate"]["beat_baselines"], raw["watch"] = {}, {}, {}
    raw["simulator"]["days"] = 200
    paths = Paths(tmp_path)
    paths.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    shutil.copy(root / "dvc.yaml", tmp_path)
    store = paths.sequences("customer")
    splits = {"train": histories(200, 0, (60, 75, 90)), "valid": histories(60, 1, (120,))}
    write_store(store, splits | {"test": histories(150, 2, (150,))}, known=12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    for verb in ("train", "export", "evaluate", "gate"):
        call(verb, MODEL, as_json=False)
    artefact, metrics = load(paths.exported(MODEL)), read_json(paths.measured(MODEL))
    assert (artefact.unit, artefact.features) == ("customer", features.names("customer"))
    assert metrics["churn"]["candidate"]["log_loss"]["value"] < metrics["churn"]["majority"]["log_loss"]["value"]
    assert metrics["spend"]["candidate"]["pinball"]["value"] < metrics["spend"]["mean"]["pinball"]["value"]
    assert metrics["money"]["churn"]["best_baseline_on"] == "valid"
    assert report.console_table(metrics).title.startswith(f"{MODEL}: {metrics['positions']} questions")
    assert metrics["same_days"] == dict.fromkeys(("churn", "spend"), 579)
    few = "Churn, Spend learned from 579 answers, too few to be tried on other days than those: how right the model"
    assert metrics["summary"].count("too few to be tried on other days") == 1
    assert few in (paths.evaluation(MODEL) / "report.html").read_text(encoding="utf-8")
    split, card = open_split(store, "test"), read_card(store)
    positions = last(split, np.arange(split.n_sequences), artefact.max_length)
    translation, every = vocabularies.translation(store, card, artefact), np.arange(len(positions))
    whole = asking.answers(artefact, split, positions, every, translation)
    assert (np.diff(whole["spend"][:, 1:], axis=1) >= 0).all()
    later = np.array(split.price)
    after = np.concatenate([np.arange(a, b) for a, b in zip(split.end, split.until, strict=True)])
    later[after] *= 100
    other = asking.answers(artefact, split.with_columns(price=later), positions, every, translation)
    for head, values in whole.items():
        np.testing.assert_array_equal(values, other[head])


HALF: dict[str, Any] = {"blend": {"half_horizon": True}}


def customers(folder: Path, **changed: Any) -> Path:
    """A store of customers who are asked about 30 days."""
    splits = {"train": histories(300, 0, (60, 75, 90)) | changed, "valid": histories(100, 1, (120,))}
    settings = {"horizon_days": 30, "active_days": 100}
    write_store(folder / "customer", splits, known=12, settings=settings)
    return folder / "customer"


def test_halves_of_an_answer_are_asked_about_as_of_its_begin_and_its_middle(root: Path, tmp_path: Path) -> None:
    day, raw = 86_400_000_000, params_of(root, "blend", unit="customer", heads={"churn": {}, "spend": {}}, **HALF)
    spec, names = check(raw).model(MODEL), features.names("customer")
    store = customers(tmp_path)
    split, card = open_split(store, "train"), read_card(store)
    whole = questions_of.drawn(split, spec, 0, np.arange(split.n_sequences))
    assert questions_of.half_of(spec, card, names, [whole]) == 15
    early = replace(whole, spans=replace(whole.spans, now=whole.spans.now + 90 * day))
    assert questions_of.half_of(spec, card, names, [whole, early]) == 0, "a log of six horizons has answers enough"
    first, second = questions_of.halves(whole, 15, card)
    assert 0.8 * len(whole.spans) < len(second.spans) < len(whole.spans), "who did not buy for 100 days is left out"
    assert set(second.spans.now) == {(at + 15) * day for at in (60, 75, 90)}
    for each in (first, second):
        columns = (each.spans.begin, each.spans.end, each.until, each.spans.now)
        for begin, end, until, now in zip(*columns, strict=True):
            assert (split.time[begin:end] < now).all() and split.time[end - 1] >= now - 115 * day
            assert ((split.time[end:until] >= now) & (split.time[end:until] < now + 15 * day)).all()
    value = [rows.targets("spend", card).sum() for rows in (whole, first, second)]
    assert value[0] == pytest.approx(value[1] + value[2], rel=0.05), "but for those who are left out"
    assert (second.targets("churn", card) == (second.until == second.spans.end)).all()


def test_what_comes_after_the_middle_of_an_answer_changes_no_feature_of_it(root: Path, tmp_path: Path) -> None:
    store, names, draw = customers(tmp_path), features.names("customer"), np.random.default_rng(0)
    split, card = open_split(store, "train"), read_card(store)
    spec = check(params_of(root, "blend", unit="customer", heads={"churn": {}})).model(MODEL)
    _, half = questions_of.halves(questions_of.drawn(split, spec, 0, np.arange(split.n_sequences)), 15, card)
    whole = tabular.table(half, "customer", card, names, lambda _: None)
    for row in draw.choice(len(half.spans), 12, replace=False):
        end, until = half.spans.end[row], half.until[row]
        later = {name: np.array(values) for name, values in split.columns.items()}
        later["time"][end:] += 86_400_000_000
        later["price"][end:until] *= 100
        other = replace(half, split=split.with_columns(**later))
        np.testing.assert_array_equal(tabular.table(other, "customer", card, names, lambda _: None)[row], whole[row])


@pytest.mark.parametrize(
    ("model", "both"),
    [
        ({"blend": {"half_horizon": True}}, True),
        ({}, False),
        ({"blend": {"half_horizon": True}, "features": ["recency_days", "purchases", "amount", "tenure_days"]}, False),
    ],
)
def test_answers_of_half_the_horizon_join_where_they_are_asked_for(
    root: Path, tmp_path: Path, model: dict[str, Any], both: bool
) -> None:
    raw = params_of(root, "blend", unit="customer", heads={"churn": {}}, boosting={"trees": 4}, **model)
    trained = tabular.train(MODEL, check(raw).model(MODEL), customers(tmp_path), 0)
    churn = trained.model.heads["churn"]
    assert (churn.nearer is not None) == both
    assert trained.questions["train"] > trained.questions["valid"] > 0
    if churn.nearer:
        assert churn.nearer.lifetime and churn.nearer.further
        assert (churn.nearer.lifetime.horizon, churn.nearer.further.days) == (15, 30)


def test_a_person_is_in_one_fold_whichever_part_asks(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "customer"
    same = histories(40, 0, (60, 75))
    write_store(store, {"train": same, "valid": same}, known=12)
    given: dict[str, Any] = {}

    def fit(*_: Any, **settings: Any) -> None:
        given.update(settings)
        raise InterruptedError

    monkeypatch.setattr(estimators, "fit", fit)
    raw = params_of(root, "logistic", unit="customer", heads={"churn": {}})
    with pytest.raises(InterruptedError):
        tabular.train(MODEL, check(raw).model(MODEL), store, 0)
    train, valid = np.split(given["groups"], 2)
    np.testing.assert_array_equal(train, valid)
    assert 1 < len(np.unique(train)) <= 40 < len(train)


def test_the_params_of_the_how_to_are_params(root: Path) -> None:
    page = (root / "docs/howto/choose-a-model.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 3
    for block in map(yaml.safe_load, blocks):
        raw = params_of(root, "logistic")
        if "units" in block:  # nothing of visits is left
            raw |= {"evaluation": {}, "watch": {}}
        for section, chosen in block.items():
            merged = isinstance(chosen, dict) and "units" not in block
            raw[section] = raw[section] | chosen if merged else chosen
        check(raw)


def test_the_report_names_the_kind_that_answers_better() -> None:
    losses = {"candidate": 0.4, "boosting": 0.38, "logistic": 0.39, "majority": 0.5}
    measured = {name: {"log_loss": {"value": value}} for name, value in losses.items()}
    content = {"artefact": {"kind": "network"}, "purchase": measured}
    (line,) = headline.warnings(content)
    assert line.startswith("purchase: boosting on hand-made features answers better than this network model, log_loss")
    assert headline.warnings(content | {"artefact": {"kind": "boosting"}})[0].startswith("purchase: logistic")
    measured["candidate"]["log_loss"]["value"] = 0.37
    assert headline.warnings(content) == []
    errors = {
        name: {"weighted_quantile_loss": {"value": each}} for name, each in (("candidate", 0.4), ("boosting", 0.3))
    }
    assert headline.warnings({"artefact": {"kind": "forecast"}, "demand": errors}) == [], "none is a kind of forecast"


def test_the_sentence_says_what_is_ranked() -> None:
    of = {"candidate": {"recall@20": {"value": 0.17}}}
    for head, says in (("next_item", "Of 100 next clicks"), ("propensity", "Of 100 items bought")):
        assert headline.sentence({head: of}).startswith(f"{says}, the model has 17 among its 20 suggestions")
