"""Runs are listed, brought back bit for bit, and pruned by rule."""

import json
import os
import re
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from small_shop import Ran, commit, dvc, git, quiet, whole
from typer.testing import CliRunner

from clickflow import cli
from clickflow.orchestration import fragments, graph, prune, runs
from clickflow.registry import ledger
from clickflow.system.errors import UsageError

pytestmark = pytest.mark.timeout(900)

GATE = """
  gate:
    foreach: ${models}
    do:
      cmd:
        - mkdir -p reports/${key}/gate
        - cp decision.json reports/${key}/gate/decision.json
      deps: ["models/${key}", decision.json]
      outs: ["reports/${key}/gate"]
"""


RUNS = ("first", "run-1", "run-2")


def home() -> Path:
    return Path(os.environ["CLICKFLOW_HOME"])


def clickflow(folder: Path, *words: str, ok: bool = True) -> Any:
    """What `clickflow … --json` says in a folder; where it must fail, its message."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(cli.app, [*words, "--json"])
    if not ok:
        assert isinstance(done.exception, UsageError), done.output
        return " ".join(done.exception.lines())
    if done.exception:
        raise done.exception
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def _ran(_shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("judged")
    shop = Path(shutil.copytree(_shop, folder / "shop"))
    (shop / "dvc.yaml").write_text((shop / "dvc.yaml").read_text() + GATE)
    (shop / "decision.json").write_text(
        json.dumps({"decision": "hold", "primary": "mrr@20", "metrics": {"mrr@20": 0.25}})
    )
    git(shop, "add", "--force", "data/raw/raw.csv")
    commit(shop, "a gate")
    return Ran.of(folder, "first", {"simulator.events": 500}, note="a try", reason="by hand")


@pytest.fixture
def judged(_ran: Ran, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shop, whose gate says what decision.json says; its raw file is kept by git. It has one run, `first`."""
    _ran.put_back()
    monkeypatch.setenv("CLICKFLOW_HOME", str(_ran.folder / "home"))
    return _ran.folder / "shop"


@pytest.mark.slow
def test_runs_are_listed_with_what_became_of_them(judged: Path) -> None:
    (judged / "data/raw/raw.csv").write_text("rotten\n")
    commit(judged, "bad data")
    with pytest.raises(runs.StageFailed):
        whole(judged, home(), "bad")
    listed = clickflow(judged, "runs")
    bad, good = listed["runs"]
    assert (listed["total"], bad["id"], good["id"]) == (2, "bad", "first")
    assert good["state"] == "recorded"
    assert good["params"] == {"simulator.events": 500}
    assert good["models"] == {"next_step": {"decision": "hold", "metric": "mrr@20", "value": 0.25}}
    assert (good["note"], good["reason"], good["kept_bytes"]) == ("a try", "by hand", 0)
    assert (bad["state"], bad["failed"]) == ("running", [])  # this process made it, and lives
    (home() / "workspaces/bad/check/.git/clickflow-owner").write_text("1 0")
    bad = clickflow(judged, "runs", "--limit", "1")["runs"][0]
    assert (bad["state"], bad["failed"]) == ("failed", ["check"])
    assert bad["kept_bytes"] > 0
    assert bad["commit"] == git(judged, "rev-parse", "HEAD").strip()
    assert "mrr@20 0.25" in git(judged, "log", "-1", "--format=%B", "refs/runs/first")


@pytest.mark.slow
def test_a_run_comes_back_bit_for_bit_here_and_elsewhere(judged: Path, _ran: Ran, tmp_path: Path) -> None:
    first = _ran.run
    weights = (first.folder / "models/next_step/weights").read_bytes()
    (judged / "check.sh").write_text("mkdir -p reports; echo other > reports/check.txt\n")
    commit(judged, "another check")
    whole(judged, home(), "second")
    shutil.rmtree(first.folder)
    shutil.rmtree(judged / ".dvc/cache")

    elsewhere = clickflow(judged, "checkout", "first", "--into", str(tmp_path / "elsewhere"))
    assert elsewhere["clean"] is True
    assert (tmp_path / "elsewhere/models/next_step/weights").read_bytes() == weights
    assert "up to date" in dvc(tmp_path / "elsewhere", "status")
    assert "not empty" in clickflow(judged, "checkout", "second", "--into", str(tmp_path / "elsewhere"), ok=False)

    here = clickflow(judged, "checkout", "first")
    assert here["clean"] is True
    assert (judged / "models/next_step/weights").read_bytes() == weights
    assert "other" not in (judged / "check.sh").read_text()
    assert "up to date" in dvc(judged, "status")
    assert git(judged, "rev-parse", "main").strip() != git(judged, "rev-parse", "HEAD").strip()
    assert clickflow(judged, "checkout", "second")["clean"] is True
    assert (judged / "reports/check.txt").read_text() == "other\n"


@pytest.mark.slow
def test_nothing_is_lost_by_checking_a_run_out(judged: Path) -> None:
    assert "did you mean 'first'?" in clickflow(judged, "checkout", "frist", ok=False)
    (judged / "check.sh").write_text("# worked on\n")
    text = clickflow(judged, "checkout", "first", ok=False)
    assert "would be lost: check.sh (not as the commit has it)" in text
    assert "--into" in text
    (judged / "notes.md").write_text("to be kept\n")
    text = clickflow(judged, "checkout", "first", ok=False)
    assert "would be lost: check.sh, notes.md (not as the commit has it)" in text
    (judged / "notes.md").unlink()
    git(judged, "checkout", "--", "check.sh")

    clickflow(judged, "checkout", "first")
    weights = judged / "models/next_step/weights"
    weights.unlink()
    weights.write_text("trained by hand\n")
    assert "models/next_step" in clickflow(judged, "checkout", "first", ok=False)
    assert weights.read_text() == "trained by hand\n"


@pytest.mark.slow
def test_a_run_of_some_models_leaves_the_others_as_they_were(judged: Path) -> None:
    text = (judged / "params.yaml").read_text()
    head, tail = text.split("  next_step:\n", 1)
    body, rest = tail.split("\ntraining:", 1)
    two = f"{head}  next_step:\n{body}\n  other:\n{body}\ntraining:{rest}".replace(
        "  next_step: 0", "  next_step: 0\n  other: 0"
    )
    (judged / "params.yaml").write_text(two)
    commit(judged, "two models")
    whole(judged, home(), "both")
    nine = {"models.other.budget.epochs": 9, "models.next_step.budget.epochs": 9}
    whole(judged, home(), "one", nine, models=["next_step"])
    both, one = (fragments.parse(git(judged, "show", f"refs/runs/{name}:dvc.lock")) for name in ("both", "one"))
    assert one["train@next_step"] != both["train@next_step"]
    for stage in ("train@other", "gate@other"):
        assert one[stage] == both[stage]
    assert not (home() / "runs/one/models/other").exists()
    with pytest.raises(UsageError, match="there is no model 'othr'; did you mean 'other'"):
        whole(judged, home(), "wrong", models=["othr"])

    (judged / "dvc.lock").write_text(git(judged, "show", "refs/runs/both:dvc.lock"))
    (judged / "params.yaml").write_text(git(judged, "show", "refs/runs/one:params.yaml"))
    dvc(judged, "repro", "--quiet", "gate@next_step")
    assert (judged / "dvc.lock").read_text() == git(judged, "show", "refs/runs/one:dvc.lock")


@pytest.mark.slow
def test_old_runs_go_and_those_that_matter_stay(judged: Path) -> None:
    for number, name in enumerate(RUNS[1:], start=1):
        whole(judged, home(), name, {"simulator.events": 500 + number})
    git(judged, "update-ref", "refs/runs/champion", "refs/runs/first")
    entries: list[ledger.Entry] = []
    for action, version, name in (("promote", 1, "first"), ("hold", 2, "run-1")):
        ledger.append(
            home() / "ledger.jsonl", entries, action=action, model="next_step", version=version, champion=1, previous=0,  # type: ignore[arg-type]
            reason="because", facts={"run_id": name},
        )  # fmt: skip
        entries = ledger.read(home() / "ledger.jsonl")
    failure = home() / "workspaces/failed/check"
    failure.mkdir(parents=True)
    (failure / "file").write_text("left")
    past = time.time() - 40 * 86400
    for path in (failure, failure.parent):
        os.utime(path, (past, past))

    report = clickflow(judged, "prune", "--keep", "1", "--days", "30", "--dry-run")
    assert {run["id"] for run in report["kept"]} == {"first", "run-1", "run-2", "champion"}
    assert [(gone["id"], gone["what"]) for gone in report["removed"]] == [("failed", "workspaces")]
    assert failure.exists()

    later = datetime.now(UTC) + timedelta(days=31)
    kept, doomed = prune.plan(str(judged), home(), keep=1, days=30, now=later)
    assert {run.id: run.why for run in kept} == {
        "run-2": "one of the 1 newest",
        "run-1": "holds the candidate of next_step, version 2",
        "first": "made version 1 of next_step champion",
    }
    assert {(gone.id, gone.what) for gone in doomed} >= {("champion", "reference"), ("failed", "workspaces")}

    report = clickflow(judged, "prune", "--keep", "1", "--days", "0")
    assert {run["id"] for run in report["kept"]} == {"first", "run-1", "run-2"}
    assert not failure.parent.exists()
    assert git(judged, "for-each-ref", "--format=%(refname)", "refs/runs").split() == [
        "refs/runs/first",
        "refs/runs/run-1",
        "refs/runs/run-2",
    ]
    for name in RUNS:
        assert (home() / f"runs/{name}/models/next_step/weights").exists()

    # Bytes: what a commit names stays, and what is young; the rest goes where it is asked for.
    stores = [judged / ".dvc/cache/files/md5", home() / "dvc-remote/files/md5"]
    locks = {number: git(judged, "show", f"refs/runs/{name}:dvc.lock") for number, name in enumerate(RUNS)}
    named = {number: set(re.findall(r"md5: (\w{32}(?:\.dir)?)", lock)) for number, lock in locks.items()}

    def there() -> list[set[str]]:
        return [{file.parent.name + file.name for file in store.glob("??/*")} for store in stores]

    before = there()
    git(judged, "update-ref", "-d", "refs/runs/run-1")
    young = clickflow(judged, "prune", "--objects", "--days", "0")["removed"]
    assert not [gone for gone in young if "objects" in gone["what"]]
    for file in (file for store in stores for file in store.glob("??/*")):
        os.utime(file, (past, past))
    would = clickflow(judged, "prune", "--objects", "--days", "30", "--dry-run")
    assert there() == before
    report = clickflow(judged, "prune", "--objects", "--days", "30")
    assert [gone for gone in report["removed"] if "objects" in gone["what"]] == would["removed"][-2:]
    kept_names = named[0] | named[2]
    for now, was in zip(there(), before, strict=True):
        assert was & kept_names == now & kept_names
        assert was & named[1] - kept_names
        assert not now & named[1] - kept_names
    shutil.rmtree(judged / ".dvc/cache")
    assert clickflow(judged, "checkout", "first", "--into", str(home() / "back"))["clean"] is True


@pytest.mark.slow
def test_references_go_at_the_repository_too(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "clone", "--quiet", "--bare", str(judged), str(tmp_path / "shop.git"))
    url = (tmp_path / "shop.git").as_uri()
    plan = graph.load(judged)
    opened = [runs.open_run(url, home(), name, {}, compiled=plan, say=quiet) for name in ("old", "new")]
    for run in opened:
        git(tmp_path / "shop.git", "update-ref", run.reference, "main")
    monkeypatch.setenv("CLICKFLOW_REPOSITORY", url)
    report = clickflow(judged, "prune", "--keep", "0", "--days", "0")
    assert report["kept"] == []
    assert git(tmp_path / "shop.git", "for-each-ref", "refs/runs") == ""
    assert clickflow(judged, "runs")["total"] == 0
