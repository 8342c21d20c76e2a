"""A run through workspaces gives what `dvc repro` gives by hand, touches nothing else, and can be taken up again."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_shop import CHECK, commit, dvc, git

from clickflow.orchestration import dvc_storage, fragments, graph, overrides, runs, workspace
from clickflow.orchestration.workspace import Run
from clickflow.params import patch
from clickflow.params.file import load
from clickflow.system.errors import ClickflowError, UsageError


def quiet(line: str) -> None:
    """Nobody is watching."""


def open_run(shop: Path, name: str, values: Mapping[str, Any] | None = None, say: Any = quiet) -> Run:
    plan = graph.load(shop)
    return runs.open_run(shop, shop.parent / "home", name, values or {}, compiled=plan, say=say)


def stages(run: Run, shop: Path) -> dict[str, fragments.Fragments]:
    plan, done = graph.load(shop), dict[str, fragments.Fragments]()
    for stage in plan.stages:
        done[stage] = runs.run_stage(run, stage, [done[up] for up in plan.upstream(stage)], quiet)
    return done


def by_hand(shop: Path, values: Mapping[str, Any]) -> Path:
    copy = Path(shutil.copytree(shop, shop.parent / "by_hand"))
    workspace.set_params(copy, values)
    dvc(copy, "repro", "--quiet")
    return copy


@pytest.mark.slow
def test_a_run_equals_dvc_repro_by_hand_and_comes_back_whole(shop: Path) -> None:
    values = {"simulator.events": 500, "models.next_step.budget.epochs": 3}
    before = git(shop, "status", "--porcelain", "--ignored", "--", ".", ":!.dvc/cache")
    run = open_run(shop, "manual__2026-01-05T10:00:00+00:00", values)
    recorded = runs.record(run, stages(run, shop).values(), quiet)

    copy = by_hand(shop, values)
    assert git(shop, "show", f"{run.reference}:dvc.lock") == (copy / "dvc.lock").read_text()
    assert git(shop, "show", f"{run.reference}:params.yaml") == (copy / "params.yaml").read_text()
    assert git(shop, "rev-parse", f"{recorded}^").strip() == git(shop, "rev-parse", "HEAD").strip() == run.commit
    assert (run.folder / "models/next_step/weights").read_text() == (copy / "models/next_step/weights").read_text()
    assert not run.workspaces.exists()
    assert git(shop, "status", "--porcelain", "--ignored", "--", ".", ":!.dvc/cache") == before

    elsewhere = shop.parent / "elsewhere"
    git(shop.parent, "clone", "--quiet", str(shop), str(elsewhere))
    git(elsewhere, "fetch", "--quiet", "origin", run.reference)
    git(elsewhere, "checkout", "--quiet", "FETCH_HEAD")
    dvc(elsewhere, "remote", "add", "--default", "--local", "home", str(shop.parent / "home/dvc-remote"))
    dvc(elsewhere, "pull", "--quiet")
    assert (elsewhere / "models/next_step/weights").read_bytes() == (copy / "models/next_step/weights").read_bytes()
    shutil.copy(shop / "data/raw/raw.csv", elsewhere / "data/raw")
    assert "up to date" in dvc(elsewhere, "status")


@pytest.mark.slow
def test_two_runs_at_once_keep_to_themselves(shop: Path) -> None:
    def whole(events: int) -> Run:
        run = open_run(shop, f"run-{events}", {"simulator.events": events})
        runs.record(run, stages(run, shop).values(), quiet)
        return run

    with ThreadPoolExecutor(2) as pool:
        pair = list(pool.map(whole, [1111, 2222]))
    for run in pair:
        weights = (run.folder / "models/next_step/weights").read_text()
        assert [line for line in weights.splitlines() if line in {"1111", "2222"}] == [run.id.removeprefix("run-")]
    assert git(shop, "for-each-ref", "--format=%(refname)", "refs/runs").split() == [run.reference for run in pair]
    assert git(shop, "status", "--porcelain") == ""


@pytest.mark.slow
def test_recording_again_after_another_attempt_replaces_the_first(shop: Path) -> None:
    run = replace(open_run(shop, "again", {"models.next_step.budget.epochs": 1}), note="to see it twice")
    done = stages(run, shop)
    first = runs.record(run, done.values(), quiet)
    message = git(shop, "log", "-1", "--format=%B", run.reference)
    assert "to see it twice" in message
    assert "models.next_step.budget.epochs: 1" in message
    runs.record(run, done.values(), quiet)
    assert (run.folder / "models/next_step/weights").read_text().endswith("\n1\n")

    cleared = Run(run.id, run.commit, run.repository, run.home, {"models.next_step.budget.epochs": 2})
    done["train@next_step"] = runs.run_stage(cleared, "train@next_step", [done["ingest"], done["check"]], quiet)
    second = runs.record(cleared, done.values(), quiet)
    assert second != first
    assert git(shop, "rev-parse", run.reference).strip() == second
    assert (run.folder / "models/next_step/weights").read_text().endswith("\n2\n")


def test_a_failed_stage_keeps_its_workspace_and_says_where_and_can_be_done_again(shop: Path) -> None:
    (shop / "data/raw/raw.csv").write_text("rotten\n")
    run = open_run(shop, "bad")
    lines: list[str] = []
    ingest = runs.run_stage(run, "ingest", [], quiet)
    with pytest.raises(runs.StageFailed, match="a rotten row in raw") as failure:
        runs.run_stage(run, "check", [ingest], lines.append)
    assert failure.value.exit_code == 3
    kept = run.workspaces / "check"
    assert str(kept) in failure.value.kept
    assert (kept / "data/events/all.csv").read_text().startswith("rotten")
    assert any("rotten" in line for line in lines)

    by_hand = failure.value.next_step.removeprefix("by hand: ")
    env = workspace.environment(run, kept)
    assert "rotten row" in subprocess.run(by_hand, shell=True, env=env, capture_output=True, text=True).stderr

    again = runs.run_stage(run, "ingest", [], quiet)
    assert again == ingest
    (shop / "check.sh").write_text(CHECK.replace("exit 3", "true"))
    commit(shop)
    mended = open_run(shop, "bad")
    assert runs.run_stage(mended, "check", [again], quiet).keys() == {"check"}
    assert not kept.exists()


def test_what_the_cache_has_lost_comes_from_the_remote(shop: Path) -> None:
    run = open_run(shop, "lost")
    ingest = runs.run_stage(run, "ingest", [], quiet)
    shutil.rmtree(shop / ".dvc/cache")
    assert "check" in runs.run_stage(run, "check", [ingest], quiet)


def test_the_log_of_a_stage_ends_without_advice_to_do_by_hand_what_the_run_does(shop: Path) -> None:
    lines: list[str] = []
    runs.run_stage(open_run(shop, "first"), "ingest", [], lines.append)
    text = "\n".join(lines)
    assert "Running stage 'ingest'" in text
    assert not re.search(r"git add|core\.autostage|dvc push`|track the changes", text), text


@pytest.mark.parametrize("path", ["data/nowhere", "/nowhere/at/all"])
def test_a_source_that_is_not_there_is_said_before_dvc_speaks_of_its_stages(shop: Path, path: str) -> None:
    params = shop / "params.yaml"
    params.write_text(patch.apply(params.read_text(), {"source.kind": "files", "source.path": path}))
    commit(shop)
    with pytest.raises(UsageError, match=f"source.path: {path} is not there"):
        runs.run_stage(open_run(shop, "nowhere"), "ingest", [], quiet)


def test_raw_files_kept_by_dvc_are_those_of_the_commit(shop: Path) -> None:
    dvc(shop, "add", "--quiet", "data/raw/raw.csv")
    commit(shop)
    (shop / "data/raw/raw.csv").unlink()
    (shop / "data/raw/raw.csv").write_text("changed since\n")
    (shop / "data/raw/more.csv").write_text("click,3\n")
    run = open_run(shop, "kept")
    runs.run_stage(run, "ingest", [], quiet)
    copy = run.workspaces.parent / "seen"
    workspace.clone(shop, copy, run.commit)
    dvc_storage.configure(copy, run.repository, Path(run.home))
    fragments.write(copy, runs.run_stage(run, "ingest", [], quiet), ["ingest"])
    dvc(copy, "pull", "--quiet", "data/events")
    events = load(shop / "params.yaml").simulator.events
    assert (copy / "data/events/all.csv").read_text() == f"click,3\nview,1\ncart,2\n{events}\n"


def test_the_repositorys_own_remote_is_used_from_where_it_lies(shop: Path) -> None:
    dvc(shop, "remote", "add", "--default", "store", "../store")
    commit(shop)
    run = open_run(shop, "remote")
    runs.run_stage(run, "ingest", [], quiet)
    assert any((shop.parent / "store").rglob("*.dir"))
    assert not (Path(run.home) / "dvc-remote").exists()


def test_changes_that_are_not_committed_are_named_and_left_out(shop: Path) -> None:
    (shop / "check.sh").write_text("exit 1\n")
    lines: list[str] = []
    run = open_run(shop, "changed", say=lines.append)
    assert any("check.sh" in line and run.commit[:10] in line for line in lines)
    runs.run_stage(run, "check", [runs.run_stage(run, "ingest", [], quiet)], quiet)


MEMBERS = """
  members:
    foreach: ${models.next_step.ensemble}
    do:
      cmd: echo ${item} > reports/${item}.txt
      deps: [reports/check.txt]
      outs: ["reports/${item}.txt"]
"""


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"simulator.evnts": 5}, "simulator.evnts: unknown key; did you mean 'events'"),
        ({"simulator.events": "many"}, "simulator.events: input should be a valid integer"),
        ({"source.path": "../logs"}, "leads out of the repository"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_made(shop: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as refusal:
        open_run(shop, "wrong", values)
    assert refusal.value.kept == "nothing was run"
    assert not (shop.parent / "home/workspaces").exists() or not any((shop.parent / "home/workspaces").iterdir())


def test_a_run_whose_graph_is_not_the_compiled_one_is_refused(shop: Path) -> None:
    """Airflow's tasks are those of the commit: a run cannot add a stage by another param."""
    graph, params = shop / "dvc.yaml", shop / "params.yaml"
    graph.write_text(graph.read_text() + MEMBERS)
    params.write_text(overrides.apply(params.read_text(), {"models.next_step.ensemble": ["gru"]}))
    commit(shop)
    with pytest.raises(UsageError, match="members@lstm in one of them only"):
        open_run(shop, "wrong", {"models.next_step.ensemble": ["gru", "lstm"]})


def test_an_output_that_cannot_travel_is_refused(shop: Path) -> None:
    text = (
        (shop / "dvc.yaml")
        .read_text()
        .replace("[reports/check.txt]\n  t", "[{reports/check.txt: {cache: false}}]\n  t")
    )
    (shop / "dvc.yaml").write_text(text)
    commit(shop)
    with pytest.raises(UsageError, match="stage train@next_step reads reports/check"):
        open_run(shop, "wrong")


def test_without_a_commit_there_is_no_run(tmp_path: Path, root: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(root / name, tmp_path)
    with pytest.raises(UsageError, match="has no git commit"):
        runs.open_run(tmp_path, tmp_path / "home", "none", {}, compiled=None, say=quiet)


def test_champions_are_frozen_when_the_run_opens(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (shop / "params.yaml").read_text()
    assert "  next_step: 0" in text
    (shop / "params.yaml").write_text(text.replace("  next_step: 0", "  next_step: 7"))
    commit(shop)
    # The registry of an empty home has no champion.
    assert open_run(shop, "frozen").overrides == {"champion.next_step": 0}
    given = runs.open_run(
        shop, shop.parent / "home", "given", {}, compiled=graph.load(shop), champions={"next_step": 2}, say=quiet
    )
    assert given.overrides == {"champion.next_step": 2}


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("manual__2026-01-05T10:00:00.5+00:00", "manual__2026-01-05T10-00-00.5Z"),
        ("a..b/../c.lock", "a.b-.-c-lock"),
    ],
)
def test_run_ids_are_fit_for_folders_and_references(name: str, clean: str) -> None:
    assert runs.run_id(name) == clean
    subprocess.run(["git", "check-ref-format", f"refs/runs/{clean}"], check=True)


def test_a_name_without_a_letter_is_no_run() -> None:
    with pytest.raises(ClickflowError):
        runs.run_id("../..")
