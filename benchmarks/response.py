"""How well a click on what is shown is foreseen on a simulated log, beside the true probability of each click.

    python benchmarks/response.py [--events 600000] [--kinds network,boosting,logistic] [--seed 0] --json FILE

The stages of the pipeline run in a temporary folder: ingest, sequences that keep impressions, and for each kind of
model train, export and evaluate with the head `response`. Prints one JSON: by system log-loss, ROC-AUC, average
precision, calibration error and the share of the possible gain in log-loss (from the majority to the true process)
that it reaches; of each kind of model also lift by decile.

    --set budget.epochs=2                another value of the model's params, once or several times (of kind network)
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from outcome import hand_out, versions

from clickflow.artefact import export
from clickflow.cli import guarded
from clickflow.evaluation import evaluate
from clickflow.events import ingest
from clickflow.orchestration.overrides import parse
from clickflow.params.file import check, with_values
from clickflow.params.schema import Params
from clickflow.sequences import prepare
from clickflow.system.files import read_json
from clickflow.system.paths import Paths
from clickflow.training import stage

HEAD = "response"
METRICS = ("log_loss", "roc_auc", "average_precision", "ece")
KEPT = ["view", "cart", "favourite", "remove", "purchase", "impression", "click"]
ROOT = Path(__file__).resolve().parents[1]


def chosen(args: argparse.Namespace) -> Params:
    """The params of the repository, with a model of each kind."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw["simulator"] = {"events": args.events}
    raw["sequences"] = {"session": {"event_types": KEPT}, "test_share": 0.2}
    kinds = args.kinds.split(",")
    raw["models"] = {kind: {"unit": "session", "kind": kind, "heads": {HEAD: {}}} for kind in kinds}
    raw["evaluation"] = {"max_sequences": 1_000_000, "bootstrap": 0}
    raw |= {"gate": {}, "promotion": {}, "champion": dict.fromkeys(kinds, 0), "units": ["session"], "seed": args.seed}
    params = check(raw)
    return with_values(params, "network", parse(args.set)) if "network" in kinds else params


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the stages, and sum up."""
    params, paths = chosen(args), Paths(folder)
    os.environ.setdefault("CLICKFLOW_HOME", str(folder / "home"))
    os.environ.setdefault("CLICKFLOW_PSEUDONYM_KEY", "one key for a benchmark, whose people are nobody's")
    os.chdir(folder)
    ingest.run(params, paths)
    prepare.run(params, paths, "session")
    systems: dict[str, Any] = {}
    result: dict[str, Any] = {"seconds": {}, "deciles": {}}
    for kind in params.models:
        began = time.perf_counter()
        stage.run(params, paths, kind)
        export.run(params, paths, kind)
        result["seconds"][kind] = round(time.perf_counter() - began, 1)
        evaluate.run(params, paths, kind)
        metrics = read_json(paths.evaluation(kind) / "metrics.json")
        details = metrics["details"][HEAD]
        result |= {"questions": details["questions"], "share_of_yes": details["share_of_yes"]}
        result["deciles"][kind] = [cell["lift"] for cell in details["deciles"]]
        for system, own in (*metrics[HEAD].items(), ("true process", (metrics["oracle"] or {}).get(HEAD))):
            if own:
                name = f"{kind} (model)" if system == "candidate" else system
                systems[name] = {metric: _value(own.get(metric)) for metric in METRICS}
    worst, best = (systems[name]["log_loss"] for name in ("majority", "true process"))
    for own in systems.values():
        own["of_possible_gain"] = round((worst - own["log_loss"]) / (worst - best), 4)
    return result | {"systems": systems}


def _value(cell: Any) -> Any:
    return cell.get("value") if isinstance(cell, dict) else cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--kinds", default="network,boosting,logistic")
    parser.add_argument("--seed", type=int, default=0, help="of log and training")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    file = args.json.resolve() if args.json else None
    with tempfile.TemporaryDirectory(prefix="clickflow-response-") as folder:
        result = measure(args, Path(folder))
    settings = {name: getattr(args, name) for name in ("events", "kinds", "seed", "set")}
    hand_out({"benchmark": "response", "settings": settings, **result, "versions": versions("torch", "lightgbm")}, file)


if __name__ == "__main__":
    guarded(main)
