"""How well a visit's purchase is foreseen, by the number of steps seen: the network beside simple methods.

    python benchmarks/purchase.py --json FILE                                   # a simulated shop of 100,000 events
    python benchmarks/purchase.py --preset rees46 --log 2019-Oct.csv.gz --test-share 0.3 --json FILE

The stages of the pipeline run in a folder of their own: ingest, sequences, and for each seed train, export and evaluate
of a model with the head `purchase` (`--head` names another, `--heads` others beside it). Prints one JSON: by system
average precision, ROC-AUC, log-loss and calibration of the test part, over all questions and by steps seen (means over
the seeds for the network); and the network's difference from boosting with a 95% interval by customer (of the first
seed). The network is that of `NETWORK`: it reads hand-made features too, and begins at the regression on them.

    --events 1000000 --seeds 0,1,2       of the simulator, and of the training
    --set encoder.kind=transformer       another value of the model's params, once or several times
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from pyarrow import parquet

from clickflow.artefact import export
from clickflow.cli import guarded
from clickflow.evaluation import bootstrap, evaluate
from clickflow.evaluation.answers import probability
from clickflow.events import ingest
from clickflow.orchestration.overrides import parse
from clickflow.params.file import check, with_values
from clickflow.params.schema import Params
from clickflow.sequences import prepare
from clickflow.system.console import finite
from clickflow.system.files import read_json
from clickflow.system.paths import Paths
from clickflow.training import stage

MODEL, BESIDE = "foreseen", "boosting"
NETWORK: dict[str, Any] = {
    "encoder": {"hand_made": True, "units": 16, "dropout": 0.5},
    "optimiser": {"learning_rate": 0.0003, "embedding_learning_rate": 0.0003},
}
"""Small, and learned slowly: a visit is one answer, however many steps it has."""
METRICS = ("average_precision", "roc_auc", "log_loss", "ece")
RESAMPLES = 500
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", type=Path, help="a shop's file; none: the simulator")
    parser.add_argument("--preset", help="of the file")
    parser.add_argument("--events", type=int, default=100_000, help="of the simulator")
    parser.add_argument("--test-share", type=float, default=0.2)
    parser.add_argument("--seeds", default="0,1,2", help="of the training, with commas")
    parser.add_argument("--head", default="purchase", help="of kind probability; exit is another")
    parser.add_argument("--heads", default="", help="beside it, with commas: learned together")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE, another value of the model's params")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    file = args.json.resolve()  # as of the folder in which it was asked for: the stages run in another
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    text = json.dumps(finite(result), indent=2, sort_keys=True, allow_nan=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def chosen(args: argparse.Namespace) -> Params:
    """The params: those of the repository, with the log and the model asked for."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    if args.log:
        raw["source"] = {"kind": "files", "path": str(args.log.resolve()), "preset": args.preset}
    else:
        raw["simulator"] = {"events": args.events}
    raw["sequences"] = {"test_share": args.test_share}
    heads = [args.head, *(name for name in args.heads.split(",") if name)]
    raw["models"] = {MODEL: {"unit": "session", "heads": {name: {} for name in heads}, **NETWORK}}
    raw["evaluation"] = {"max_sequences": 100_000, "bootstrap": 0}
    raw |= {"gate": {}, "promotion": {}, "champion": {MODEL: 0}, "units": ["session"]}
    return with_values(check(raw), MODEL, parse(args.set))


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the stages, and sum up."""
    params, paths, head = chosen(args), Paths(folder), args.head
    seeds = [int(seed) for seed in args.seeds.split(",")]
    os.environ.setdefault("CLICKFLOW_HOME", str(folder / "home"))
    os.environ.setdefault("CLICKFLOW_PSEUDONYM_KEY", "one key for a benchmark, whose people are nobody's")
    os.chdir(folder)
    ingest.run(params, paths)
    prepare.run(params, paths, "session")
    metrics, tables, seconds = [], [], []
    for place, seed in enumerate(seeds):
        own = replace(params, seed=seed)
        if place:  # the simple methods are the same whatever the seed
            own = replace(own, evaluation=replace(own.evaluation, baselines=dict.fromkeys(own.model(MODEL).heads, ())))
        started = time.perf_counter()
        stage.run(own, paths, MODEL)
        seconds.append(round(time.perf_counter() - started, 1))
        export.run(own, paths, MODEL)
        evaluate.run(own, paths, MODEL)
        metrics.append(read_json(paths.measured(MODEL)))
        if not place:
            tables = [parquet.read_table(paths.evaluation(MODEL) / f"{head}.parquet")]
    return {
        "questions": metrics[0]["details"][head]["questions"],
        "share_of_yes": metrics[0]["details"][head]["share_of_yes"],
        "sequences": metrics[0]["sequences"],
        "overall": overall(metrics, head),
        "by_steps_seen": by_steps(metrics, head),
        "by_lead": metrics[0]["details"][head]["by_lead"],
        f"against_{BESIDE}": against(tables[0]),
        "train_seconds": seconds,
        "seeds": seeds,
        "set": args.set,
        "head": head,
        "heads": args.heads,
    }


def overall(metrics: list[dict[str, Any]], head: str) -> dict[str, Any]:
    """By system its metrics; of the network the mean over seeds."""
    systems = {}
    for system, own in metrics[0][head].items():
        if own:
            every = [each[head][system] for each in metrics if each[head].get(system)]
            systems[system] = {name: mean([each[name]["value"] for each in every]) for name in METRICS}
    return systems


def by_steps(metrics: list[dict[str, Any]], head: str) -> dict[str, Any]:
    """The same by the number of steps seen."""
    cells = [each["details"][head]["by_steps_seen"] for each in metrics]
    steps: dict[str, Any] = {}
    for name, cell in cells[0].items():
        steps[name] = {key: cell[key] for key in ("questions", "share_of_yes")}
        for system in (key for key, own in cell.items() if isinstance(own, dict)):
            every = [each[name][system] for each in cells if system in each[name]]
            steps[name][system] = {metric: mean([one[metric] for one in every]) for metric in METRICS}
    return steps


def mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 6) if known else None


def against(table: Any) -> dict[str, Any]:
    """By the number of steps seen, the network's average precision and log-loss less those of boosting, with the ends
    of the interval: both on the same draws of customers.
    """
    answers, _ = probability.read(table)
    target = table["target"].to_numpy().astype(np.int64)
    seen = table["position"].to_numpy() + 1
    customer = table["customer"].to_numpy()
    rows_of = {"all": np.arange(len(target)), **dict(probability._steps(seen))}
    groups = {}
    for name, rows in rows_of.items():
        own, other = (cut(answers[system], rows) for system in ("candidate", BESIDE))
        differences = difference(own, other, target[rows], customer[rows])
        groups[name] = {"questions": len(rows), "yes": int(target[rows].sum()), **differences}
    return groups


def cut(answers: probability.Probabilities, rows: NDArray[np.int64]) -> probability.Probabilities:
    return probability.Probabilities(answers.probability[rows], answers.loss[rows])


def difference(
    own: probability.Probabilities, other: probability.Probabilities, target: NDArray[np.int64], customer: NDArray[Any]
) -> dict[str, Any]:
    """{metric: [value, low, high]}."""
    index = np.unique(customer, return_inverse=True)[1]
    measured, drawn = [], []
    for each in (own, other):
        group = bootstrap.classes(each.probability)
        groups = int(group.max()) + 1
        parts = [(index, 2 * group + target, np.ones(len(target))), (index, 2 * groups, each.loss)]
        sums = bootstrap.sparse_cells(parts, int(index.max()) + 1, 2 * groups + 1)
        totals = bootstrap.resampled(sums, RESAMPLES, 0)
        counts = totals[:, :-1].reshape(RESAMPLES, groups, 2)
        average, _ = probability._ordered(counts[:, :, 0], counts[:, :, 1])
        drawn.append({"average_precision": average, "log_loss": totals[:, -1] / counts.sum(axis=(1, 2))})
        measured.append(probability.measures(each, target, ()))
    intervals = {}
    for name in ("average_precision", "log_loss"):
        low, high = bootstrap.interval(drawn[0][name] - drawn[1][name], 0.95)
        intervals[name] = [round(float(value), 6) for value in (measured[0][name] - measured[1][name], low, high)]
    return intervals


if __name__ == "__main__":
    guarded(main)
