"""A model of series by the same graph as any other: trained, exported, judged, promoted, scored, watched."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from pyarrow import parquet
from typer.testing import CliRunner

import mlflow_database
from clickflow import cli
from clickflow.artefact.artefact import load
from clickflow.evaluation import held_out, measure
from clickflow.evaluation.answers import forecast
from clickflow.forecasting import forecaster, scores
from clickflow.gate import stage
from clickflow.heads import HEADS
from clickflow.params.evaluation import Evaluation
from clickflow.params.file import check
from clickflow.params.file import load as load_params
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.plan import Plan
from clickflow.sequences.store import open_split, read_card
from clickflow.serving import batch
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import read_json, sha256_folder
from clickflow.system.moments import DAY
from clickflow.system.paths import Paths
from clickflow.training import forecasts
from recorded import lock
from undrawn import rendered

MODEL, HORIZON, SERIES, DAYS = "stock", 5, 16, 75
START = 20_458 * DAY
"""A Monday."""
ORIGINS = {"train": (40, 45, 50), "valid": (55, 60), "test": (65, 70), "now": (75,)}
"""Days known, by part."""


def units() -> np.ndarray:
    """[s, days] of fast and slow sellers with a week; the last begins late, and sells like the others of its kind."""
    draw = np.random.default_rng(0)
    level = np.where(np.arange(SERIES) % 2, 0.4, 9.0)
    week = np.array([1, 1, 1, 1, 1.5, 2, 0.6])[np.arange(DAYS) % 7]
    sold: np.ndarray = draw.poisson(level[:, None] * week).astype(np.float32)
    sold[:, 0] = 1
    return sold


def test_progress_counts_an_origin_once_for_each_baseline() -> None:
    questions = held_out.Question(HEADS["demand"], np.repeat(np.arange(3), 28), np.zeros(84, np.int64), ahead=28)
    test: Any = SimpleNamespace(questions=range(3), question=lambda _: questions)
    candidate: Any = SimpleNamespace(outputs=("demand",))
    assert measure.work(test, candidate, Evaluation(), 1) == 3 * 2 + 3 * len(HEADS["demand"].baselines)


def arrays(part: str, values: np.ndarray) -> dict[str, Any]:
    """A part of the store: each series up to the last answer that is asked of it."""
    horizon = 0 if part == "now" else HORIZON
    ends = min(max(ORIGINS[part]) + horizon, DAYS)
    begins = np.zeros(SERIES, np.int64)
    begins[-2:] = 52 if part in ("test", "now") else 0
    lengths = ends - begins
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    day = np.concatenate([np.arange(first, ends) for first in begins])
    owner = np.repeat(np.arange(SERIES), lengths)
    origin = np.repeat(ORIGINS[part], SERIES)
    of = np.tile(np.arange(SERIES), len(ORIGINS[part]))
    end = offsets[of] + origin - begins[of]
    sold = values[owner, day]
    return {
        "offsets": offsets,
        "item": (owner + 2).astype(np.int32),
        "category": (owner % 2 + 2).astype(np.int32),
        "action": (sold > 0).astype(np.uint8),
        "time": START + day * DAY,
        "quantity": sold,
        "price": np.full(len(day), 3.0, np.float32),
        "begin": offsets[of],
        "end": end,
        "until": end + horizon,
        "cut_off": START + origin * DAY,
    }


def store(folder: Path, values: np.ndarray | None = None, plan: Plan | None = None) -> None:
    held = units() if values is None else values
    parts = {part: arrays(part, held) for part in ORIGINS}
    settings = {"step": "day", "horizon": HORIZON, "horizon_days": HORIZON}
    write_store(folder, parts, settings=settings, plan=plan)


def call(*arguments: str, as_json: bool = True) -> Any:
    """`clickflow …` in this process; its fault is raised."""
    result = CliRunner().invoke(cli.app, [*arguments, *(["--json"] if as_json else [])])
    if result.exception:
        raise result.exception
    return json.loads(result.stdout) if as_json else result.stdout


@pytest.fixture(scope="module")
def champion_shop(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A shop of series alone, whose model is champion."""
    folder = tmp_path_factory.mktemp("series")
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw["units"], raw["champion"] = ["series"], {MODEL: 0}
    raw["sequences"] = {"series": {"horizon": HORIZON}}
    raw["models"] = {MODEL: {"unit": "series", "kind": "forecast", "heads": {"demand": {}, "trend": {}}}}
    raw["evaluation"] = {"bootstrap": 50, "baselines": {"demand": ["seasonal_naive", "boosting"]}}
    raw["gate"] = {
        "max_latency_ms": 60_000,
        "max_calibration_error": 1.0,
        "beat_baselines": {"trend.log_loss": "warn", "demand.weighted_quantile_loss": "warn"},
    }
    raw["watch"] = {"min_sequences": 5, "max_metric_drop": {"demand.weighted_quantile_loss": 1.0}}
    paths = Paths(folder)
    paths.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    (folder / "dvc.yaml").write_bytes((root / "dvc.yaml").read_bytes())
    store(paths.sequences("series"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CLICKFLOW_HOME", str(folder / "home"))
        mlflow_database.empty_into(paths.home)
        with rendered():
            for verb in ("train", "export", "evaluate", "gate"):
                call(verb, MODEL, as_json=False)
        lock(paths, MODEL)
        assert call("promote")["models"][0]["champion"] == 1
    return paths


@pytest.fixture
def shop(champion_shop: Paths, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """The shop, in the current folder."""
    monkeypatch.chdir(champion_shop.root)
    monkeypatch.setenv("CLICKFLOW_HOME", str(champion_shop.root / "home"))
    return champion_shop


def test_it_is_measured_by_the_field_s_metrics_on_every_step_ahead(shop: Paths) -> None:
    table = parquet.read_table(shop.evaluation(MODEL) / "demand.parquet").to_pandas()
    assert len(table) == SERIES * len(ORIGINS["test"]) * HORIZON
    assert table["step"].tolist() == list(range(1, HORIZON + 1)) * (SERIES * 2)
    held, wide = units(), table["target"].to_numpy().reshape(2, SERIES, HORIZON)
    for number, origin in enumerate(ORIGINS["test"]):
        np.testing.assert_array_equal(wide[number], held[:, origin : origin + HORIZON])
    columns = [f"{part}_candidate" for part in forecast.PARTS]
    own, content = table[columns].to_numpy(), read_json(shop.measured(MODEL))
    summary = scores.summary(
        table["target"].to_numpy().reshape(-1, HORIZON), own[:, :4].reshape(-1, HORIZON, 4), own[::HORIZON, 4]
    )
    for name in forecast.NAMES:
        assert content["demand"]["candidate"][name]["value"] == pytest.approx(summary[name], abs=1e-5)
    assert set(table["pace"]) == {"fast", "intermittent", "new"}
    assert {"seasonal_naive", "boosting"} <= set(content["demand"])
    assert content["resampled"]["customers"] == SERIES
    assert content["trend"]["candidate"]["log_loss"]["value"] < 1
    assert (shop.evaluation(MODEL) / "figures/demand_bands.png").is_file()
    rules = {rule["rule"]: rule["verdict"] for rule in read_json(shop.gate(MODEL) / "decision.json")["rules"]}
    # sixteen series are too few to show that one system is better than another
    assert {name.split()[0] for name, verdict in rules.items() if verdict == "not_judged"} == {"beats"}
    assert "failed" not in rules.values()


@pytest.mark.parametrize(
    ("primary", "expected"), [("demand.weighted_quantile_loss", "warn"), ("trend.log_loss", "hold")]
)
def test_a_forecast_does_not_wait_for_the_calibration_of_its_trend(shop: Paths, primary: str, expected: str) -> None:
    params = load_params(shop.params)
    params = replace(params, gate=replace(params.gate, max_calibration_error=0.0, primary=primary))
    params = replace(params, champion={MODEL: 0})
    rules = {rule["rule"]: rule for rule in stage.judge(params, shop, MODEL, lambda *_: 1)["rules"]}
    calibration = rules["calibration of trend"]
    assert (calibration["verdict"], calibration["severity"]) == ("failed", expected)


def test_what_ships_is_the_file_that_was_trained_and_no_other_is_loaded(shop: Paths, tmp_path: Path) -> None:
    exported, trained = shop.exported(MODEL), shop.trained(MODEL)
    assert (exported / "forecast.json").read_bytes() == (trained / "forecast.json").read_bytes()
    assert read_json(exported / "card.json")["parity"] == 0
    again = forecaster.loads((exported / "forecast.json").read_bytes())
    assert again.dumps() == (exported / "forecast.json").read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    for file in exported.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    text = (other / "forecast.json").read_text()
    (other / "forecast.json").write_text(text.replace('"horizon": 5', '"horizon": 6'))
    with pytest.raises(DataError, match=r"forecast\.json is not the file that its card describes"):
        load(other)
    card = read_json(other / "card.json")
    (other / "card.json").write_text(json.dumps(card | {"file": "../forecast.json"}))
    with pytest.raises(DataError, match="names the file"):
        load(other)


def test_the_same_again_is_the_same_bytes(shop: Paths) -> None:
    before = sha256_folder(shop.trained(MODEL))
    call("train", MODEL, as_json=False)
    assert sha256_folder(shop.trained(MODEL)) == before


def test_a_trial_learns_from_the_training_part_and_is_judged_on_the_valid_part(shop: Paths) -> None:
    params, folder = load_params(shop.params), shop.sequences("series")
    trained = forecasts.train(params.model(MODEL), folder, read_card(folder), 0, final=False)
    assert trained.periods == max(ORIGINS["train"]) + HORIZON
    assert 0 < trained.record["valid"]["loss"] < 1


def test_no_answer_knows_what_came_after_its_origin(shop: Paths, tmp_path: Path) -> None:
    values = units()
    values[:, ORIGINS["test"][0] :] = 50
    store(tmp_path / "series", values)
    artefact = load(shop.exported(MODEL))
    first = np.arange(SERIES)
    one, other = (
        load(artefact.folder).session.answers(open_split(folder, "test"), first, ("demand", "trend"))
        for folder in (shop.sequences("series"), tmp_path / "series")
    )
    for name in ("demand", "trend"):
        np.testing.assert_array_equal(one[name], other[name])
    last = load(artefact.folder).session.answers(open_split(tmp_path / "series", "test"), first + SERIES, ["demand"])
    assert not np.array_equal(last["demand"], one["demand"])


def test_a_question_alone_is_answered_as_among_others(shop: Paths) -> None:
    artefact, split = load(shop.exported(MODEL)), open_split(shop.sequences("series"), "test")
    every = artefact.session.answers(split, np.arange(split.n_sequences), ["demand"])["demand"]
    assert every.shape == (2 * SERIES, HORIZON * 4)
    some = load(shop.exported(MODEL)).session.answers(split, np.array([SERIES + 3, 2]), ["demand"])["demand"]
    np.testing.assert_array_equal(some, every[[SERIES + 3, 2]])
    by_step = every.reshape(-1, HORIZON, 4)
    assert (np.diff(by_step[..., 1:], axis=-1) >= 0).all()
    # the slow one that began late is not taken for a fast one
    assert by_step[-1, :, 0].mean() < by_step[-2, :, 0].mean()


@pytest.mark.parametrize("part", ["test", "now"])
def test_an_answer_is_the_same_whichever_series_are_beside_it(shop: Paths, part: str) -> None:
    model = load(shop.exported(MODEL)).session.forecaster
    for known in forecaster.origins(open_split(shop.sequences("series"), part), model.column, model.step):
        every = model.forecast(known)
        for rows in (*np.arange(SERIES)[:, None], np.array([1, 14, 15]), np.arange(SERIES)[::-1]):
            panel = known.panel.rows(rows)
            begin = panel.first.min()  # the calendar of those that are asked about alone
            shorter = replace(
                panel,
                values=panel.values[:, begin:],
                price=None if panel.price is None else panel.price[:, begin:],
                start=panel.dates(np.array([begin]))[0],
            )
            some = forecaster.AsOf(known.sequences[rows], shorter, known.parent[rows])
            np.testing.assert_array_equal(model.forecast(some), every[rows])


def test_partitions_do_not_change_what_is_scored(shop: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("score", MODEL, "--all", "--out", str(tmp_path / "whole"))
    monkeypatch.setattr(batch, "PARTITION", 3)
    call("score", MODEL, "--all", "--out", str(tmp_path / "parts"))
    for name in ("demand.parquet", "trend.parquet"):
        one, other = (parquet.read_table(tmp_path / folder / name) for folder in ("whole", "parts"))
        assert one.equals(other)


def test_everything_is_scored_as_of_the_end_of_the_log(shop: Paths, tmp_path: Path) -> None:
    card = call("score", MODEL, "--all", "--out", str(tmp_path / "out"))
    table = parquet.read_table(tmp_path / "out/demand.parquet").to_pandas()
    assert card["rows"] == {"demand.parquet": SERIES * HORIZON, "trend.parquet": SERIES}
    assert table.columns.tolist()[:3] == ["series", "last_event", "step"]
    assert table.groupby("series")["step"].apply(list).map(lambda steps: steps == [1, 2, 3, 4, 5]).all()
    printed = call("score", MODEL, "--limit", "2")
    answer = printed["series"][-1]
    assert answer["user"] in set(table["series"])
    assert [each["step"] for each in answer["demand"]] == [1, 2, 3, 4, 5]
    own = table[table["series"] == answer["user"]].sort_values("step")
    np.testing.assert_allclose([each["expected"] for each in answer["demand"]], own["expected"], atol=1e-3)
    assert "in 5 steps" in call("score", MODEL, "--limit", "2", as_json=False)
    with pytest.raises(UsageError, match="answer about series, not about a user"):
        call("score", MODEL, "--user", "somebody")


def test_it_is_watched_and_its_state_is_told(shop: Paths) -> None:
    result = call("watch")
    assert result["models"][MODEL]["version"] == 1
    assert MODEL in call("status")["models"]


def test_what_cannot_be_is_said_before_anything_runs(root: Path) -> None:
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw["units"] = ["session", "customer", "series"]
    raw["models"]["odd"] = {"unit": "customer", "kind": "forecast", "heads": {"churn": {}}}
    raw["models"]["net"] = {"unit": "series", "kind": "network", "heads": {"demand": {}}}
    raw["champion"] |= {"odd": 0, "net": 0}
    with pytest.raises(UsageError) as raised:
        check(raw)
    assert "churn is nothing of the kind" in str(raised.value)
    assert "kind network gives no answer of kind forecast; kind forecast does" in str(raised.value)


def test_a_model_of_days_is_not_asked_about_weeks(shop: Paths) -> None:
    split = open_split(shop.sequences("series"), "test")
    with pytest.raises(DataError, match="the model forecasts days, and the store holds weeks"):
        load(shop.exported(MODEL)).session.answers(split, np.arange(2), ["demand"], step="week")


def test_probabilities_that_are_too_sure_are_put_right() -> None:
    draw = np.random.default_rng(0)
    odds = draw.normal(size=4000)
    came = (draw.random(4000) < 1 / (1 + np.exp(-(0.4 + odds)))).astype(np.int64)
    shift, slope = forecaster.calibrate(1 / (1 + np.exp(-4 * odds)), came)
    assert shift == pytest.approx(0.4, abs=0.1)
    assert slope == pytest.approx(0.25, abs=0.03)
    assert forecaster.calibrate(np.array([0.9]), np.array([1]))[1] == pytest.approx(1, abs=0.1)


def test_the_loss_is_over_what_was_sold_and_a_quantile_above_all_is_dear() -> None:
    target = np.array([0.0, 4.0, 8.0])
    right = np.stack([target] * 4 + [np.ones(3)], 1)
    assert forecast.values("weighted_quantile_loss", right, target).mean() == 0
    wide = replace_column(right, 3, 100.0)
    assert forecast.values("weighted_quantile_loss", wide, target).mean() == pytest.approx(
        2 * 0.1 * (300 - 12) / 3 / 12, rel=1e-6
    )
    assert forecast.measures(right, target)["coverage_80"] == 1


def replace_column(values: np.ndarray, column: int, value: float) -> np.ndarray:
    changed = values.copy()
    changed[:, column] = value
    return changed


@pytest.mark.parametrize(("row", "begin"), [(3, 0), (14, 52)], ids=["old", "young"])
def test_it_answers_over_http_about_the_days_that_a_client_sends(shop: Paths, row: int, begin: int) -> None:
    from clickflow.online.engine import Engine
    from clickflow.online.history import Question, Step
    from clickflow.online.http.app import app
    from clickflow.online.http.settings import Settings
    from clickflow.online.served import Served
    from clickflow.online.state import Memory

    engine = Engine({MODEL: Served.of(MODEL, 1, shop.exported(MODEL))})
    application = app(engine, Memory(subjects=9, steps=9, keep_seconds=9), Settings(pseudonym=lambda _, raw: raw))
    split, origin, served = open_split(shop.sequences("series"), "test"), ORIGINS["test"][0], engine.current(MODEL)
    days: list[dict[str, Any]] = [
        {
            "item": str(row + 2),
            "action": served.artefact.card["actions"][int(units()[row, day] > 0)],
            "time": START + day * DAY,
            "quantity": float(units()[row, day]),
            "price": 3,
            "category": served.items.categories[row % 2 + 2],
        }
        for day in range(begin, origin)
    ]
    own = load(shop.exported(MODEL)).session.answers(split, np.array([row]), ["demand"])["demand"]
    alone = Question(tuple(Step(**day) for day in days), None)
    other = Question(tuple(Step(**day | {"item": "3", "quantity": 90.0}) for day in days[5:-2]), None)
    for questions in ([alone], [other, alone]):
        np.testing.assert_array_equal(served.answers(questions)["demand"][-1:], own)

    async def ask(history: list[dict[str, Any]], now: int | None = START + origin * DAY) -> Any:
        body = {"history": history} | ({} if now is None else {"now": now})
        async with httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://127.0.0.1") as client:
            return (await client.post("/v1/predict", json=body)).json()

    answer = asyncio.run(ask(days))
    assert "unplanned" not in answer
    answers = answer["answers"]
    assert answers["demand"]["kind"] == "forecast"
    quantiles = ("expected", "quantile_10", "quantile_50", "quantile_90")
    amounts = np.array([[step[name] for name in quantiles] for step in answers["demand"]["steps"]])
    np.testing.assert_allclose(amounts, own.reshape(HORIZON, 4), rtol=0, atol=6e-5)  # told to four places
    assert asyncio.run(ask(days, None))["answers"] == answers
    assert 0 <= answers["trend"]["probability"] <= 1
    assert asyncio.run(ask([]))["fallback"] == "no_history"
    without = [{name: value for name, value in day.items() if name != "price"} for day in days]
    for wrong, word in ((days[:9] + days[10:], "none left out"), ([{"item": "5"}] * 3, "series"), (without, "prices")):
        problem = asyncio.run(ask(wrong))
        assert (problem["status"], problem["where"]) == (422, "$.history")
        assert word in problem["detail"]


def test_the_outlook_is_the_champion_s_as_of_the_end_of_the_log(shop: Paths) -> None:
    from clickflow.online import outlook
    from clickflow.online.served import Served

    served = Served.of(MODEL, 1, shop.exported(MODEL))
    assert outlook.sources(shop, [served]) == [MODEL]
    content = outlook.forecasts(shop, [served], "")
    assert (content["source"], content["model"], content["version"], content["count"]) == (MODEL, MODEL, 1, SERIES)
    assert content["horizon"] == HORIZON
    split = open_split(shop.sequences("series"), "now")
    rows = {str(int(split.item[int(split.end[row]) - 1])): row for row in range(SERIES)}
    own = load(shop.exported(MODEL)).session.answers(split, np.arange(SERIES), ["demand", "trend"])
    sums = [each["expected"] for each in content["series"]]
    assert sums == sorted(sums, reverse=True)
    for each in content["series"]:
        row = rows[each["id"]]
        amounts = [[period[name] for name in outlook.AMOUNTS] for period in each["periods"]]
        np.testing.assert_allclose(amounts, own["demand"][row].reshape(HORIZON, 4), rtol=0, atol=6e-3)  # to two places
        assert each["says"]["trend"] == pytest.approx(np.exp(own["trend"][row][1]), abs=1e-3)
        sold = [day["units"] for day in each["sold"]]
        assert sold == units()[int(each["id"]) - 2, -outlook.PAST * HORIZON :].tolist()
        days = [np.datetime64(each["sold"][-1]["period"]) + 1, np.datetime64(each["periods"][0]["period"])]
        assert days[0] == days[1], "the forecast begins the day after the last that was sold"
    assert {each["id"] for each in outlook.forecasts(shop, [served], "1")["series"]} == {n for n in rows if "1" in n}
    assert outlook.forecasts(shop, [served], "none such")["series"] == []
    assert outlook.forecasts(shop, [], "") == {"missing": True}
    assert content["coverage"] == read_json(shop.metrics(MODEL))["demand.coverage_80"], "as the ledger has it"
    assert outlook.forecasts(shop, [replace(served, version=9)], "")["coverage"] is None
