"""What the DAGs are made from: dvc.yaml and params.yaml of the commit that a run will use.

A run of a checkout is of its commit; a form that described files nobody has committed would promise another run.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from clickflow.orchestration import graph, repository, workspace
from clickflow.orchestration.variables import parse_yaml
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.system.errors import ClickflowError
from clickflow.system.process import git


@dataclass(frozen=True)
class Definition:
    """The params and the graph; `warning` says where the checkout's files differ from them, else it is empty."""

    params: Params
    stages: graph.Graph
    warning: str = ""


def read(root: Path) -> Definition:
    """The definition at the commit of a checkout; of files that no commit of this machine holds, as they are.

    Raises UsageError where it is not valid.
    """
    origin = workspace.places(root)[0]
    names = (graph.FILE, graph.PARAMS)
    if not (repository.is_checkout(origin) and Path(origin) == root.resolve()):
        return _of(root)  # a clone that Airflow keeps at a commit: there the files are the commit
    try:
        said = {name: git(root, "show", f"HEAD:./{name}") for name in names}
        more = [str(entry).partition(":")[0] for entry in _vars(said[graph.FILE])]
        said |= {name: git(root, "show", f"HEAD:./{name}") for name in more if name not in said}
        commit = git(root, "rev-parse", "--short=10", "HEAD").strip()
    except ClickflowError:
        return _of(root)  # no commit yet, or no git here: `open` says so
    changed = [name for name, text in said.items() if not _same(root / name, text)]
    if not changed:
        return _of(root)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in said.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_text(text, encoding="utf-8")
        definition = _of(Path(folder))
    what = f"{' and '.join(changed)} {'has' if len(changed) == 1 else 'have'} changes that are not committed"
    return Definition(definition.params, definition.stages, f"{what}: this form and its run are of commit {commit}.")


def _of(folder: Path) -> Definition:
    return Definition(load(folder / graph.PARAMS), graph.load(folder))


def _vars(text: str) -> list[str]:
    """The files that a dvc.yaml names under `vars`."""
    try:
        parsed = parse_yaml(text)
    except yaml.YAMLError:
        return []
    entries = parsed.get("vars") if isinstance(parsed, dict) else None
    return [entry for entry in entries or [] if isinstance(entry, str)]


def _same(file: Path, text: str) -> bool:
    try:
        return file.read_text(encoding="utf-8") == text
    except (OSError, UnicodeDecodeError):
        return False
