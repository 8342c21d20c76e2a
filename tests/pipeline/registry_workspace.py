"""Workspaces that look as after the gate, and the registry's state as a stranger reads it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from typer.testing import CliRunner

import mlflow_database
from clickflow import cli
from clickflow.evaluation.answers import ranking
from clickflow.gate import stage
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.registry import ledger, try_log
from clickflow.registry.champion import with_champions
from clickflow.system import integrity
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.files import sha256, write_json
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, registered_models
from recorded import lock

MODEL = "next_step"


def workspace(folder: Path, root: Path, champion: int = 0) -> Paths:
    """A folder with params.yaml and dvc.yaml as in the repository, the champion's version set."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (
        (root / "tests/assets/params_long.yaml")
        .read_text(encoding="utf-8")
        .replace("next_step: 0", f"next_step: {champion}")
        .replace("  engine: duckdb\n", "")
    )
    (folder / "params.yaml").write_text(text + "units: [session]\n", encoding="utf-8")
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
    data: Any = None,
) -> dict[str, Any]:
    """An exported artefact, an evaluation that gives `decision`, the gate's decision on it, and dvc.lock with all.

    Another `content` is another model. `mrr`: 0.2, 0.25 or 0.3.
    """
    exported = paths.exported(model)
    shutil.rmtree(exported, ignore_errors=True)
    exported.mkdir(parents=True)
    (exported / "model.onnx").write_bytes(content.encode() * 100)
    (exported / "vocabulary.parquet").write_bytes(b"vocabulary of " + content.encode())
    onnx = sha256(exported / "model.onnx")
    write_json(exported / "card.json", {"model_sha256": onnx, "latency_ms": latency, "known": 1000})
    integrity.seal(exported)
    evaluated(paths, RANKS[mrr], decision=decision, champion=champion, model=model, onnx=onnx, data=data)
    text = paths.params.read_text(encoding="utf-8")
    paths.params.write_text(with_champions(text, {model: champion}), encoding="utf-8")
    return judged(paths, model, decision)


def judged(paths: Paths, model: str = MODEL, decision: str = "promote") -> dict[str, Any]:
    """The gate's decision on what lies there, written as the stage writes it."""
    content = stage.judge(params_of(paths), paths, model, try_log.number)
    assert content["decision"] == decision, content["summary"]
    write_json(paths.gate(model) / "decision.json", content)
    lock(paths, model)
    return content


RANKS = {0.2: (5, 5), 0.25: (4, 4), 0.3: (2, 10)}
"""Of the true item, turn by turn, by the MRR they give."""


def evaluated(
    paths: Paths, ranks: tuple[int, int], *, decision: str, champion: int, model: str, onnx: str, data: Any = None
) -> None:
    """What `evaluate` would have written: too few sequences are held, no better than a baseline is rejected."""
    folder, n = paths.evaluation(model), 30 if decision == "hold" else 60
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    own = np.resize(np.array(ranks, np.int32), 2 * n)
    systems = {"candidate": own, "popularity": own if decision == "reject" else np.full(2 * n, 40, np.int32)}
    if champion:
        systems["champion"] = np.resize(np.array([6, 20], np.int32), 2 * n)
    columns = {
        "sequence": np.arange(2 * n, dtype=np.int32) // 2,
        "customer": np.arange(2 * n, dtype=np.int32) // 2,
        "position": np.arange(2 * n, dtype=np.int32) % 2,
        "target": np.full(2 * n, 7, np.int32),
        **{f"rank_{name}": each for name, each in systems.items()},
        **({"seen_champion": np.zeros(2 * n, bool)} if champion else {}),
    }
    parquet.write_table(pa.table(columns), folder / "predictions.parquet")
    gains = {name: ranking.gains(each, [1, 5, 10, 20]).mean(axis=0).round(6) for name, each in systems.items()}
    named = {name: dict(zip(ranking.names([1, 5, 10, 20]), each.tolist(), strict=True)) for name, each in gains.items()}
    fit = {
        "items_here": 0.9,
        "targets_known": 0.9,
        "same_key": True,
        "answered": {system: {"next_item": 1} for system in ("candidate", "champion")},
    }
    content = {
        "model": model,
        "next_item": {name: {key: {"value": each} for key, each in metrics.items()} for name, metrics in named.items()},
        "champion_version": champion,
        "champion_fit": fit if champion else None,
        "data_sha256": "d" * 64,
        "data": data,
        "artefact": {"model_sha256": onnx, "size_mb": 0.001, "latency_ms_p95_class": 2.0},
    }
    write_json(paths.measured(model), content)
    (folder / "report.html").write_text("<!doctype html>", encoding="utf-8")
    write_json(paths.metrics(model), {"next_item": {}})
    integrity.seal(folder)


def with_store(paths: Paths) -> Paths:
    """`paths`, its home with an MLflow database in which nothing is registered."""
    mlflow_database.empty_into(paths.home)
    return paths


def params_of(paths: Paths) -> Params:
    """The workspace's params."""
    return load(paths.params)


def state(paths: Paths, model: str = MODEL) -> dict[str, Any]:
    """What the ledger and MLflow say, freshly read."""
    entries = ledger.read(ledger.path(paths))
    store = mlflow_client.connect(params_of(paths), paths)
    mine = [entry for entry in entries if entry.model == model]
    return {
        "aliases": registered_models.aliases(store, model),
        "versions": {v.number: v.tags for v in registered_models.versions(store, model)},
        "standing": ledger.standing(entries, model),
        "actions": [(entry.action, entry.version) for entry in mine],
        "anchored": not mine or registered_models.anchor(store, model) in (None, mine[-1].hash),
    }


def lines(paths: Paths) -> list[dict[str, Any]]:
    """The ledger's lines, parsed and not checked."""
    file = ledger.path(paths)
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def home_of() -> Path:
    """The home of this test, see tests/conftest.py."""
    return Path(os.environ["CLICKFLOW_HOME"])


def call(*arguments: str, fails: int = 0) -> Any:
    """The verb's JSON, or its error text where it should fail."""
    result = CliRunner().invoke(cli.app, [*arguments, "--json"])
    if fails:
        assert isinstance(result.exception, ClickflowError), result.output
        assert result.exception.exit_code == fails
        return str(result.exception)
    if result.exception:
        raise result.exception
    return json.loads(result.stdout)


def refusal() -> str:
    """Why `promote` refuses."""
    result = CliRunner().invoke(cli.app, ["promote", "--json"])
    assert isinstance(result.exception, UsageError)
    assert json.loads(result.stdout)["models"][0]["outcome"] == "refused"
    return str(result.exception)
