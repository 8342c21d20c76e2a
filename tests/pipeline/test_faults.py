"""Faults in the middle of a run: it fails with what was kept and what to do, and goes on when that is done."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_shop import git

from clickflow.orchestration import fragments, graph, runs
from clickflow.orchestration.workspace import Run
from clickflow.system import process
from clickflow.system.errors import ClickflowError


def quiet(line: str) -> None:
    """Nobody is watching."""


def opened(shop: Path, name: str, home: Path, events: int = 5) -> Run:
    return runs.open_run(shop, home, name, {"simulator.events": events}, compiled=graph.load(shop), say=quiet)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_remote_lost_in_mid_run_fails_the_stage_which_keeps_its_work(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    monkeypatch.setenv("CLICKFLOW_DVC_REMOTE", str(store))
    run = opened(shop, "lost", tmp_path / "home")
    ingest = runs.run_stage(run, "ingest", [], quiet)
    store.rename(tmp_path / "unplugged")
    store.write_text("no folder any more")
    with pytest.raises(ClickflowError, match="check is done, but its outputs did not reach the DVC remote") as fault:
        runs.run_stage(run, "check", [ingest], quiet)
    assert str(run.workspaces / "check") in fault.value.kept
    assert "remote can be reached" in fault.value.next_step
    store.unlink()
    (tmp_path / "unplugged").rename(store)
    lines: list[str] = []
    assert "check" in runs.run_stage(run, "check", [ingest], lines.append)
    assert any("is cached" in line for line in lines), lines


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_disk_is_named_and_the_run_goes_on_when_there_is_room(
    shop: Path, tmp_path: Path, small_disk: Path
) -> None:
    home = tmp_path / "home"
    run = opened(shop, "full", home)
    ingest = runs.run_stage(run, "ingest", [], quiet)
    (home / "workspaces").mkdir(exist_ok=True)
    (home / "workspaces/full").symlink_to(small_disk)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1_990_000))
    with pytest.raises(ClickflowError, match="no space is left on the disk of") as fault:
        runs.run_stage(run, "check", [ingest], quiet)
    assert "clickflow prune" in fault.value.next_step
    filler.unlink()
    assert "check" in runs.run_stage(run, "check", [ingest], quiet)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_lock_files_that_a_killed_dvc_left_behind_stop_nobody(shop: Path) -> None:
    locks = shop / ".dvc/tmp"
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "lock").write_text(" 999999\n")
    blocked = f'{{"write": {{"{shop}/data/events": {{"pid": 999999, "cmd": "dvc repro"}}}}, "read": {{}}}}'
    for left in (blocked, '{"write": {"cut'):
        (locks / "rwlock").write_text(left)
        env = {**os.environ, **process.NO_TELEMETRY}
        done = process.dvc(["repro", "--force", "ingest"], cwd=shop, env=env, say=quiet)
        assert done.code == 0, done.tail


@pytest.mark.platform
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_runs_at_once_do_not_touch_each_other(shop: Path, tmp_path: Path) -> None:
    plan, home = graph.load(shop), tmp_path / "home"

    def whole(events: int) -> Run:
        run = opened(shop, f"run-{events}", home, events)
        done: dict[str, fragments.Fragments] = {}
        for stage in plan.stages:
            done[stage] = runs.run_stage(run, stage, [done[up] for up in plan.upstream(stage)], quiet)
        runs.record(run, done.values(), quiet)
        return run

    before = git(shop, "status", "--porcelain")
    with ThreadPoolExecutor(10) as pool:
        ten = list(pool.map(whole, range(1001, 1011)))
    for run in ten:
        weights = (run.folder / "models/next_step/weights").read_text().splitlines()
        assert [line for line in weights if line.startswith("10")] == [run.id.removeprefix("run-")]
    references = git(shop, "for-each-ref", "--format=%(refname)", "refs/runs").split()
    assert sorted(references) == sorted(run.reference for run in ten)
    assert git(shop, "status", "--porcelain") == before
    assert not any((home / "workspaces").glob("*/*"))
    shutil.rmtree(home)
