"""`python -m clickflow.tuning.trial JOB`: one trial, in a process of its own.

JOB is a JSON file that `search.py` wrote. It reports on standard output, a JSON object a line after `MARK`:
`epoch` with its record of the history, then `done` or `failed`. Other lines are for the log.
"""

import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clickflow.models import item_features
from clickflow.models.ensemble import parameters
from clickflow.models.network import Network
from clickflow.models.tabular import parameters as parameters_of
from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.sequences.store import PackedSplit, open_split, read_card
from clickflow.system.errors import EXIT_FAILED, EXIT_INTERRUPTED, ClickflowError
from clickflow.system.files import read_json
from clickflow.training import counts, forecasts, tabular
from clickflow.training.budget import OPEN
from clickflow.training.loop import train
from clickflow.training.networks import readable, sizes
from clickflow.tuning import MARK


class Stopped(Exception):
    """Whoever started the trial has seen enough of it."""


class _Teller:
    """Tells how training goes, and ends it where the file `stop` is there."""

    def __init__(self, stop: Path) -> None:
        self.stop = stop

    def start(self, network: Network, steps: int, done: int, why: str) -> None:  # noqa: ARG002
        tell(
            {
                "parameters": parameters(network),
                "epochs": network.spec.budget.epochs or OPEN,
                "steps": steps,
                "why": why,
            }
        )

    def step(self, steps: int, questions: int, loss: float) -> None:  # noqa: ARG002
        if self.stop.exists():
            raise Stopped

    def epoch(self, record: dict[str, Any]) -> None:
        tell({"epoch": record["epoch"], "record": record})


def tell(what: dict[str, Any]) -> None:
    """One line for the process that started this one."""
    sys.stdout.write(f"{MARK}{json.dumps(what)}\n")
    sys.stdout.flush()


def latest(split: PackedSplit, sequences: int | None) -> PackedSplit:
    """The last `sequences` of a split, which are its latest; all where there are no more, or None is asked for."""
    if sequences is None or sequences >= split.n_sequences:
        return split
    return split.latest(sequences)


def network(params: Params, name: str, folder: Path, stop: Path) -> tuple[int, dict[str, Any]]:
    """Train the model `name`, a network; its best epoch, and the figures of the validation part there."""
    card = read_card(folder)
    spec = readable(replace(params.model(name), ensemble=()), card)
    codes = item_features.read(folder, spec.encoder.item_features, card.known)
    trained = train(
        spec,
        replace(sizes(card), item_codes=codes),
        latest(open_split(folder, "train"), params.tuning.max_sequences),
        open_split(folder, "valid"),
        seed=params.seed,
        settings=params.training,
        watcher=_Teller(stop),
    )
    return trained.best_epoch, trained.history[trained.best_epoch - 1].get("valid", {})


def of_features(params: Params, name: str, folder: Path, stop: Path) -> tuple[int, dict[str, Any]]:  # noqa: ARG001
    """Fit the model `name`, of hand-made features, to the training part; the figures of the validation part."""
    trained = tabular.train(name, params.model(name), folder, params.seed, final=False)
    tell({"parameters": parameters_of(trained.model.onnx()), "epochs": 1, "steps": 1, "why": "the CPU"})
    tell({"epoch": 1, "record": trained.record})
    return 1, trained.record["valid"]


def of_series(params: Params, name: str, folder: Path, stop: Path) -> tuple[int, dict[str, Any]]:  # noqa: ARG001
    """Fit the model `name`, which forecasts series, to the training part; the figures of the validation part."""
    trained = forecasts.train(params.model(name), folder, read_card(folder), params.seed, final=False)
    tell({"parameters": trained.model.parameters, "epochs": 1, "steps": 1, "why": "the CPU"})
    tell({"epoch": 1, "record": trained.record})
    return 1, trained.record["valid"]


def of_counts(params: Params, name: str, folder: Path, stop: Path) -> tuple[int, dict[str, Any]]:  # noqa: ARG001
    """Fit the model `name`, of counts; the loss of the validation part, to which a few weights are fitted."""
    trained = counts.train(params.model(name), folder, params.seed)
    tell({"parameters": trained.model.weights.numel(), "epochs": 1, "steps": 1, "why": "the CPU"})
    record = trained.record | {"valid": trained.record["train"]}
    tell({"epoch": 1, "record": record})
    return 1, record["valid"]


TRIALS: Mapping[str, Callable[[Params, str, Path, Path], tuple[int, dict[str, Any]]]] = {
    "network": network,
    "boosting": of_features,
    "logistic": of_features,
    "blend": of_features,
    "counts": of_counts,
    "forecast": of_series,
}
"""By kind of model."""


def main(words: Sequence[str]) -> int:
    """Train what the job says; the exit code."""
    job = read_json(Path(words[0]))
    stop = Path(job["stop"])
    try:
        params = check(job["params"])
        best, valid = TRIALS[params.model(job["model"]).kind](params, job["model"], Path(job["store"]), stop)
    except Stopped:
        return 0
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except ClickflowError as error:
        tell({"failed": error.what})
        return error.exit_code
    except Exception as error:  # out of memory above all: whoever started the trial goes on with the next
        traceback.print_exc()
        tell({"failed": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"})
        return EXIT_FAILED
    tell({"done": best, "valid": valid})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
