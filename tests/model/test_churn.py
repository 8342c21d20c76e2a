"""The unit `customer` from a log to a champion that is scored and watched: the head churn, by a small network."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pyarrow import parquet
from typer.testing import CliRunner

import mlflow_database
from clickflow import cli
from clickflow.artefact.windows import of_split
from clickflow.heads import churn
from clickflow.privacy.experiments import stores
from clickflow.privacy.people import People, Person
from clickflow.sequences.card import NOW
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import open_split, read_card
from clickflow.system.errors import UsageError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths
from clickflow.training import batches
from recorded import lock

HORIZON = 5


def call(*arguments: str, as_json: bool = True) -> Any:
    """`clickflow …` in this process; its fault is raised."""
    result = CliRunner().invoke(cli.app, [*arguments, *(["--json"] if as_json else [])])
    if result.exception:
        raise result.exception
    return json.loads(result.stdout) if as_json else result.stdout


@pytest.fixture
def shop(champion: Paths, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """The shop, in the current folder."""
    monkeypatch.chdir(champion.root)
    monkeypatch.setenv("CLICKFLOW_HOME", str(champion.root / "home"))
    return champion


@pytest.fixture(scope="module")
def champion(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A shop of customers alone, whose churn model is champion."""
    folder = tmp_path_factory.mktemp("shop")
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw["simulator"] = {"events": 12_000, "days": 50, "items": 60, "dirt": 0.0}
    raw["sequences"] = {"customer": {"horizon_days": HORIZON, "every_days": 3}}
    encoder = {"units": 8, "features": ["action", "gap", "quantity"], "hand_made": True}
    budget = {"epochs": 1, "max_length": 12}
    raw["units"] = ["customer"]
    raw["models"] = {"churn": {"unit": "customer", "encoder": encoder, "heads": {"churn": {}}, "budget": budget}}
    raw["champion"] = {"churn": 0}
    raw["evaluation"] = {"bootstrap": 50, "baselines": {"churn": ["majority", "logistic"]}}
    raw["gate"] = {
        "floors": {"churn.log_loss": 0.9},
        "beat_baselines": {"churn.log_loss": "warn"},
        "max_calibration_error": 1.0,
    }
    raw["watch"] = {"min_sequences": 5, "max_metric_drop": {"churn.log_loss": 1.0}}
    paths = Paths(folder)
    paths.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    (folder / "dvc.yaml").write_bytes((root / "dvc.yaml").read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CLICKFLOW_HOME", str(folder / "home"))
        mlflow_database.empty_into(paths.home)
        call("ingest", as_json=False)
        (folder / "reports/validation.json").write_text("{}")
        call("sequences", "customer", as_json=False)
        for verb in ("train", "export", "evaluate", "gate"):
            call(verb, "churn", as_json=False)
        lock(paths, "churn")
        assert call("promote")["models"][0]["champion"] == 1
    return paths


def test_what_was_evaluated_is_every_customer_of_the_test_part(shop: Paths) -> None:
    rows = parquet.read_table(shop.evaluation("churn") / "churn.parquet").to_pandas()
    test, card = open_split(shop.sequences("customer"), "test"), read_card(shop.sequences("customer"))
    assert len(rows) == test.n_sequences
    assert test.cut_off is not None
    assert len(np.unique(test.cut_off)) > 1
    assert (rows["target"].to_numpy() == churn.targets(test, test.end - 1, test.until, card)).all()
    owner = parquet.read_table(shop.sequences("customer") / "test/sequences.parquet")["user_id"].to_pandas()
    # resampled by customer: the cut-offs of one are drawn together
    assert rows.groupby(owner.to_numpy())["customer"].nunique().max() == 1
    assert rows["customer"].nunique() == owner.nunique() < len(rows)
    assert 0 < rows["target"].mean() < 1
    assert "predictions" not in read_json(shop.root / "reports/churn/metrics.json"), (
        "it ranks nothing: 0 would be a wrong figure"
    )


def test_everybody_who_bought_lately_is_scored_as_of_the_end_of_the_log(
    shop: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = call("score", "churn", "--all", "--out", "predictions")
    scored = parquet.read_table("predictions/churn.parquet").to_pandas()
    now = open_split(shop.sequences("customer"), NOW)
    users = parquet.read_table(shop.sequences("customer") / NOW / "sequences.parquet")["user_id"].to_pylist()
    assert scored["user_id"].tolist() == users
    assert (card["unit"], card["sessions"]) == ("customer", len(users))
    assert card["as_of"][:10] == "2026-02-24"
    assert scored["probability"].between(0, 1).all()
    assert scored["last_event"].astype("int64").max() == now.time.max()

    monkeypatch.setenv("CLICKFLOW_SCORE_URL", f"sqlite:///{tmp_path}/scores.sqlite")
    card = call("score", "churn", "--all", "--sql", "--segments", "2")
    assert card["rows"] == {"churn.parquet": len(users), "segments.parquet": len(users)}
    assert card["tables"] == {"clickflow_churn_churn": len(users), "clickflow_churn_segments": len(users)}
    with closing(sqlite3.connect(tmp_path / "scores.sqlite")) as con:
        rows = con.execute(
            "SELECT user_id, probability, segment FROM clickflow_churn_churn JOIN clickflow_churn_segments "
            "USING (batch, user_id) WHERE batch = (SELECT batch FROM clickflow_score_current WHERE model = 'churn')"
        ).fetchall()
    assert {user: chance for user, chance, _ in rows} == dict(zip(users, scored["probability"], strict=True))
    assert len({segment for *_, segment in rows}) == 2
    with pytest.raises(UsageError, match="--all goes with --out or --sql"):
        call("score", "churn", "--sql")

    (one,) = call("score", "churn", "--user", users[3])["customers"]
    assert one["user"] == users[3]
    assert len(one["steps"]) == now.lengths[3]
    shown = call("score", "churn", "--limit", "3", as_json=False)
    assert "customer" in shown
    with pytest.raises(UsageError, match="answer about people, not about a session"):
        call("score", "churn", "--session", "x")


def test_it_is_watched_by_the_days_in_which_answers_are_there(shop: Paths) -> None:
    watched = call("watch", "churn")
    windows = watched["models"]["churn"]["windows"]
    assert sum(window["sequences"] for window in windows) > 0
    assert shop.watch.exists()


def test_forgetting_finds_a_customer_in_every_part(shop: Paths) -> None:
    folder = shop.sequences("customer")
    parts = {
        name: parquet.read_table(folder / name / "sequences.parquet")["user_id"].to_pylist() for name in ("train", NOW)
    }
    new = sorted(set(parts[NOW]) - set(parts["train"]))
    for user in (parts["train"][0], new[0]):
        people = People((Person("name", user),), b"key")
        assert [seen.names for seen in stores(shop, people, []).values()] == [("name",)]


def test_a_customer_is_asked_once_about_all_before_the_cut_off(tmp_path: Path) -> None:
    steps = {"offsets": [0, 5, 8], "item": np.full(8, 2), "action": [0, 4, 0, 4, 4, 4, 0, 0]}
    bounds = {"begin": [0, 5, 0], "end": [2, 7, 3], "until": [3, 8, 5], "cut_off": [10, 10, 20]}
    store = tmp_path / "customer"
    card = write_store(store, {"train": {name: np.asarray(each) for name, each in (steps | bounds).items()}})
    train = open_split(store, "train")
    assert churn.targets(train, train.end - 1, train.until, card).tolist() == [1, 1, 0]
    positions = of_split(train, [0, 1, 2], 2)
    assert positions.event.tolist() == [1, 6, 2]
    assert positions.first.tolist() == [0, 5, 1]
    assert positions.begin.tolist() == [0, 5, 0]
    assert positions.until.tolist() == [3, 8, 5]
    assert positions.now(train).tolist() == [10, 10, 20]
    cut = batches.of_split(train, 2, at_end=True)
    assert cut.start.tolist() == [0, 5, 1]
    assert (cut.first == cut.length - 1).all()
    assert read_json(store / "card.json")["unit"] == "customer"
