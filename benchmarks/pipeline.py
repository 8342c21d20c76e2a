"""How long `dvc repro` takes from a log to the gate's decision, how good the model is, and what doing nothing costs.

    python benchmarks/pipeline.py --data bolcom_clicks --logs ../shared/data --json FILE
    python benchmarks/pipeline.py --data retailrocket_sessions --logs ../shared/data --json FILE
    python benchmarks/pipeline.py --data simulator --json FILE
    python benchmarks/pipeline.py -S source.kind=files -S source.path=/my/log -S source.preset=rees46 --json FILE

Works in a clone of HEAD in a temporary folder, with the params of `--data` and of each `-S name=value`.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from outcome import hand_out, versions

from clickflow.orchestration.overrides import apply, parse

ROOT = Path(__file__).resolve().parents[1]

LOGS: dict[str, dict[str, Any]] = {
    "bolcom_clicks": {
        "source.kind": "files",
        "source.pattern": "*.tsv.gz",
        "source.preset": "session_tsv",
    },
    "retailrocket_sessions": {
        "source.kind": "files",
        "source.pattern": "*.tsv.gz",
        "source.preset": "session_tsv",
        "source.time_format": "order",
    },
    "simulator": {"simulator.events": 1_000_000, "simulator.items": 10_000},
}
"""What params.yaml says differently for each log: where it is and how it reads, as a user would, and nothing else."""


def main() -> None:
    """Run the pipeline and print one JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(LOGS), help="one of the logs that the results page speaks of")
    parser.add_argument("--logs", type=Path, help="the folder that holds the folder of that name")
    parser.add_argument("-S", "--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it, or go on in it")
    parser.add_argument("--json", type=Path, help="write the result there too")
    wanted = parser.parse_args()
    values: dict[str, Any] = dict(LOGS.get(wanted.data, {}))
    if values.get("source.kind") == "files":
        if wanted.logs is None:
            parser.error("--logs is needed for this data")
        values["source.path"] = str((wanted.logs / wanted.data).resolve())
    values |= parse(wanted.set)
    with tempfile.TemporaryDirectory(prefix="clickflow-pipeline-") as scratch:
        folder = (wanted.keep or Path(scratch) / "clone").resolve()
        result = {"data": wanted.data, "params": values, **measure(folder, values)}
    hand_out(result, wanted.json)


def measure(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Clone, set, reproduce; then reproduce again with nothing to do, three times."""
    if (folder / ".git").exists():
        subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=folder, check=True)
    else:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    params = folder / "params.yaml"
    params.write_text(apply(params.read_text(encoding="utf-8"), values), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "CLICKFLOW_HOME": str(folder / ".clickflow"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def repro() -> float:
        started = time.perf_counter()
        subprocess.run(["dvc", "repro"], cwd=folder, env=environment, check=True, stdout=sys.stderr)
        return round(time.perf_counter() - started, 2)

    seconds = repro()
    nothing = [repro() for _ in range(3)]
    ingest = json.loads((folder / "reports/ingest.json").read_text())
    models = {}
    for metrics_file in sorted(folder.glob("reports/*/evaluation/metrics.json")):
        name = metrics_file.parents[1].name
        metrics = json.loads(metrics_file.read_text())
        decision = json.loads((folder / "reports" / name / "gate/decision.json").read_text())
        systems = {**metrics["next_item"], "oracle": (metrics["oracle"] or {}).get("next_item")}
        models[name] = {
            "decision": decision["decision"],
            "predictions": metrics["predictions"],
            "coverage": metrics["coverage"],
            "systems": {
                system: {
                    metric: value.get("value") if isinstance(value, dict) else value
                    for metric, value in of.items()
                    if metric.split("@")[-1].startswith("20")
                }
                for system, of in systems.items()
                if of
            },
            "next_action_log_loss": {
                system: of["log_loss"]["value"]
                for system, of in {
                    **(metrics["next_action"] or {}),
                    "oracle": (metrics["oracle"] or {}).get("next_action"),
                }.items()
                if of
            },
        }
    return {
        "seconds": seconds,
        "seconds_with_nothing_to_do": nothing,
        "events": {key: ingest[key] for key in ("read", "accepted", "quarantined")},
        "models": models,
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=folder, text=True).strip(),
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": versions("torch", "duckdb", "dvc", "onnxruntime", "mlflow"),
    }


if __name__ == "__main__":
    main()
