"""Whether a change of the code changed a number: the losses of every epoch, the metrics and the hashes of small runs.

    python benchmarks/curves.py --json before.json            # of HEAD, in a clone of it
    python benchmarks/curves.py --commit v1.2 --json old.json # of another commit
    python benchmarks/curves.py --against before.json         # of HEAD, and where it differs: exit code 1 then
    python benchmarks/curves.py --against tests/assets/curves.json --tolerance 0.02   # on another kind of machine

The runs are `dvc repro` with tests/assets/curves.yaml as params.yaml (that of this checkout, whatever the commit; what
a later params.yaml has besides is taken from there): a model a case. Numbers are equal to the last digit on one kind
of processor only; --tolerance is relative and leaves the hashes out. About 6 minutes on two cores, one of them busy.
"""

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from outcome import hand_out, versions

ROOT = Path(__file__).resolve().parents[1]
PARAMS = ROOT / "tests/assets/curves.yaml"
KEY = "one key for every commit, for pseudonyms of the simulator's people"
PROCESSES = "in_two_processes"
"""The case that is trained apart: processes are no param of a model. Its numbers are near those of the model `gru`."""


def main() -> None:
    """Run, compare where asked to, and print one JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commit", default="HEAD", help="what is run")
    parser.add_argument("--models", nargs="*", help="these cases only; none: all")
    parser.add_argument("--against", type=Path, help="a result of before, with which this one is compared")
    parser.add_argument(
        "--tolerance", type=float, default=0.0, help="relative; 0: equal to the last digit, and hashes too"
    )
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clickflow-curves-") as scratch:
        result = measure(Path(scratch) / "clone", args.commit, args.models)
    differing = []
    if args.against:
        before = json.loads(args.against.read_text(encoding="utf-8"))
        differing = list(differences(before["models"], result["models"], args.tolerance, args.models))
        result["differs"] = differing
    hand_out(result, args.json)
    for line in differing:
        print(line, file=sys.stderr)
    sys.exit(1 if differing else 0)


def measure(folder: Path, commit: str, chosen: list[str] | None) -> dict[str, Any]:
    """The numbers of a commit."""
    subprocess.run(["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(folder)], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    params = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
    if chosen:
        params["models"] = {name: model for name, model in params["models"].items() if name in chosen}
    own = yaml.safe_load((folder / "params.yaml").read_text(encoding="utf-8"))
    usual = next(iter(own.pop("models").values()))  # the network of the next step
    usual["encoder"].pop("hand_made", None)  # a case says itself that it reads hand-made features
    params = _filled(params, own) | {
        "models": {name: _filled(model, usual) for name, model in params["models"].items()},
        "units": ["session"],
    }
    params["champion"] = dict.fromkeys(params["models"], 0)
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "CLICKFLOW_HOME": str(folder / ".clickflow"),
        "CLICKFLOW_PSEUDONYM_KEY": KEY,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def repro(*targets: str) -> None:
        (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
        subprocess.run(["dvc", "repro", *targets], cwd=folder, env=environment, check=True, stdout=sys.stderr)

    repro()
    models = {name: _numbers(folder, name) for name in params["models"]}
    if not chosen or PROCESSES in chosen:
        params["training"]["processes"] = 2
        repro("train@gru")
        models[PROCESSES] = {"epochs": _epochs(folder, "gru")}
    return {
        "commit": subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=folder, text=True).strip(),
        "models": models,
        "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}, {_processor()}",
        "versions": versions("torch", "numpy", "duckdb", "onnxruntime"),
    }


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], tolerance: float, chosen: list[str] | None
) -> Iterator[str]:
    """What two results do not share, a line each."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for path in old.keys() | new.keys():
        model, kind = path.split(" ")[:2]
        if (chosen and model not in chosen) or (tolerance and kind == "hashes"):
            continue
        was, is_now = old.get(path), new.get(path)
        if was != is_now and not (tolerance and _near(was, is_now, tolerance)):
            yield f"{path}: {was} before, {is_now} now"


def _filled(mine: Mapping[str, Any], others: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """`mine`, with what a later commit has besides; a head that is not there is left out on purpose."""
    values = dict(mine)
    for name, value in others.items():
        if name not in mine and at != "heads":
            values[name] = value
        elif isinstance(value, Mapping) and isinstance(mine.get(name), Mapping):
            values[name] = _filled(mine[name], value, name)
    return values


def _near(was: Any, is_now: Any, tolerance: float) -> bool:
    if not isinstance(was, int | float) or not isinstance(is_now, int | float):
        return False
    return math.isclose(was, is_now, rel_tol=tolerance, abs_tol=tolerance / 10)


def _numbers(folder: Path, model: str) -> dict[str, Any]:
    lock = yaml.safe_load((folder / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    mine = {name: stage for name, stage in lock.items() if "@" not in name or name.endswith((f"@{model}", "@session"))}
    evaluation = json.loads((folder / "reports" / model / "metrics.json").read_text(encoding="utf-8"))
    return {
        "epochs": _epochs(folder, model),
        "metrics": evaluation,
        "hashes": {
            f"{name} {out['path']}": out["md5"] for name, stage in mine.items() for out in stage.get("outs", ())
        },
    }


def _epochs(folder: Path, model: str) -> Any:
    return json.loads((folder / "models" / model / "trained/history.json").read_text(encoding="utf-8"))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping | list):
        for key, each in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _leaves(each, f"{path} {key}".strip())
    else:
        yield path, value


def _processor() -> str:
    """Its name, and whether it has the matrix units that round to bfloat16."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    fields = {key.strip(): text.strip() for key, _, text in (line.partition(":") for line in lines)}
    matrix = "with" if "amx_tile" in fields.get("flags", "") else "without"
    return f"{fields.get('model name', 'unknown')}, {matrix} matrix units"


if __name__ == "__main__":
    main()
