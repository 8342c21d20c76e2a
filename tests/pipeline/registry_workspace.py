"""Workspaces that look as after the gate, and the registry's state as a stranger reads it."""

import atexit
import json
import os
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from clickflow import integrity
from clickflow.files import sha256, sha256_folder, write_json
from clickflow.params import Params
from clickflow.params_file import load
from clickflow.paths import Paths
from clickflow.registry import ledger, mlflow_store

MODEL = "next_step"


def workspace(folder: Path, root: Path, champion: int = 0) -> Paths:
    """A folder with params.yaml and dvc.yaml as in the repository, the champion's version set."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (root / "params.yaml").read_text(encoding="utf-8").replace("next_step: 0", f"next_step: {champion}")
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    shutil.copy(root / "dvc.yaml", folder / "dvc.yaml")
    return Paths(folder)


def candidate(
    paths: Paths,
    content: str,
    *,
    decision: str = "promote",
    champion: int = 0,
    model: str = MODEL,
    mrr: float = 0.2,
    latency: float = 2.0,
) -> None:
    """An exported artefact and the gate's decision on it; another `content` is another model."""
    exported = paths.exported(model)
    shutil.rmtree(exported, ignore_errors=True)
    exported.mkdir(parents=True)
    (exported / "model.onnx").write_bytes(content.encode() * 100)
    (exported / "vocabulary.parquet").write_bytes(b"vocabulary of " + content.encode())
    write_json(exported / "card.json", {"model_sha256": sha256(exported / "model.onnx"), "latency_ms": latency})
    integrity.seal(exported)
    for folder in (paths.gate(model), paths.evaluation(model)):
        folder.mkdir(parents=True, exist_ok=True)
    (paths.evaluation(model) / "report.html").write_text("<!doctype html>", encoding="utf-8")
    write_json(paths.metrics(model), {"next_item": {}})
    write_json(
        paths.gate(model) / "decision.json",
        {
            "model": model,
            "decision": decision,
            "summary": f"why {decision}",
            "champion_version": champion,
            "model_sha256": sha256(exported / "model.onnx"),
            "artefact_sha256": sha256_folder(exported),
            "data_sha256": "d" * 64,
            "metrics": {"mrr@20": mrr},
            "rules": [],
        },
    )
    for folder in (paths.gate(model), paths.evaluation(model)):
        integrity.seal(folder)


@cache
def _empty_store() -> Path:
    """A fresh MLflow database: made once, since its migrations take seconds."""
    folder = Path(mkdtemp())
    paths = workspace(folder, Path(__file__).resolve().parents[2])
    before = os.environ.get("CLICKFLOW_HOME")
    os.environ["CLICKFLOW_HOME"] = str(folder)
    try:
        mlflow_store.connect(params_of(paths), paths)
    finally:
        os.environ.pop("CLICKFLOW_HOME")
        if before:
            os.environ["CLICKFLOW_HOME"] = before
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "mlflow.db"


def with_store(paths: Paths) -> Paths:
    """`paths`, its home with an MLflow database in which nothing is registered."""
    paths.home.mkdir(parents=True, exist_ok=True)
    shutil.copy(_empty_store(), paths.home / "mlflow.db")
    return paths


def params_of(paths: Paths) -> Params:
    """The workspace's params."""
    return load(paths.params)


def state(paths: Paths, model: str = MODEL) -> dict[str, Any]:
    """What the ledger and MLflow say, freshly read."""
    entries = ledger.read(ledger.path(paths))
    store = mlflow_store.connect(params_of(paths), paths)
    mine = [entry for entry in entries if entry.model == model]
    return {
        "aliases": mlflow_store.aliases(store, model),
        "versions": {v.number: v.tags for v in mlflow_store.versions(store, model)},
        "standing": ledger.standing(entries, model),
        "actions": [(entry.action, entry.version) for entry in mine],
        "anchored": not mine or mlflow_store.anchor(store, model) in (None, mine[-1].hash),
    }


def lines(paths: Paths) -> list[dict[str, Any]]:
    """The ledger's lines, parsed and not checked."""
    file = ledger.path(paths)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def home_of() -> Path:
    """The home of this test, see tests/conftest.py."""
    return Path(os.environ["CLICKFLOW_HOME"])
