"""The runs that git keeps under `refs/runs/`: commits of params.yaml and dvc.lock, on top of the commit that ran."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from clickflow.orchestration import fragments, graph, repository
from clickflow.orchestration.variables import parse_yaml
from clickflow.orchestration.workspace import Run
from clickflow.system.errors import ClickflowError
from clickflow.system.process import git

_TRAILER = "clickflow-run: "
_FIELDS = "%(refname)%00%(objectname)%00%(committerdate:unix)%00%(parent)%00%(contents)%00"


@dataclass(frozen=True)
class Recorded:
    """A recorded run: `commit` keeps its params and lock, `of` is the commit whose code it ran, `details` its `Run`."""

    id: str
    commit: str
    of: str
    when: datetime
    details: Mapping[str, Any]

    @property
    def reference(self) -> str:
        """The git reference."""
        return f"{repository.RUNS}{self.id}"


def message(run: Run, decisions: Mapping[str, Mapping[str, Any]]) -> str:
    """What the commit of a run says: for people what it was, in the last line for this program."""
    judged = "\n".join(
        f"{model}: {said['decision']}, {said['metric']} {said['value']}" for model, said in decisions.items()
    )
    params = "".join(f"\n{name}: {json.dumps(value)}" for name, value in run.overrides.items())
    parts = [f"Run {run.id}", run.note, run.reason, judged, f"of {run.commit}{params}"]
    trailer = json.dumps({**run.travelling(), "decisions": decisions}, sort_keys=True)
    return "\n\n".join([*filter(None, parts), _TRAILER + trailer])


def recorded(origin: Path) -> list[Recorded]:
    """Every recorded run of a checkout or mirror, the newest first."""
    words = ["for-each-ref", "--sort=-refname", "--sort=-committerdate", f"--format={_FIELDS}", repository.RUNS]
    parts = git(origin, *words).split("\0")[:-1]
    records = []
    for name, commit, seconds, parents, said in zip(*(parts[n::5] for n in range(5)), strict=True):
        records.append(
            Recorded(
                id=name.strip().removeprefix(repository.RUNS),
                commit=commit,
                of=parents.split(" ")[0],
                when=datetime.fromtimestamp(int(seconds), UTC),
                details=_trailer(said),
            )
        )
    return records


def lock_of(origin: Path, commit: str) -> dict[str, dict[str, Any]]:
    """The entries of a commit's dvc.lock; none where it has no such file."""
    return fragments.parse(_file(origin, commit, fragments.FILE))


def params_of(origin: Path, commit: str) -> dict[str, Any]:
    """The params.yaml of a commit as plain values."""
    try:
        return dict(parse_yaml(_file(origin, commit, graph.PARAMS)) or {})
    except yaml.YAMLError:
        return {}


def _file(origin: Path, commit: str, name: str) -> str:
    try:
        return git(origin, "show", f"{commit}:{name}")
    except ClickflowError:
        return ""


def _trailer(said: str) -> Mapping[str, Any]:
    lines = [line for line in said.splitlines() if line.startswith(_TRAILER)]
    try:
        trailer = json.loads(lines[-1].removeprefix(_TRAILER)) if lines else {}
    except ValueError:
        trailer = {}
    return trailer if isinstance(trailer, dict) else {}
