"""A training in a process of its own, to be killed."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from markov_log import CPU, log, model, sizes
from safetensors.torch import save_file

from clickflow.system.files import write_json, write_text
from clickflow.training import checkpoints
from clickflow.training.checkpoints import Checkpoint, Checkpoints
from clickflow.training.loop import Trained, train


def run(folder: Path | None, say: Callable[[str], None] = print) -> Trained:
    """Train with dropout and a validation part, which is learned last; checkpoints, one a step, go to `folder`. It is
    over after four epochs of some five steps.
    """
    split = log(80, 0)
    kept = Checkpoints(folder, 0.0, say) if folder else None
    spec = model(patience=1)
    network, embedding = spec.optimiser.learning_rate, spec.optimiser.embedding_learning_rate
    hasty = replace(spec.optimiser, learning_rate=3 * network, embedding_learning_rate=3 * embedding)
    # the validation part decides; weights are averaged
    spec = replace(spec, budget=replace(spec.budget, epochs=None), optimiser=hasty)
    given = {"seed": 0, "settings": CPU, "checkpoints": kept, "last_pass": True}
    return train(spec, sizes(split), split, log(40, 1), **given)  # type: ignore[arg-type]


def write(trained: Trained, out: Path) -> None:
    """Weights and history, for their bytes to be compared."""
    out.mkdir(exist_ok=True)
    save_file(trained.network.state_dict(), out / "weights.safetensors")
    write_json(out / "history.json", trained.history)


def main(folder: Path, out: Path, after: tuple[bool, int, int] | None = None) -> None:
    """All of it, from whatever checkpoint there is; killed between the two files of the next checkpoint after a place:
    the last pass or not, epoch, batch.
    """
    torch.set_num_threads(1)
    if after:
        save, reached = Checkpoints.save, list[int]()

        def saving(self: Checkpoints, step: int, checkpoint: Checkpoint) -> None:
            save(self, step, checkpoint)
            state = checkpoint.state
            if (state["last"], state["epoch"], state["batch"]) >= after:
                reached.append(step)

        def writing(path: Path, text: str) -> None:
            if reached:
                os.kill(os.getpid(), signal.SIGKILL)
            write_text(path, text)

        patch.object(Checkpoints, "save", saving).start()
        patch.object(checkpoints, "write_text", writing).start()
    write(run(folder), out)
