"""How well, and how fast, the baselines predict the next item of public session logs.

    python benchmarks/baselines.py --train train.tsv.gz --test test.tsv.gz --json result.json [--systems vsknn,vstan]

Reads and splits as `benchmarks/next_item.py` does, and ranks as it does: items that the first file does not have are
removed from the second, all items are ranked for every next click, an item with the same score as the true one counts
as ranked before it. The session-kNN systems are also timed on training positions, each without its own session.

    --tail 0.1                                 the last tenth of the training sessions in place of a test file
    --longest 0.02                             the longest fiftieth of them
    --systems vstan,vstan:distance=2.05:idf=1  a session-kNN with other values of its table
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from session_log import CUTOFFS, SessionLog, log, options

from clickflow.artefact.windows import questions, recent
from clickflow.baselines import NEIGHBOURS, RANKING, neighbours, vsknn, vstan
from clickflow.baselines.history import History, Scores, history
from clickflow.baselines.session_index import Weighting
from clickflow.cli import guarded
from clickflow.evaluation.answers import ranking
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.errors import UsageError

LONGEST = 50
"""Steps of a session that are read, as in the preset."""
BLOCK = 500
TABLES: dict[str, Callable[..., Weighting]] = {
    "vsknn": vsknn.weighting,
    "vstan": vstan.weighting,
    "vstan_returns": partial(vstan.weighting, returns=True),
}
TIMED = 100_000
"""Training positions on which a session-kNN is timed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options(parser)
    parser.add_argument("--systems", default=",".join(RANKING), help="names, with commas; none: all")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    result = measure(log(args.train, args.test, args.tail, args.longest), args.systems.split(","))
    text = json.dumps(result, indent=2, sort_keys=True)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def measure(sessions: SessionLog, names: list[str], *, timed: bool = True) -> dict[str, Any]:
    if wrong := [name for name in names if name.split(":")[0] not in RANKING]:
        raise UsageError(f"no baseline {', '.join(wrong)}", next_step=f"there is: {', '.join(RANKING)}")
    past, testing = history(sessions.train, known=sessions.items + FIRST_ITEM), sessions.test
    positions = questions(testing.offsets, np.arange(testing.n_sequences), LONGEST)
    rows = np.flatnonzero(positions.has_next)
    shown = recent(testing.item, positions, rows, LONGEST)
    answers = testing.item[positions.event[rows] + 1]
    measured = {}
    for name in names:
        started = time.perf_counter()
        scores = fit(name, past)
        fitted = time.perf_counter() - started
        started = time.perf_counter()
        blocks = [slice(first, first + BLOCK) for first in range(0, len(rows), BLOCK)]
        ranks = np.concatenate([ranking.ranks(scores(shown[block]), answers[block]) for block in blocks])
        ranked = time.perf_counter() - started
        gains = dict(zip(ranking.names(CUTOFFS), ranking.gains(ranks, CUTOFFS).mean(axis=0).tolist(), strict=True))
        measured[name] = {key: value for key, value in gains.items() if not key.startswith("ndcg")} | {
            "fit_seconds": fitted,
            "rank_seconds": ranked,
        }
        if timed and name in NEIGHBOURS:
            measured[name] |= speed(past, name, shown)
    return {
        "systems": measured,
        "predictions": len(rows),
        "items": past.known - FIRST_ITEM,
        "train_sessions": len(past.offsets) - 1,
        "train_events": len(past.item),
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": _scipy()},
    }


def fit(system: str, past: History) -> Scores:
    """Fit a baseline, or a session-kNN with other values: `name:key=value:key=value`."""
    name, *changes = system.split(":")
    if not changes:
        return RANKING[name](past)
    if name not in TABLES:
        raise UsageError(f"--systems: {name} has no table", next_step=f"these have one: {', '.join(TABLES)}")
    values = {key: json.loads(value) for key, value in (change.split("=") for change in changes)}
    return neighbours.as_scores(neighbours.fit(past, TABLES[name](**values)))


def speed(past: History, name: str, shown: NDArray[np.int64]) -> dict[str, float]:
    """Sparse scores a second: of the test questions, and of training positions, each without its own session."""
    fitted = NEIGHBOURS[name](past)
    positions = questions(past.offsets, np.arange(len(past.offsets) - 1), LONGEST)
    rows = np.flatnonzero(positions.has_next)
    rows = np.sort(np.random.default_rng(0).choice(rows, min(TIMED, len(rows)), replace=False))
    own = recent(past.item, positions, rows, LONGEST)
    started, cpu = time.perf_counter(), time.process_time()
    fitted.scores(shown)
    tested, tested_cpu = time.perf_counter() - started, time.process_time() - cpu
    started, cpu = time.perf_counter(), time.process_time()
    for first in range(0, len(rows), 10 * BLOCK):
        part = slice(first, first + 10 * BLOCK)
        fitted.scores(own[part], positions.sequence[rows[part]])
    left_out, left_out_cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "questions_per_second": len(shown) / tested,
        "questions_per_cpu_second": len(shown) / tested_cpu,
        "left_out_positions": len(rows),
        "left_out_per_second": len(rows) / left_out,
        "left_out_per_cpu_second": len(rows) / left_out_cpu,
    }


def _scipy() -> str:
    import scipy

    return str(scipy.__version__)


if __name__ == "__main__":
    guarded(main)
