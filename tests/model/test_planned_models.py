"""A model of the graph under a plan: it learns what the plan did, forecasts the days ahead by it, and reads nothing of
what was sold on them; a model or a store without one is what it was.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from http_app import client
from msgspec import structs
from numpy.typing import NDArray
from pyarrow import parquet
from test_series_models import DAYS, HORIZON, MODEL, ORIGINS, SERIES, START, call, store
from typer.testing import CliRunner

import mlflow_database
from clickflow import cli
from clickflow.artefact.artefact import load
from clickflow.artefact.series import Forecasting
from clickflow.forecasting import forecaster, scores
from clickflow.forecasting.forecaster import Forecaster
from clickflow.online import outlook, visits
from clickflow.online.served import Served
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.plan import Plan
from clickflow.sequences.store import PackedSplit, open_split
from clickflow.serving import batch, folder
from clickflow.system.files import read_json
from clickflow.system.moments import DAY
from clickflow.system.paths import Paths

Array = NDArray[np.float64]

FIRST, TIMES = START // DAY, 2.5
WIDTH = DAYS + HORIZON


def promotions() -> Array:
    """Of some series on some days, in pairs of days, 0 or 1 [s, days and a horizon]."""
    pairs = np.random.default_rng(1).random((SERIES, (WIDTH + 1) // 2)) < 0.2
    return np.repeat(pairs, 2, 1)[:, :WIDTH].astype(float)


def sold() -> Array:
    """[s, days]: so many times as much in promotions."""
    level = (
        np.where(np.arange(SERIES) % 2, 2.0, 9.0)[:, None] * np.array([1, 1, 1, 1, 1.5, 2, 0.6])[np.arange(DAYS) % 7]
    )
    units = np.random.default_rng(0).poisson(level * TIMES ** promotions()[:, :DAYS])
    units[:, 0] = 1
    own: Array = units.astype(float)
    return own


def by_day(columns: Mapping[str, Array]) -> Plan:
    """A row a series and day, NaN where nothing is said."""
    series, day = (each.ravel() for each in np.indices((SERIES, WIDTH)))
    values = np.stack([each.ravel() for each in columns.values()], 1)
    return Plan(tuple(columns), series + FIRST_ITEM, FIRST + day, FIRST + day + 1, values)


def fitted(folder: Path) -> Forecaster:
    return forecaster.fit(open_split(folder, "valid"), "quantity", "day", HORIZON, 0)


def answers(model: Forecaster, split: PackedSplit) -> Array:
    """Of all sequences of a part [n, h, 4], as an artefact gives them."""
    given = Forecasting(model).answers(split, np.arange(split.n_sequences), ["demand"])["demand"]
    return given.reshape(-1, HORIZON, 4).astype(np.float64)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of the same days `with` a plan and `without`."""
    folder = tmp_path_factory.mktemp("planned")
    store(folder / "with/series", sold(), by_day({"promotion": promotions()}))
    store(folder / "without/series", sold())
    return folder


@pytest.fixture(scope="module")
def model(shop: Path) -> Forecaster:
    return fitted(shop / "with/series")


@pytest.fixture(scope="module")
def bare(shop: Path) -> Forecaster:
    return fitted(shop / "without/series")


def test_what_the_plan_did_is_learned_and_the_days_ahead_are_forecast_by_it(
    shop: Path, model: Forecaster, bare: Forecaster
) -> None:
    assert model.effects is not None and bare.effects is None
    said = model.effects.described()["promotion"]
    assert 1.5 < said["low"] < TIMES < said["high"] < 4
    split, plain = open_split(shop / "with/series", "test"), open_split(shop / "without/series", "test")
    came = np.stack([sold()[:, origin : origin + HORIZON] for origin in ORIGINS["test"]]).reshape(-1, HORIZON)
    loss = [
        scores.summary(came, each, np.ones(len(came)))["weighted_quantile_loss"]
        for each in (answers(model, split), answers(bare, plain))
    ]
    assert loss[0] < 0.8 * loss[1]


def test_no_answer_knows_what_was_sold_after_its_origin(shop: Path, model: Forecaster, tmp_path: Path) -> None:
    later, first = sold(), ORIGINS["test"][0]
    later[:, first:] = 50
    store(tmp_path / "series", later, by_day({"promotion": promotions()}))
    one, other = (answers(model, open_split(each, "test")) for each in (shop / "with/series", tmp_path / "series"))
    np.testing.assert_array_equal(one[:SERIES], other[:SERIES])
    assert not np.array_equal(one[SERIES:], other[SERIES:])


def test_another_plan_of_a_day_ahead_changes_that_day_alone(shop: Path, model: Forecaster, tmp_path: Path) -> None:
    other = promotions()
    day = ORIGINS["now"][0] + 2
    other[3, day] = 1 - other[3, day]
    store(tmp_path / "series", sold(), by_day({"promotion": other}))
    before, after = (answers(model, open_split(each, "now")) for each in (shop / "with/series", tmp_path / "series"))
    changed = (before != after).any(-1)
    assert np.argwhere(changed).tolist() == [[3, 2]]
    assert (after[3, 2, 0] > before[3, 2, 0]) == (other[3, day] > 0)


def test_an_answer_is_the_same_whichever_series_are_beside_it(shop: Path, model: Forecaster) -> None:
    for known in forecaster.origins(open_split(shop / "with/series", "test"), "quantity", "day"):
        every = model.forecast(known)
        assert known.series is not None
        for rows in (np.array([3]), np.array([15, 2])):
            panel = known.panel.rows(rows)
            begin = panel.first.min()
            shorter = replace(
                panel,
                values=panel.values[:, begin:],
                price=None if panel.price is None else panel.price[:, begin:],
                start=panel.dates(np.array([begin]))[0],
            )
            some = replace(known, sequences=known.sequences[rows], panel=shorter, series=known.series[rows])
            np.testing.assert_array_equal(model.forecast(replace(some, parent=known.parent[rows])), every[rows])


def test_what_ships_is_the_same_again_and_says_what_it_reads(shop: Path, model: Forecaster, bare: Forecaster) -> None:
    again = forecaster.loads(model.dumps())
    assert again.dumps() == model.dumps()
    split = open_split(shop / "with/series", "now")
    np.testing.assert_array_equal(answers(again, split), answers(model, open_split(shop / "with/series", "now")))
    assert b'"effects"' not in bare.dumps() and b'"version": 2' in bare.dumps()
    with pytest.raises(ValueError, match="not a forecaster of this version"):
        forecaster.loads(model.dumps().replace(b'"version": 3', b'"version": 2'))


def test_columns_that_only_one_of_both_has_are_as_usual(
    shop: Path, model: Forecaster, bare: Forecaster, tmp_path: Path
) -> None:
    plain = open_split(shop / "without/series", "now")
    np.testing.assert_array_equal(
        answers(bare, open_split(shop / "with/series", "now")),
        answers(bare, open_split(shop / "without/series", "now")),
    )
    store(tmp_path / "series", sold(), by_day({"flyer": np.ones((SERIES, WIDTH)), "promotion": 0 * promotions()}))
    np.testing.assert_array_equal(answers(model, open_split(tmp_path / "series", "now")), answers(model, plain))


def test_a_price_that_is_lowered_ahead_sells_more(tmp_path: Path) -> None:
    cut = promotions() > 0
    price: Array = np.where(cut, 2.0, 3.0) * (1.0 + np.arange(SERIES)[:, None] % 3)
    ahead = price.copy()
    ahead[:, DAYS:] = price.max(1)[:, None]
    ahead[::2, DAYS:] = price.min(1)[::2, None]
    store(tmp_path / "series", sold(), by_day({"price": ahead}))
    model = fitted(tmp_path / "series")
    assert model.effects is not None
    assert model.effects.described()["price"]["low"] > 1, "a tenth lower"
    split = open_split(tmp_path / "series", "now")
    known = next(forecaster.origins(split, "quantity", "day"))
    times = model.plain(known).ahead
    assert times is not None and (times[::2] > 2).all() and np.allclose(times[1::2], 1)


def exported(root: Path, paths: Paths, plan: Plan, *verbs: str) -> None:
    """Train a model of series under a plan, and export it; `verbs`: what is done then. The shop is where one works,
    its home is CLICKFLOW_HOME.
    """
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw["units"], raw["champion"] = ["series"], {MODEL: 0}
    raw["sequences"] = {"series": {"horizon": HORIZON}}
    raw["models"] = {MODEL: {"unit": "series", "kind": "forecast", "heads": {"demand": {}}}}
    raw["evaluation"] = {"bootstrap": 20, "baselines": {"demand": ["seasonal_naive"]}}
    raw["gate"] = {"primary": "demand.weighted_quantile_loss"}
    paths.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    (paths.root / "dvc.yaml").write_bytes((root / "dvc.yaml").read_bytes())
    store(paths.sequences("series"), sold(), plan)
    mlflow_database.empty_into(paths.home)
    ended = CliRunner().invoke(cli.app, ["train", MODEL])
    assert ended.exception is None, ended.output
    assert f"{MODEL}: the plan: promotion: 2." in ended.stderr
    for verb in ("export", *verbs):
        call(verb, MODEL, as_json=False)


@pytest.fixture(scope="module")
def workspace(root: Path, shop: Path) -> Paths:
    """A workspace whose model of series was trained, exported and evaluated under the plan."""
    paths = Paths(shop)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(shop)
        patch.setenv("CLICKFLOW_HOME", str(shop / "home"))
        exported(root, paths, by_day({"promotion": promotions()}), "evaluate")
    return paths


def test_what_ships_under_a_plan_is_what_was_measured_and_what_is_scored_and_served(
    workspace: Paths, model: Forecaster, tmp_path: Path
) -> None:
    artefact = workspace.exported(MODEL)
    assert (artefact / "forecast.json").read_bytes() == replace(model, calibration={}).dumps()
    assert read_json(artefact / "card.json")["parity"] == 0
    measured = parquet.read_table(workspace.evaluation(MODEL) / "demand.parquet").to_pandas()
    own = answers(model, open_split(workspace.sequences("series"), "test"))
    np.testing.assert_allclose(measured["expected_candidate"], own[..., 0].ravel(), atol=1e-5)
    content = read_json(workspace.measured(MODEL))["demand"]
    loss = {name: content[name]["weighted_quantile_loss"]["value"] for name in ("candidate", "seasonal_naive")}
    assert loss["candidate"] < 0.7 * loss["seasonal_naive"]

    ahead = answers(model, open_split(workspace.sequences("series"), "now"))
    card = batch.write(
        load(artefact),
        workspace.sequences("series"),
        [lambda each: folder.Folder(tmp_path / "out", each)],
        who={"model": MODEL, "version": 1},
        top=3,
        since_hours=None,
    )
    scored = parquet.read_table(tmp_path / "out/demand.parquet").to_pandas()
    np.testing.assert_allclose(scored["expected"], ahead[..., 0].ravel(), rtol=1e-6)
    last = str(np.datetime64(FIRST + WIDTH - 1, "D"))
    said = {"columns": ["promotion"], "lacking": [], "not_learned": [], "until": last}
    assert card["plan"] == said
    assert f"the plan is read: promotion; later than {last} nothing is planned" in batch._text(card)

    content = outlook.forecasts(workspace, [Served.of(MODEL, 1, artefact)], "")
    assert content["plan"] == said
    for each in content["series"]:
        periods = [period["expected"] for period in each["periods"]]
        np.testing.assert_allclose(periods, ahead[int(each["id"]) - FIRST_ITEM, :, 0], atol=6e-3)


def test_a_question_that_brings_its_own_days_is_told_that_it_has_no_plan(workspace: Paths) -> None:
    served = Served.of(MODEL, 1, workspace.exported(MODEL))
    (question,) = visits.questions(workspace.sequences("series"), "now", [0])
    days = [{name: value for name, value in structs.asdict(day).items() if value is not None} for day in question.steps]
    answer = client(served)("POST", "/v1/predict", json={"history": days}).json()
    assert answer["unplanned"] == ["promotion"]
    assert answer["answers"]["demand"]["kind"] == "forecast"


def test_what_only_the_model_or_only_the_store_knows_of_a_plan_is_said(model: Forecaster, bare: Forecaster) -> None:
    assert bare.reads(None) is None
    assert bare.reads({"columns": ["flyer"], "last": "2026-01-01"}) == {
        "columns": [],
        "lacking": [],
        "not_learned": ["flyer"],
        "until": "2026-01-01",
    }
    lacking = model.reads(None)
    assert lacking is not None and lacking["lacking"] == ["promotion"]
    assert batch._planned(lacking) == [
        "the model learned, and the store plans nothing of promotion: as usual on all days"
    ]
