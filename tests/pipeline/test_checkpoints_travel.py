"""Killed on one machine, a training goes on, on another, from its checkpoint, to the bytes of an undisturbed one."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import travelling_training
from s3 import served
from small_shop import dvc, git
from travelling_training import steps

import forks
from clickflow.system.files import sha256
from clickflow.training.checkpoint_mirror import Mirror

pytestmark = pytest.mark.usefixtures("_dvc")


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.platform)])
def worker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A DVC repository whose remote is a folder, or a bucket; the store itself lies in tmp_path/store."""
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    dvc(repository, "init", "--quiet")
    if request.param == "folder":
        dvc(repository, "remote", "add", "--default", "store", str(tmp_path / "store"))
        yield repository
        return
    with served(tmp_path / "store", "bucket") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        dvc(repository, "remote", "add", "--default", "store", "s3://bucket/deep/store")
        yield repository


def train(*paths: Path) -> int | None:
    """How a training ended in a process of its own; see `travelling_training.main`."""
    process = forks.context().Process(target=travelling_training.main, args=paths)
    process.start()
    process.join(300)
    return process.exitcode


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_here_it_goes_on_there_with_the_same_bytes(worker: Path, tmp_path: Path) -> None:
    travelling_training.run(worker, tmp_path / "alone", tmp_path / "expected")
    assert steps(tmp_path / "store") == []

    log = tmp_path / "said"
    assert train(log, worker, tmp_path / "one", tmp_path / "out", tmp_path / "store") == -signal.SIGKILL
    assert not (tmp_path / "out").exists()

    assert train(log, worker, tmp_path / "two", tmp_path / "out") == 0
    assert "2 checkpoints came from" in log.read_text()
    for name in ("weights.safetensors", "history.json"):
        assert sha256(tmp_path / "out" / name) == sha256(tmp_path / "expected" / name)
    assert list((tmp_path / "store").rglob("step-*")) == []
    assert not (tmp_path / "two/checkpoints").exists()


def test_the_newer_of_here_and_there_counts(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    dvc(repository, "init", "--quiet")
    dvc(repository, "remote", "add", "--default", "store", str(tmp_path / "store"))
    there = tmp_path / "store/checkpoints/mark"
    there.mkdir(parents=True)
    for step in (3, 7):
        for suffix in ("safetensors", "json"):
            (there / f"step-{step:09d}.{suffix}").write_text(json.dumps({"there": step}))
    here = tmp_path / "here"
    here.mkdir()
    (here / "step-000000005.json").write_text("{}")
    lines: list[str] = []
    Mirror(repository, "mark", lines.append).fetch(here)
    assert sorted(path.name for path in here.iterdir()) == [
        "step-000000005.json",
        "step-000000007.json",
        "step-000000007.safetensors",
    ]
    assert len(lines) == 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_remote_that_cannot_be_reached_is_told_once_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    git(repository, "init", "--quiet")
    dvc(repository, "init", "--quiet")
    (tmp_path / "file").write_text("where the folder should be")
    dvc(repository, "remote", "add", "--default", "store", str(tmp_path / "file/store"))
    travelling_training.run(repository, tmp_path / "home", tmp_path / "out")
    stdout = capsys.readouterr().out
    assert stdout.count("the DVC remote does not take them") == 1
    assert (tmp_path / "out/weights.safetensors").is_file()
