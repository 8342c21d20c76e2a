"""A training in a process of its own, as on a worker: `python travelling_training.py REPOSITORY HOME OUT`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))

from killed_training import write
from markov_log import CPU, log, model, sizes

from clickflow.training.checkpoint_mirror import Mirror
from clickflow.training.checkpoints import Checkpoints
from clickflow.training.loop import train


def run(repository: Path, home: Path, out: Path) -> None:
    """Train, with checkpoints below `home` and at the remote of `repository`; weights and history go to `out`."""
    mirror = Mirror(repository, "mark", print)
    checkpoints = Checkpoints(home / "checkpoints", 0.0, print, mirror)
    split = log(300, 0)
    trained = train(model(epochs=3), sizes(split), split, log(60, 1), seed=0, settings=CPU, checkpoints=checkpoints)
    write(trained, out)
    checkpoints.remove()


if __name__ == "__main__":
    run(*(Path(word) for word in sys.argv[1:]))
