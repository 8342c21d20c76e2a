"""What an approximate index of items saves, and what it misses: `serve.index`, exact beside approximate.

    python benchmarks/index.py --items 100000,1000000 --json FILE

Items are vectors of 128 numbers of length 1 in neighbourhoods (a hundredth of the items has one each, as a trained
network lays them), questions lie among them with length 10; `nowhere`: neither has any neighbourhood, which no index
can use. For `--recall` the index is laid out and measured as `clickflow serve` does. `recall`: of the best 20, on
other questions than those by which it was laid out; `probability_error`: relative, the 95th percentile;
`processor_ms`: of one thread for a question, asked alone and 16 together, medians of `--rounds`; `seconds`: of the
processor until it answers.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from outcome import hand_out, versions

from clickflow.cli import guarded
from clickflow.online import near
from clickflow.online.table import Table
from clickflow.sequences.indexes import FIRST_ITEM

UNITS, LOUD, SPREAD, QUERIES, BEST, SIZE = 128, 10, 0.8, 128, 20, 100


def drawn(
    items: int, *, near_each_other: bool, seed: int, size: int = SIZE, units: int = UNITS, questions: int = 2 * QUERIES
) -> tuple[Any, Any]:
    """Vectors of items, and of as many `questions`; `size`: of a neighbourhood, about."""
    draw = np.random.default_rng(seed)
    middles = draw.standard_normal((max(items // size, 50), units)).astype(np.float32)

    def some(count: int, length: float) -> Any:
        vectors = SPREAD * draw.standard_normal((count, units)).astype(np.float32)
        if near_each_other:
            vectors += middles[draw.integers(0, len(middles), count)]
        return vectors * (length / np.linalg.norm(vectors, axis=1, keepdims=True))

    return some(items, 1), some(questions, LOUD)


def taken(best: Callable[[Any, int], Any], queries: Any, together: int, rounds: int) -> float:
    """Milliseconds of this thread for a question."""
    times = []
    for turn in range(rounds + 1):
        at = turn * together % (len(queries) - together)
        began = time.thread_time()
        best(queries[at : at + together], BEST + 13)
        times.append(1000 * (time.thread_time() - began) / together)
    return round(sorted(times[1:])[rounds // 2], 3)


def measured(vectors: Any, queries: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Exact and approximate."""
    result: dict[str, Any] = {"items": len(vectors)}
    began = time.process_time()
    exact = Table(vectors, FIRST_ITEM)
    result["exact"] = {"seconds": round(time.process_time() - began, 1)}
    own, others = queries[:QUERIES], queries[QUERIES:]
    with tempfile.TemporaryDirectory() as scratch:
        began = time.process_time()
        table = Table(vectors, FIRST_ITEM, scan=False)
        index, quality = near.build(table, own, args.recall, Path(scratch, ".near-one.faiss"))
        result["approximate"] = {"seconds": round(time.process_time() - began, 1), "answers": index is not None}
        if quality is not None:
            result["approximate"] |= {"lists": quality.lists, "read": quality.read, "recall": quality.recall}
        ways = {"exact": exact.best} | ({"approximate": index.best} if index is not None else {})
        if index is not None:
            (rows, _, total), (right, _, totals) = index.best(others, BEST), exact.best(others, BEST)
            recall = np.mean([np.isin(one, row).mean() for one, row in zip(right, rows, strict=True)])
            error = np.quantile(np.abs(np.expm1(total - totals)), 0.95)
            result["approximate"] |= {"recall": round(float(recall), 4), "probability_error": round(float(error), 4)}
        for together in (1, 16):  # in turns, so that whatever else is at work holds up both
            for name, best in ways.items():
                milliseconds = taken(best, queries, together, args.rounds)
                result[name].setdefault("processor_ms", {})[str(together)] = milliseconds
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="100000,1000000")
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    import threadpoolctl

    near.ready().omp_set_num_threads(1)
    threadpoolctl.threadpool_limits(1)
    shown = {name: str(value) for name, value in vars(args).items() if name != "json"}
    result: dict[str, Any] = {"benchmark": "index", "settings": shown}
    for kind in ("neighbourhoods", "nowhere"):
        for items in (int(each) for each in args.items.split(",")):
            vectors, queries = drawn(items, near_each_other=kind == "neighbourhoods", seed=args.seed)
            result.setdefault(kind, []).append(measured(vectors, queries, args))
    hand_out(result | {"versions": versions("faiss-cpu", "onnxruntime", "numpy")}, args.json)


if __name__ == "__main__":
    guarded(main)
