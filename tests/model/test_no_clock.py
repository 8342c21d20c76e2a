"""A log that knows an order and no clock: from its file to a report, with the params of the repository."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clickflow.artefact import export
from clickflow.evaluation import evaluate
from clickflow.events.ingest import ingest
from clickflow.monitoring import watch
from clickflow.params.file import load
from clickflow.params.models import ClassesHead
from clickflow.params.schema import Params
from clickflow.quality import validate
from clickflow.sequences import prepare
from clickflow.sequences.store import open_split, read_card
from clickflow.system.errors import DataError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths
from clickflow.training import stage

SESSIONS = 400
OF_TIMES = {"since_start", "last_gap", "gap_before", "mean_gap", "longest_gap", "since_cart"}
OF_TIMES |= {"hour", "hour_sine", "hour_cosine", "weekday"}


@pytest.fixture
def params(root: Path, tmp_path: Path) -> Params:
    """Those of the repository but for the source, one epoch and what would take long."""
    draw = np.random.default_rng(0)
    lines = ["SessionId\tItemId\tTime"]
    for session in range(SESSIONS):
        start = draw.integers(0, 20)
        lines += [f"{session}\t{(start + step) % 20}\t{step}" for step in range(1, draw.integers(4, 9))]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/log.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    whole = load(root / "params.yaml")
    source = replace(whole.source, kind="files", path="raw", preset="session_tsv", time_format="order")
    model = whole.model("next_step")
    model = replace(model, budget=replace(model.budget, epochs=1))
    encoder = replace(model.encoder, features=("action", "hour", "weekday", "gap", "since_start"), hand_made=True)
    model = replace(model, encoder=encoder)
    judged = replace(whole.evaluation, baselines=("popularity",), action_baselines=("majority",), bootstrap=20)
    return replace(whole, source=source, models={"next_step": model}, evaluation=judged)


def test_an_order_is_no_clock_and_nothing_pretends_it_were(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    paths, store = Paths(tmp_path), Paths(tmp_path).sequences("session")
    ingest(params, paths)
    prepare.run(params, paths, "session")
    assert "the log has an order and no clock" in capsys.readouterr().err
    assert read_card(store).clock is False
    train = open_split(store, "train")
    assert not any(np.any(getattr(train, name)) for name in ("hour", "weekday", "gap", "since_start"))
    assert (np.diff(train.time)[np.diff(np.repeat(np.arange(train.n_sequences), train.lengths)) == 0] > 0).all()

    stage.run(params, paths, "next_step")
    stderr = capsys.readouterr().err
    assert "it is trained without hour, weekday, gap, since_start, hand-made features of times" in stderr
    described = read_json(paths.trained("next_step") / "model.json")
    assert described["inputs"] == ["item", "action"]
    assert "steps" in described["hand_made"]
    assert not OF_TIMES & {*described["hand_made"]}
    export.run(params, paths, "next_step")
    evaluate.run(params, paths, "next_step")
    slices = read_json(paths.measured("next_step"))["slices"]
    assert set(slices["next_item"]) == {"length", "popularity"}
    assert set(slices["next_action"]) == {"length"}


def test_trees_of_it_read_no_times_either(params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server would give them the real ones, which are of another size than numbers of an order."""
    trees = replace(params.model("next_step"), kind="boosting", heads={"next_action": ClassesHead()}, features="all")
    params, paths = replace(params, models={"trees": trees}), Paths(tmp_path)
    ingest(params, paths)
    prepare.run(params, paths, "session")
    stage.run(params, paths, "trees")
    assert "trees: the log has an order and no clock: it is trained without hand-made" in capsys.readouterr().err
    read = read_json(paths.trained("trees") / "model.json")["features"]
    assert "steps" in read
    assert not OF_TIMES & {*read}
    params = replace(params, models={"trees": replace(trees, features=("hour", "last_gap"))})
    with pytest.raises(DataError, match=r"all features of models.trees are of times: hour, last_gap"):
        stage.run(params, paths, "trees")


def test_a_watch_of_it_judges_neither_age_nor_hours(params: Params, tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    ingest(params, paths)
    prepare.run(params, paths, "session")
    params = replace(params, watch=replace(params.watch, max_age_hours=1.0))
    result, _ = watch.watch(params, paths, ["next_step"], watch.moment("2026-01-01T00:00:00+00:00"))
    assert result["age_hours"] is None
    assert not result["stale"]


def test_validate_asks_it_for_no_age(params: Params, tmp_path: Path, root: Path) -> None:
    paths = Paths(tmp_path)
    shutil.copytree(root / "expectations", tmp_path / "expectations", ignore=shutil.ignore_patterns("uncommitted"))
    ingest(params, paths)
    validate.run(replace(params, quality=replace(params.quality, max_age_days=7)), paths)
    rules = {rule["columns"][0]: rule for rule in read_json(paths.validation)["rules"] if rule["columns"]}
    assert rules["age_days"]["success"] is None
    assert "no clock" in rules["age_days"]["not_checked"]
