"""A training in a process of its own, as on a worker."""

import os
import signal
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

from killed_training import write
from markov_log import CPU, log, model, sizes

from clickflow.training.checkpoint_mirror import Mirror
from clickflow.training.checkpoints import Checkpoint, Checkpoints
from clickflow.training.loop import train


def run(repository: Path, home: Path, out: Path) -> None:
    """Train, with checkpoints below `home` and at the remote of `repository`; weights and history go to `out`."""
    mirror = Mirror(repository, "mark", print)
    checkpoints = Checkpoints(home / "checkpoints", 0.0, print, mirror)
    split = log(300, 0)
    trained = train(model(epochs=3), sizes(split), split, log(60, 1), seed=0, settings=CPU, checkpoints=checkpoints)
    write(trained, out)
    checkpoints.remove()


def steps(store: Path) -> list[int]:
    """The steps of the checkpoints that the remote has whole."""
    return sorted(int(path.stem.removeprefix("step-")) for path in store.rglob("step-*.json"))


def kill_with_two(store: Path) -> None:
    """Let this process be killed when the remote has two checkpoints."""
    save = Checkpoints.save

    def saving(self: Checkpoints, step: int, checkpoint: Checkpoint) -> None:
        save(self, step, checkpoint)
        while step not in steps(store):
            time.sleep(0.01)
        if len(steps(store)) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    patch.object(Checkpoints, "save", saving).start()


def main(log_file: Path, repository: Path, home: Path, out: Path, store: Path | None = None) -> None:
    """Train, what is said in a file. With `store`, the folder in which the remote keeps its files, wait for each
    checkpoint to be there, and be killed when there are two.
    """
    if store:
        kill_with_two(store)
    with log_file.open("w", encoding="utf-8") as file, redirect_stdout(file):
        run(repository, home, out)
