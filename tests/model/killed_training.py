"""A training in a process of its own, to be killed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from markov_log import CPU, log, model, sizes
from safetensors.torch import save_file

from clickflow.system.files import write_json
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.loop import Trained, train


def run(folder: Path | None, say: Callable[[str], None] = print) -> Trained:
    """Train with dropout and a valid part, which is learned last; checkpoints, one a step, go to `folder`."""
    split = log(120, 0)
    checkpoints = Checkpoints(folder, 0.0, say) if folder else None
    spec = model()
    spec = replace(spec, budget=replace(spec.budget, epochs=None))  # the valid part decides; weights are averaged
    given = {"seed": 0, "settings": CPU, "checkpoints": checkpoints, "last_pass": True}
    return train(spec, sizes(split), split, log(40, 1), **given)  # type: ignore[arg-type]


def write(trained: Trained, out: Path) -> None:
    """Weights and history, for their bytes to be compared."""
    out.mkdir(exist_ok=True)
    save_file(trained.network.state_dict(), out / "weights.safetensors")
    write_json(out / "history.json", trained.history)


def main(folder: Path, out: Path) -> None:
    """All of it, from whatever checkpoint there is."""
    torch.set_num_threads(1)
    write(run(folder), out)
