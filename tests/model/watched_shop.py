"""A simulated shop with a champion, made by the real stages, for tests that watch it and score with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import mlflow_database
from clickflow import cli
from clickflow.registry import ledger
from clickflow.sequences.store import open_split, read_card
from clickflow.system import integrity
from clickflow.system.files import sha256_folder
from clickflow.system.moments import DAY
from clickflow.system.paths import Paths
from recorded import lock

MODEL = "next_step"
LENIENT = {
    "recall@20: 0.05": "recall@20: 0.0",
    "recall@20: reject": "recall@20: warn",
    "mrr@20: reject": "mrr@20: warn",
    "majority: hold": "majority: warn",
    "max_calibration_error: 0.1": "max_calibration_error: 1.0",
    "max_latency_ms: 50": "max_latency_ms: 5000",
    "baselines: [popularity, repeat, markov, vsknn]": "baselines: [popularity]",
    "action_baselines: [majority, markov, logistic, boosting]": "action_baselines: [majority]",
}
"""Of params.yaml: a gate that lets the first candidate through, and baselines that are quick."""
SMALL = LENIENT | {
    "events: 160000": "events: 30000",
    "items: 2000": "items: 200",
    "dirt: 0.002": "dirt: 0.0",
    "units: 128": "units: 24",
    "negatives: 2048": "negatives: 64",
    "epochs: null  ": "epochs: 2  ",
    "bootstrap: 1000": "bootstrap: 200",
    "min_sequences: 100": "min_sequences: 50",
}
"""The same, and a shop that is made in seconds."""


def make(folder: Path, root: Path) -> Paths:
    """The workspace, in the current directory; CLICKFLOW_HOME holds the champion."""
    text = (root / "tests/assets/params_long.yaml").read_text(encoding="utf-8")
    for old, new in SMALL.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "params.yaml").write_text(text + "units: [session]\n", encoding="utf-8")
    (folder / "dvc.yaml").write_bytes((root / "dvc.yaml").read_bytes())
    mlflow_database.empty_into(Paths(folder).home)
    call("ingest", as_json=False)
    (folder / "reports/validation.json").write_text("{}")
    call("sequences", "session", as_json=False)
    for verb in ("train", "export", "evaluate", "gate"):
        call(verb, MODEL, as_json=False)
    lock(Paths(folder), MODEL)
    assert call("promote")["models"][0]["champion"] == 1
    return Paths(folder)


def call(*arguments: str, as_json: bool = True) -> Any:
    """`clickflow …` in this process; its fault is raised."""
    result = CliRunner().invoke(cli.app, [*arguments, *(["--json"] if as_json else [])])
    if result.exception:
        raise result.exception
    return json.loads(result.stdout) if as_json else result.stdout


def crown(paths: Paths) -> None:
    """Make the artefact version 1 and champion, as a promotion would write it into the ledger."""
    kept = paths.home / "models" / MODEL
    shutil.copytree(paths.exported(MODEL), kept / "1")
    shutil.copytree(paths.evaluation(MODEL), kept / "1.evaluation")
    ledger.append(
        ledger.path(paths),
        [],
        action="promote",
        model=MODEL,
        version=1,
        champion=1,
        previous=0,
        reason="a test",
        facts={"artefact_sha256": sha256_folder(paths.exported(MODEL))},
    )


def param(paths: Paths, old: str, new: str) -> None:
    """Change a line of params.yaml."""
    text = paths.params.read_text(encoding="utf-8")
    assert old in text
    paths.params.write_text(text.replace(old, new), encoding="utf-8")


def copied(paths: Paths, to: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """The shop once more, to be changed."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(paths.root / name, to / name)
    shutil.copytree(paths.root / "data", to / "data")
    monkeypatch.chdir(to)
    return Paths(to)


Change = Callable[[dict[str, NDArray[Any]]], None]


def change_later(paths: Paths, days: float, change: Change) -> None:
    """Let `change` rewrite, in place, the columns of the sequences that begin in the last `days` days.

    It gets {column: [steps]}, with `owner`: which sequence each step belongs to. The store keeps its shape.
    """
    store = paths.sequences("session")
    card = read_card(store)
    newest = max(part.last or 0 for part in card.splits.values())
    for name in card.splits:
        split = open_split(store, name)
        owner = np.repeat(np.arange(split.n_sequences), split.lengths)
        start = np.asarray(split.time)[split.offsets[:-1]]
        late = (start > newest - days * DAY)[owner]
        columns = {column: np.array(getattr(split, column)) for column in ("item", "action", "hour", "price")}
        part = {column: values[late] for column, values in columns.items()}
        change(part | {"owner": owner[late]})
        for column, values in columns.items():
            values[late] = part[column]
            file = store / name / f"{column}.npy"
            file.unlink()
            np.save(file, values)
    integrity.seal(store)
