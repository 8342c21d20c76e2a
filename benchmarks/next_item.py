"""How well, and how fast, the repository's own preset predicts the next item of public session logs.

    python benchmarks/next_item.py --train train.tsv.gz --test test.tsv.gz --json result.json

Reads tab-separated `SessionId ItemId Time` (gzip or not), trains on the first file, and ranks all its items for every
next click in the sessions of the second. Items that the first file does not have are removed from the second before
anything else; an item with the same score as the true one counts as ranked before it. How long training goes on is
decided by the last fiftieth of the training sessions, which is learned when it has decided (`training.last_pass`); with
`--set budget.epochs=N` it is trained on from the first.

    --tail 0.1                           the last tenth of the training sessions in place of a test file
    --longest 0.02                       the longest fiftieth of them
    --set encoder.kind=lstm              another value of the model's params, once or several times
    --baselines vsknn,vstan              measured beside it on the same questions
"""

import argparse
import json
import platform
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from session_log import CUTOFFS, log, options

from clickflow.cli import guarded
from clickflow.orchestration.overrides import parse
from clickflow.params.file import load, with_values
from clickflow.params.models import Kind, Model
from clickflow.params.training import Training
from clickflow.sequences.features import statistics
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import PackedSplit
from clickflow.system import console
from clickflow.system.errors import UsageError

if TYPE_CHECKING:
    from clickflow.models.sizes import Sizes
    from clickflow.training.distributed import ProcessGroup
    from clickflow.training.loop import Trained

PRESETS: dict[str, tuple[str, tuple[Kind, ...]]] = {
    "default": ("next_step", ()),
    "best": ("next_step", ("gru", "gru", "gru")),
}
"""By name: a model of params.yaml, and what its `ensemble` is."""
HELD_OUT = 0.02
"""Share of the training sessions, the last, that decide how long training goes on; no weight sees them before."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options(parser)
    parser.add_argument("--preset", default="default", help="default, best (three seeds), or a model of params.yaml")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "auto"])
    parser.add_argument("--threads", type=int, help="none: training.threads of params.yaml")
    parser.add_argument("--processes", type=int, default=1, help="that share the work of every batch")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE, another value of the model's params")
    parser.add_argument("--baselines", default="", help="measured beside it on the same questions, with commas")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    result = measure(args)
    text = json.dumps(result, indent=2, sort_keys=True)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def measure(args: argparse.Namespace) -> dict[str, Any]:
    params = load(Path(__file__).resolve().parents[1] / "params.yaml")
    values = parse(args.set)
    threads = args.threads or params.training.threads
    settings = replace(params.training, device=args.device, threads=threads, processes=args.processes)
    name, ensemble = PRESETS.get(args.preset, (args.preset, ()))
    spec = with_values(params, name, values).model(name)
    files = (args.train, args.test, args.tail, args.longest)
    sessions = log(*files, hold_out=0.0 if spec.budget.epochs else HELD_OUT)
    training, testing = sessions.train, sessions.test
    spec = next_item_alone(spec, clock=sessions.clock)
    spec = replace(spec, ensemble=ensemble or spec.ensemble)

    import torch

    from clickflow.models.ensemble import parameters
    from clickflow.models.sizes import Sizes
    from clickflow.training.answers.ranks import Ranks
    from clickflow.training.batches import windows
    from clickflow.training.device import choose, settled
    from clickflow.training.distributed import process_group
    from clickflow.training.validation import answer

    measured = statistics({name: getattr(training, name) for name in ("gap", "since_start", "price")})
    sizes = Sizes(
        known=sessions.items + FIRST_ITEM,
        actions=("view",),
        categories=1,
        statistics={name: (values["mean"], values["std"]) for name, values in measured.items()},
    )
    watcher = Watcher()
    started, spent = time.perf_counter(), time.process_time()
    work = partial(trained_by, spec, sizes, training, sessions.valid, args.seed, settings)
    with process_group(settings.processes, choose(settings).kind, work) as group:
        trained = work(group, watcher=watcher)
    train_seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - spent

    longest = spec.budget.max_length
    started = time.perf_counter()
    with settled(choose(settings), settings.threads):
        test_windows = windows(testing.offsets, longest, to_the_end=False, overlap=longest - 1)
        answers = answer(trained.network, testing, test_windows).heads["next_item"]
    assert isinstance(answers, Ranks)
    rank_seconds = time.perf_counter() - started
    beside = {}
    if args.baselines:
        import baselines

        beside = baselines.measure(log(*files), args.baselines.split(","), timed=False)["systems"]
    return {
        **{f"recall@{k}": answers.recall(k) for k in CUTOFFS},
        **{f"mrr@{k}": answers.mrr(k) for k in CUTOFFS},
        "predictions": len(answers.ranks),
        "train_seconds": train_seconds,
        "train_events_per_second": trained.questions / train_seconds,
        "rank_seconds": rank_seconds,
        "epochs": len(trained.history),
        "kept_after_epochs": trained.history[trained.best_epoch - 1].get("valid", {}).get("after_epochs"),
        "train_cpu_seconds": cpu_seconds,
        "parameters": parameters(trained.network),
        "items": sessions.items,
        "train_sessions": training.n_sequences,
        "train_events": training.n_events,
        "test_sessions": int((np.diff(testing.offsets) > 1).sum()),
        "features": list(spec.encoder.features),
        "preset": args.preset,
        "set": values,
        "baselines": beside,
        "ensemble": list(spec.ensemble),
        "seed": args.seed,
        "device": watcher.device,
        "threads": settings.threads,
        "processes": settings.processes,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }


def trained_by(
    spec: Model,
    sizes: "Sizes",
    split: PackedSplit,
    valid: PackedSplit | None,
    seed: int,
    settings: Training,
    group: "ProcessGroup | None",
    **along: Any,
) -> "Trained":
    """What each process of the group does."""
    from clickflow.training.loop import train

    return train(spec, sizes, split, valid, seed=seed, settings=settings, group=group, last_pass=True, **along)


def next_item_alone(spec: Model, *, clock: bool) -> Model:
    """The preset with only the head next_item, and without what such a log does not have: actions, prices and
    categories, and the time features where there is no clock.
    """
    if "next_item" not in spec.heads:
        raise UsageError("the preset has no head next_item")
    there = ("hour", "weekday", "gap", "since_start") if clock else ()
    features = tuple(name for name in spec.encoder.features if name in there)
    encoder = replace(spec.encoder, features=features, item_features=())
    return replace(spec, encoder=encoder, heads={"next_item": spec.heads["next_item"]})


class Watcher:
    """A line an epoch on stderr."""

    def __init__(self) -> None:
        self.device = ""
        self.steps = self.done = 0
        self.since = time.perf_counter()

    def start(self, network: Any, steps: int, _done: int, why: str) -> None:
        """Training begins."""
        self.device, self.steps, self.done, self.since = why, steps, 0, time.perf_counter()
        console.say(f"{network.sizes.known - FIRST_ITEM:,} items, {steps:,} steps on {why}")

    def step(self, steps: int, _questions: int, _loss: float) -> None:
        """Steps were done."""
        self.done += steps

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch was done."""
        spent = time.perf_counter() - self.since
        valid = "".join(
            f", valid {name} {record['valid'][name]:.4f}" for name in ("loss", "mrr@20") if "valid" in record
        )
        console.say(f"epoch {record['epoch']}: loss {record['train']['loss']:.4f}{valid}, {spent:.0f} s")


if __name__ == "__main__":
    guarded(main)
