"""How well, and how fast, the repository's own preset predicts the next item of public session logs.

    python benchmarks/next_item.py --train train.tsv.gz --test test.tsv.gz --json result.json

Reads tab-separated `SessionId ItemId Time` (gzip or not), trains on the first file, and ranks all its items for every
next click in the sessions of the second. Items that the first file does not have are removed from the second before
anything else; an item with the same score as the true one counts as ranked before it.
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
from numpy.typing import NDArray

from clickflow import console
from clickflow.cli import guarded
from clickflow.errors import DataError, UsageError
from clickflow.params import Heads, Kind, Model, Training
from clickflow.params_file import load
from clickflow.sequences.features import of_time, statistics
from clickflow.sequences.store import PackedSplit

if TYPE_CHECKING:
    from clickflow.models.network import Sizes
    from clickflow.training.loop import Trained
    from clickflow.training.team import Team

COLUMNS = ("SessionId", "ItemId", "Time")
CUTOFFS = (1, 5, 10, 20)
CLOCK = 1e8
"""Times below are no seconds since 1970 but an order."""
PRESETS: dict[str, tuple[str, tuple[Kind, ...]]] = {
    "default": ("next_step", ()),
    "best": ("next_step", ("gru", "gru", "gru")),
}
"""By name: a model of params.yaml, and what its `ensemble` is."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--preset", default="default", help="default, best (three seeds), or a model of params.yaml")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "auto"])
    parser.add_argument("--threads", type=int, help="none: training.threads of params.yaml")
    parser.add_argument("--processes", type=int, default=1, help="that share the work of every batch")
    parser.add_argument("--json", type=Path, required=True)
    asked = parser.parse_args()
    result = measure(asked)
    text = json.dumps(result, indent=2, sort_keys=True)
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    asked.json.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    import torch

    from clickflow.models.ensemble import parameters
    from clickflow.models.network import Sizes
    from clickflow.training.batches import windows
    from clickflow.training.device import choose, settled
    from clickflow.training.team import gathered
    from clickflow.training.validation import answer

    params = load(Path(__file__).resolve().parents[1] / "params.yaml")
    threads = asked.threads or params.training.threads
    settings = replace(params.training, device=asked.device, threads=threads, processes=asked.processes)
    session, item, when = read(asked.train)
    items, index = np.unique(item, return_inverse=True)
    clock = bool(np.median(when) > CLOCK) if len(when) else False
    training = pack(session, index + 2, ordered(session, when))
    test_session, test_item, test_when = read(asked.test)
    at = np.searchsorted(items, test_item)
    known = items[np.minimum(at, len(items) - 1)] == test_item if len(items) else np.zeros(len(at), bool)
    testing = pack(test_session[known], at[known] + 2, test_when[known])

    name, ensemble = PRESETS.get(asked.preset, (asked.preset, ()))
    spec = next_item_alone(params.model(name), clock=clock)
    spec = replace(spec, ensemble=ensemble or spec.ensemble)
    measured = statistics({name: getattr(training, name) for name in ("gap", "since_start", "price")})
    sizes = Sizes(
        known=len(items) + 2,
        actions=("view",),
        categories=1,
        statistics={name: (values["mean"], values["std"]) for name, values in measured.items()},
    )
    watcher = Watcher()
    started = time.perf_counter()
    work = partial(trained_by, spec, sizes, training, asked.seed, settings)
    with gathered(settings.processes, choose(settings).kind, work) as team:
        trained = work(team, watcher=watcher)
    train_seconds = time.perf_counter() - started

    longest = spec.budget.max_length
    started = time.perf_counter()
    with settled(choose(settings), settings.threads):
        asked_windows = windows(testing.offsets, longest, to_the_end=False, overlap=longest - 1)
        answers = answer(trained.network, testing, asked_windows)
    rank_seconds = time.perf_counter() - started
    return {
        **{f"recall@{k}": answers.recall(k) for k in CUTOFFS},
        **{f"mrr@{k}": answers.mrr(k) for k in CUTOFFS},
        "predictions": len(answers.ranks),
        "train_seconds": train_seconds,
        "train_events_per_second": trained.questions / train_seconds,
        "rank_seconds": rank_seconds,
        "epochs": len(trained.history),
        "parameters": parameters(trained.network),
        "items": len(items),
        "train_sessions": training.n_sequences,
        "train_events": training.n_events,
        "test_sessions": int((np.diff(testing.offsets) > 1).sum()),
        "features": list(spec.encoder.features),
        "preset": asked.preset,
        "ensemble": list(spec.ensemble),
        "seed": asked.seed,
        "device": watcher.device,
        "threads": settings.threads,
        "processes": settings.processes,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }


def trained_by(
    spec: Model, sizes: "Sizes", split: PackedSplit, seed: int, settings: Training, team: "Team | None", **along: Any
) -> "Trained":
    """What each process of a team does."""
    from clickflow.training.loop import train

    return train(spec, sizes, split, seed=seed, settings=settings, team=team, **along)


def next_item_alone(spec: Model, *, clock: bool) -> Model:
    """The preset with only the head next_item, and without what such a log does not have: actions, prices and
    categories, and the time features where there is no clock.
    """
    if spec.heads.next_item is None:
        raise UsageError("the preset has no head next_item")
    there = ("hour", "weekday", "gap", "since_start") if clock else ()
    features = tuple(name for name in spec.encoder.features if name in there)
    encoder = replace(spec.encoder, features=features, item_features=())
    return replace(spec, encoder=encoder, heads=Heads(next_item=spec.heads.next_item))


def read(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Session, item (both as text) and time of each row; gzip by the file's name."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        table = csv.read_csv(
            path,
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(
                include_columns=COLUMNS,
                column_types={"SessionId": pa.string(), "ItemId": pa.string(), "Time": pa.float64()},
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise DataError(
            f"{path} cannot be read as tab-separated {' '.join(COLUMNS)}: {error}", kept="nothing was run"
        ) from error
    session, item = (table[name].to_numpy(zero_copy_only=False).astype(str) for name in COLUMNS[:2])
    return session, item, table["Time"].to_numpy()


def pack(session: NDArray[Any], item: NDArray[np.int64], when: NDArray[np.float64]) -> PackedSplit:
    """Rows in any order as a packed split in memory: steps of a session by time, ties in the order of the file."""
    _, number = np.unique(session, return_inverse=True)
    order = np.lexsort((when, number))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(number))]).astype(np.int64)
    time_us = (when[order] * 1e6).astype(np.int64)
    n = len(order)
    timed = of_time(time_us, offsets) if n else dict.fromkeys(("hour", "weekday", "gap", "since_start"), np.zeros(0))
    return PackedSplit(
        offsets=offsets,
        item=item[order].astype(np.int32),
        action=np.zeros(n, np.uint8),
        time=time_us,
        price=np.full(n, np.nan, np.float32),
        category=np.zeros(n, np.int32),
        **timed,
    )


def ordered(session: NDArray[Any], when: NDArray[np.float64]) -> NDArray[np.float64]:
    """The times, where they order the sessions: by a clock, or by one order of all rows. Where `Time` begins again in
    every session it says nothing about which is more recent, and the order of the sessions in the file stands in.
    """
    if not len(when) or np.median(when) > CLOCK or len(np.unique(when)) == len(when):
        return when
    _, first, number = np.unique(session, return_index=True, return_inverse=True)
    turn = np.argsort(np.argsort(first))[number]
    # within a session as before: sessions are set apart by more than the longest of them
    span = when.max() - when.min() + 1
    made: NDArray[np.float64] = turn * span + (when - when.min())
    return made


class Watcher:
    """A line an epoch on stderr."""

    def __init__(self) -> None:
        self.device = ""
        self.steps = self.done = 0
        self.since = time.perf_counter()

    def start(self, network: Any, steps: int, _done: int, why: str) -> None:
        """Training begins."""
        self.device, self.steps, self.done, self.since = why, steps, 0, time.perf_counter()
        console.say(f"{network.sizes.known - 2:,} items, {steps:,} steps on {why}")

    def step(self, steps: int, _questions: int, _loss: float) -> None:
        """Steps were done."""
        self.done += steps

    def epoch(self, record: dict[str, Any]) -> None:
        """An epoch was done."""
        spent = time.perf_counter() - self.since
        left = spent * (self.steps - self.done) / max(1, self.done)
        console.say(f"epoch {record['epoch']}: loss {record['train']['loss']:.4f}, {spent:.0f} s, {left:.0f} s left")


if __name__ == "__main__":
    guarded(main)
