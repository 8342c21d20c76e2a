"""The stage train@model on a packed store, with the real MLflow and TensorBoard."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import shop
from small_models import spec as small

import mlflow_database
from clickflow.models.saved import load_trained
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.system.errors import DataError
from clickflow.system.files import sha256, sha256_folder
from clickflow.system.paths import Paths
from clickflow.tracking.training_run import Tracker
from clickflow.training import stage


@pytest.fixture
def params(root: Path) -> Params:
    """Of the repository, with a small model."""
    whole = load(root / "params.yaml")
    spec = small()
    return replace(whole, models={"next_step": replace(spec, budget=replace(spec.budget, epochs=2))})


@pytest.mark.usefixtures("figures_rendered")
def test_the_same_bytes_whatever_becomes_of_mlflow(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = Paths(tmp_path)
    card = shop(paths.sequences("session"))
    mlflow_database.empty_into(paths.home)
    stage.run(params, paths, "next_step", Tracker)
    out = paths.trained("next_step")
    assert sorted(path.name for path in out.iterdir()) == [
        "_hashes.json",
        "curves.png",
        "history.json",
        "model.json",
        "weights.safetensors",
    ]
    stderr = capsys.readouterr().err
    assert "epoch 2/2" in stderr
    assert "events/s" in stderr
    assert "the CPU" in stderr or "cuda" in stderr
    described = json.loads((out / "model.json").read_text())
    assert described["data_sha256"] == card.sha256
    assert described["weights_sha256"] == sha256(out / "weights.safetensors")
    assert described["known"] == card.known
    assert len(json.loads((out / "history.json").read_text())) == 2
    assert torch.isfinite(load_trained(out).items).all()
    assert not list(paths.home.glob("checkpoints/*")), "the training has ended"
    assert list(paths.home.glob("tensorboard/next_step/*/events*"))

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{paths.home}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("training").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.tags["clickflow.weights_sha256"] == described["weights_sha256"]
    assert run.data.tags["clickflow.data_sha256"] == card.sha256
    assert run.data.params["encoder.units"] == "12"
    assert run.data.metrics["valid/mrr_at_20"] == pytest.approx(
        json.loads((out / "history.json").read_text())[-1]["valid"]["mrr@20"]
    )
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"curves.png", "history.json"}

    before = sha256_folder(out)
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    stage.run(params, paths, "next_step", Tracker)
    assert capsys.readouterr().err.count("training goes on without it") == 1
    assert sha256_folder(out) == before


def test_a_missing_store_is_an_error_before_anything_is_written(params: Params, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no packed store"):
        stage.run(params, Paths(tmp_path), "next_step")
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_two_processes_train_as_one_does(params: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = params.models["next_step"]
    params = replace(params, models={"next_step": replace(spec, encoder=replace(spec.encoder, dropout=0.0))})
    losses = []
    for processes in (1, 2):
        paths = Paths(tmp_path / str(processes))
        shop(paths.sequences("session"))
        mlflow_database.empty_into(paths.home)
        stage.run(replace(params, training=replace(params.training, processes=processes)), paths, "next_step")
        history = json.loads((paths.trained("next_step") / "history.json").read_text())
        losses.append([epoch["valid"]["loss"] for epoch in history])
        assert not list(paths.home.glob("checkpoints/*"))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert capsys.readouterr().err.count("epoch 2/2") == 2, "one speaks for all"
