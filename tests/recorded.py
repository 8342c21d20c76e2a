"""dvc.lock as DVC would write it, for tests that call stages by hand."""

from pathlib import Path

import yaml

from clickflow.gate import locked
from clickflow.system import integrity
from clickflow.system.paths import Paths


def lock(paths: Paths, model: str) -> None:
    """Seal what lies there and put it into dvc.lock, as the stages and DVC would."""
    for folder in (paths.exported(model), paths.evaluation(model), paths.gate(model)):
        integrity.seal(folder)
    outputs = {"export": [paths.exported(model)], "evaluate": [paths.evaluation(model), paths.metrics(model)]}
    file, stages = paths.root / "dvc.lock", {}
    for stage, outs in {**outputs, "gate": [paths.gate(model)]}.items():
        stages[f"{stage}@{model}"] = {"cmd": "c", "outs": [_locked(paths, each) for each in outs]}
    stages[f"gate@{model}"]["deps"] = [_locked(paths, paths.exported(model)), _locked(paths, paths.evaluation(model))]
    before = yaml.safe_load(file.read_text())["stages"] if file.is_file() else {}
    file.write_text(yaml.safe_dump({"schema": "2.0", "stages": {**before, **stages}}), encoding="utf-8")


def _locked(paths: Paths, path: Path) -> dict[str, str]:
    return {"path": path.relative_to(paths.root).as_posix(), "hash": "md5", "md5": locked.md5(path)}
