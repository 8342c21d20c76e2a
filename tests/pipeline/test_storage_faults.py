"""A remote that is gone or full, a stage that was killed: it is named, and the run goes on when that is mended."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_shop import commit

from clickflow.orchestration import fragments, graph, runs
from clickflow.orchestration.workspace import Run
from clickflow.system.errors import ClickflowError


def quiet(line: str) -> None:
    """Nobody is watching."""


def open_run(shop: Path, name: str, events: int) -> Run:
    plan = graph.load(shop)
    return runs.open_run(shop, shop.parent / "home", name, {"simulator.events": events}, compiled=plan, say=quiet)


def recorded(shop: Path, name: str, events: int) -> Run:
    run, done = open_run(shop, name, events), dict[str, fragments.Fragments]()
    plan = graph.load(shop)
    for stage in plan.stages:
        done[stage] = runs.run_stage(run, stage, [done[up] for up in plan.upstream(stage)], quiet)
    runs.record(run, done.values(), quiet)
    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a disk of its own")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_folder_that_is_gone_is_not_begun_anew_without_a_word(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC would make the folder, and keep a part of a run where other machines cannot find the rest."""
    remote = shop.parent / "disk/remote"
    monkeypatch.setenv("CLICKFLOW_DVC_REMOTE", str(remote))
    recorded(shop, "one", 100)
    run = open_run(shop, "two", 101)
    remote.rename(shop.parent / "elsewhere")
    for mount_point in (False, True):
        if mount_point:
            remote.mkdir()
        with pytest.raises(ClickflowError) as error:
            runs.run_stage(run, "ingest", [], quiet)
        assert f"the DVC remote {remote}" in error.value.what
        assert "mount it" in error.value.next_step
        assert not list(shop.parent.glob("disk/remote/*"))
    remote.rmdir()
    (shop.parent / "elsewhere").rename(remote)
    ingest = runs.run_stage(run, "ingest", [], quiet)
    shutil.rmtree(shop / ".dvc/cache")
    assert "check" in runs.run_stage(run, "check", [ingest], quiet)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_remote_is_named_and_the_work_is_not_done_again(
    shop: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKFLOW_DVC_REMOTE", str(small_disk / "remote"))
    run = open_run(shop, "full", 100)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    with pytest.raises(ClickflowError) as error:
        runs.run_stage(run, "ingest", [], quiet)
    assert "did not reach the DVC remote" in error.value.what
    assert "No space left on device" in error.value.what
    assert "has room" in error.value.next_step
    ballast.unlink()
    lines: list[str] = []
    assert "ingest" in runs.run_stage(run, "ingest", [], lines.append)
    assert not any(line.startswith("> ") for line in lines), "the stage was done again"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_stage_that_was_killed_is_said_to_be(shop: Path) -> None:
    """Not by the code of a shell: whoever reads it thinks of memory at once."""
    check = shop / "check.sh"
    check.write_text("kill -9 $$\n")
    commit(shop)
    run = open_run(shop, "killed", 100)
    ingest = runs.run_stage(run, "ingest", [], quiet)
    with pytest.raises(ClickflowError, match=r"stage check was killed \(Killed, signal 9\)") as error:
        runs.run_stage(run, "check", [ingest], quiet)
    assert error.value.exit_code == 1, "it is tried again"
    assert "memory" in error.value.next_step
