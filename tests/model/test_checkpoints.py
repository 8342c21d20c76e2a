"""Killed at any time and run again: the same weights as undisturbed."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from killed_training import main, run, write
from markov_log import CPU, log, model, sizes

import forks
from clickflow.system.files import sha256
from clickflow.training.checkpoints import Checkpoint, Checkpoints, fingerprint
from clickflow.training.loop import train
from clickflow.training.state import Progress


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and history of a training that nobody stopped."""
    out = tmp_path_factory.mktemp("undisturbed")
    write(run(None), out)
    return out


def same(out: Path, undisturbed: Path) -> bool:
    return all(sha256(out / name) == sha256(undisturbed / name) for name in ("weights.safetensors", "history.json"))


def state_of(folder: Path) -> dict[str, int] | None:
    """The progress in the newest checkpoint of `folder`."""
    newest = max(folder.glob("step-*.json"), default=None)
    return json.loads(newest.read_text())["state"] if newest else None


def killed_after(folder: Path, out: Path, epoch: int, batch: int, *, last: bool = False) -> None:
    """Let a training go on that is killed after the checkpoint of that place, or of the last pass there."""
    process = forks.context().Process(target=main, args=(folder, out, (last, epoch, batch)))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_in_mid_epoch_and_in_the_last_pass_the_weights_are_the_same(tmp_path: Path, undisturbed: Path) -> None:
    folder, out = tmp_path / "checkpoints", tmp_path / "out"
    killed_after(folder, out, 0, 2)
    killed_after(folder, out, 1, 3)
    left = state_of(folder)
    assert left is not None
    assert left["epoch"] >= 1
    killed_after(folder, out, 0, 1, last=True)
    assert not out.exists()
    write(run(folder), out)
    assert same(out, undisturbed)


@pytest.mark.parametrize("kind", ["adamw", "sgd", "adagrad"])
@pytest.mark.parametrize("steps", [3, 9])
def test_stopped_after_so_many_steps_and_continued(kind: str, steps: int, tmp_path: Path) -> None:
    split = log(150, 0)
    spec = model(epochs=2)
    spec = replace(spec, optimiser=replace(spec.optimiser, kind=kind))
    checkpoints = Checkpoints(tmp_path, 0.0)

    def go(kept: Checkpoints | None, limit: int | None = None) -> dict[str, torch.Tensor]:
        given = {"seed": 0, "settings": CPU, "checkpoints": kept, "max_steps": limit}
        return train(spec, sizes(split), split, log(30, 1), **given).network.state_dict()  # type: ignore[arg-type]

    expected = go(None)
    go(checkpoints, steps)
    weights = go(checkpoints)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_a_finished_training_is_not_done_again(tmp_path: Path, undisturbed: Path) -> None:
    folder, out = tmp_path / "checkpoints", tmp_path / "out"
    run(folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    write(run(folder), out)
    assert same(out, undisturbed)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    Checkpoints(folder, 0.0).remove()
    assert not folder.exists()


DAMAGE = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:20]),
    "flipped": lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_a_damaged_checkpoint_is_passed_over_with_a_message(damage: str, suffix: str, tmp_path: Path) -> None:
    lines: list[str] = []
    checkpoints = Checkpoints(tmp_path, 0.0, lines.append)
    (tmp_path / "step-000000000.safetensors").write_bytes(b"of a kill before its JSON was written")
    for step in (1, 2, 3):
        checkpoints.save(step, Checkpoint({"weights": torch.full((3,), float(step))}, {"step": step}))
    assert len(list(tmp_path.iterdir())) == 4, "two are kept"
    if (damage, suffix) == ("flipped", ".json"):
        # still JSON, still a state: 3 has become 7
        path = tmp_path / "step-000000003.json"
        path.write_text(path.read_text(encoding="utf-8").replace('"step": 3', '"step": 7'), encoding="utf-8")
    else:
        DAMAGE[damage](tmp_path / f"step-000000003{suffix}")
    checkpoint = checkpoints.newest()
    assert checkpoint is not None
    assert checkpoint.state == {"step": 2}
    assert checkpoint.tensors["weights"].tolist() == [2.0, 2.0, 2.0]
    if (damage, suffix) != ("gone", ".json"):
        assert len(lines) == 1
        assert "step-000000003" in lines[0]


def test_where_every_checkpoint_is_damaged_training_starts_anew(tmp_path: Path, undisturbed: Path) -> None:
    folder, lines = tmp_path / "checkpoints", list[str]()
    run(folder)
    for path in folder.glob("*.safetensors"):
        path.write_bytes(b"no tensors")
    write(run(folder, lines.append), tmp_path / "out")
    assert len(lines) == 2
    assert same(tmp_path / "out", undisturbed)


def test_a_fingerprint_changes_with_whatever_training_depends_on(tmp_path: Path) -> None:
    source = tmp_path / "loop.py"
    source.write_text("a = 1\n")
    first = fingerprint({"units": 100}, 0, "data", sources=[source])
    assert first == fingerprint({"units": 100}, 0, "data", sources=[source])
    assert first != fingerprint({"units": 101}, 0, "data", sources=[source])
    assert first != fingerprint({"units": 100}, 1, "data", sources=[source])
    source.write_text("a = 2\n")
    assert first != fingerprint({"units": 100}, 0, "data", sources=[source])


def test_progress_survives_json_to_the_last_digit(tmp_path: Path) -> None:
    progress = Progress(epoch=1, batch=3, step=9, sums={"next_item": [1 / 3 * 1e7, 12]}, best_loss=0.1 + 0.2)
    checkpoints = Checkpoints(tmp_path, 0.0)
    checkpoints.save(9, Checkpoint({}, vars(progress)))
    checkpoint = checkpoints.newest()
    assert checkpoint is not None
    assert Progress(**checkpoint.state) == progress


def test_a_checkpoint_that_cannot_be_written_does_not_stop_training(tmp_path: Path, undisturbed: Path) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    lines: list[str] = []
    write(run(tmp_path / "file" / "checkpoints", lines.append), tmp_path / "out")
    assert lines
    assert all("was not written, training goes on" in line for line in lines)
    assert same(tmp_path / "out", undisturbed)
