"""A real small pipeline, by hand and as a recorded run, with a remote: afterwards no byte names the person."""

import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_shop import commit, git
from test_real_run import TINY

from clickflow.orchestration import graph, removed_objects, runs, workspace
from clickflow.orchestration.workspace import Run
from clickflow.params import patch

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1500)]

LEARNED = {**TINY, "gate.floors": {"recall@20": 0.0001}, "gate.min_coverage": 0.0, "gate.max_calibration_error": 1.0}


class Shop:
    """A clone of this repository with a raw log, a home and a remote folder."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder, self.home, self.remote = folder / "shop", folder / "home", folder / "remote"
        git(folder, "clone", "--quiet", str(root), "shop")
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CLICKFLOW")},
            "CLICKFLOW_HOME": str(self.home),
            "PYTHONPATH": str(self.folder / "src"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self("clickflow", "simulate", "--events", "3000", "--out", str(folder / "log"), "--dirt", "0.01")
        (log,) = (folder / "log").glob("events-*.csv")
        log.rename(self.folder / "data/raw/log.csv")
        self("dvc", "remote", "add", "--default", "store", str(self.remote))
        params = self.folder / "params.yaml"  # a week is too short to ask about customers
        params.write_text(patch.without(params.read_text(), ["models.customers", "champion.customers"]))
        values = {"source.kind": "files", **LEARNED}
        workspace.set_params(self.folder, values)
        commit(self.folder, "a log of our own")

    def __call__(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + (done.stderr if code else "")

    def run(self, name: str) -> Run:
        """The whole pipeline as a recorded run."""
        plan = graph.load(self.folder)
        opened = runs.open_run(self.folder, self.home, name, {}, compiled=plan, say=print)
        done: dict[str, Any] = {}
        for stage in plan.stages:
            done[stage] = runs.run_stage(opened, stage, [done[up] for up in plan.upstream(stage)], print)
        runs.record(opened, done.values(), print)
        return opened


def unpacked(path: Path) -> Iterator[bytes]:
    """A file's bytes, and what they hold."""
    import pyarrow.parquet as pq

    raw = path.read_bytes()
    yield raw
    if raw[:2] == b"\x1f\x8b":
        yield gzip.decompress(raw)
    if raw[:4] == b"PAR1":
        yield repr(pq.read_table(path, partitioning=None).to_pylist()).encode()
    if raw.startswith(b"SQLite format 3"):
        with sqlite3.connect(path) as database:
            yield "\n".join(database.iterdump()).encode()


def naming(names: list[str], *folders: Path) -> list[str]:
    """Files that name one of `names`."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted(
        f"{path}: {name}" for path in files for text in unpacked(path) for name in names if name.encode() in text
    )


def test_no_byte_of_workspace_cache_remote_runs_or_mlflow_names_a_forgotten_person(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(root, tmp_path)
    monkeypatch.setenv("CLICKFLOW_HOME", str(shop.home))
    shop("dvc", "repro", "--quiet")
    commit(shop.folder, "lock")
    shop("dvc", "push", "--quiet")
    shop("clickflow", "promote")
    shop("clickflow", "score", "next_step", "--all", "--out", "predictions/all")
    shop.run("before")

    # one who was there to the last, so that test part, predictions and report have their visits
    import pyarrow.parquet as pq

    test = pq.read_table(shop.folder / "data/sequences/session/test/sequences.parquet").to_pylist()
    user = next(row["user_id"] for row in reversed(test) if row["user_id"])
    person = json.loads(shop("clickflow", "who", user, "--json"))["who"][0]
    names = [person["id"], user, *person["latest_sessions"]]
    places = (shop.folder, shop.home, shop.remote)
    before = naming(names, *places)
    for place in ("data/raw", "data/events", "data/sequences", ".dvc/cache", "predictions/all", str(shop.remote)):
        assert any(place in line for line in before), place
    assert any("mlartifacts" in str(path) for path in shop.home.rglob("predictions.parquet"))
    evaluated = {path: pq.read_metadata(path).num_rows for path in shop.home.glob("mlartifacts/**/predictions.parquet")}

    result = json.loads(shop("clickflow", "forget", person["id"], "--json"))
    assert result["unreached"] == []
    assert naming(names, *places) == []
    assert result["models"] == {"next_step": [1]} and result["runs"] == ["before"]
    for path, rows in evaluated.items():
        assert pq.read_metadata(path).num_rows < rows
    for report in shop.home.glob("mlartifacts/**/report.html"):
        assert "Examples were taken out" in report.read_text()
    notes = json.loads(shop("clickflow", "status", "--json"))["models"]["next_step"]["notes"]
    assert any("trained with 1 forgotten person" in note for note in notes)
    refused = shop("clickflow", "checkout", "before", "--into", str(tmp_path / "back"), code=2)
    assert "held people who were forgotten" in refused
    assert not (tmp_path / "back").exists()
    assert removed_objects.removed(shop.home)

    # what comes after is whole, and without them: by hand, and as a run of the commit, whose lock names what is gone
    shop("clickflow", "open")
    shop("dvc", "repro", "--quiet")
    shop("dvc", "push", "--quiet")
    shop("clickflow", "promote")
    shop.run("after")
    assert naming(names, *places) == []
    card = json.loads((shop.folder / "reports/ingest.json").read_text())
    assert card["read"] == card["accepted"] + card["quarantined"] + card["ignored"] + card["forgotten"]
    models = json.loads(shop("clickflow", "status", "--json"))["models"]["next_step"]
    assert models["candidate"] == 2 or models["champion"]["version"] == 2
