"""A workspace: a clone of the repository at a run's commit, with the run's params, for one task alone."""

import contextlib
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from clickflow.orchestration import dvc_storage, fragments, graph, overrides, permitted, repository
from clickflow.registry import signatures
from clickflow.system.errors import UsageError
from clickflow.system.files import write_text
from clickflow.system.process import NO_TELEMETRY, git
from clickflow.tracking.mlflow_client import PROMOTER

IDENTITY = ("-c", "user.name=clickflow", "-c", "user.email=clickflow@localhost")

OWNER = ".git/clickflow-owner"
"""In a workspace: the process that works there, by number and start time."""

_PLACES = ("repository", "home")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Run:
    """What every task of a run must know.

    `repository` (a checkout, or the URL of a repository) and `home` are the worker's own: they stay behind when the run
    travels. `models`: those chosen, none: all. `reason`: what started the run. `base`: the commit whose dvc.lock the
    run builds on, empty: its own. `person`: who has triggered it, as Airflow knows them; empty: nobody did.
    """

    id: str
    commit: str
    repository: str
    home: str
    overrides: Mapping[str, Any]
    dag_run: str = ""
    note: str = ""
    models: tuple[str, ...] = ()
    reason: str = ""
    base: str = ""
    person: str = ""

    @property
    def folder(self) -> Path:
        """Where the results lie when the run is recorded."""
        return Path(self.home) / "runs" / self.id

    @property
    def workspaces(self) -> Path:
        """Where the tasks work; a task that failed leaves its workspace there."""
        return Path(self.home) / "workspaces" / self.id

    @property
    def reference(self) -> str:
        """The git reference under which the run is kept."""
        return f"{repository.RUNS}{self.id}"

    def travelling(self) -> dict[str, Any]:
        """What another machine must know, as JSON values; `here` puts the rest in."""
        return {name: value for name, value in asdict(self).items() if name not in _PLACES}


def here(said: Mapping[str, Any], checkout: Path | None = None) -> Run:
    """A run that has travelled, on this machine; `checkout`: where the DAG files lie."""
    known = {field.name for field in fields(Run)} - set(_PLACES)
    given = {name: value for name, value in said.items() if name in known}
    origin, home = places(checkout)
    if not (_COMMIT.fullmatch(str(given.get("commit"))) and _NAME.fullmatch(str(given.get("id")))):
        raise changed("names no run: its id or its commit was changed on the way")
    models = tuple(given.get("models") or ())
    if not all(isinstance(name, str) and _NAME.fullmatch(name) and name[0] != "-" for name in models):
        raise changed("names models that are none")
    return Run(**{**given, "models": models}, repository=origin, home=str(home))


def changed(how: str) -> UsageError:
    """What a task was handed cannot be what the tasks before it have left."""
    return UsageError(
        f"what this task was handed {how}",
        kept="nothing was run",
        next_step="start the run again; somebody with write access to Airflow's XComs has changed one",
    )


def places(checkout: Path | None = None) -> tuple[str, Path]:
    """This machine's repository (`CLICKFLOW_REPOSITORY`, or the checkout) and home (`CLICKFLOW_HOME`, or below it).

    Raises UsageError where neither is known.
    """
    said, home = os.environ.get("CLICKFLOW_REPOSITORY", "").strip(), os.environ.get("CLICKFLOW_HOME", "").strip()
    origin = said or (str(checkout) if checkout else "")
    if origin and Path(origin).expanduser().is_dir():
        origin = str(Path(origin).expanduser().resolve())
    if not origin or not (home or checkout or repository.is_checkout(origin)):
        missing = "CLICKFLOW_HOME" if origin else "CLICKFLOW_REPOSITORY"
        raise UsageError(
            f"{missing} is not set, and there is no checkout to take it from",
            kept="nothing was run",
            next_step="set CLICKFLOW_REPOSITORY to a URL or folder, CLICKFLOW_HOME to a folder that stays",
        )
    below = checkout or Path(origin)
    return origin, Path(home or below / ".clickflow").expanduser().absolute()


def create(run: Run, name: str, entries: fragments.Fragments) -> Path:
    """A fresh workspace called `name`, with the params and the lock entries given; what lay there before is removed.

    Raises UsageError where the run carries a param that its commit lets no run set.
    """
    folder, home = run.workspaces / name, Path(run.home)
    remove(folder)
    clone(repository.having(run.repository, home, run.commit), folder, run.commit)
    write_text(folder / OWNER, _process(os.getpid()))
    dvc_storage.configure(folder, run.repository, home)
    permitted.check_travelled((folder / graph.PARAMS).read_text(encoding="utf-8"), run.overrides)
    set_params(folder, run.overrides)
    fragments.write(folder, entries, graph.load(folder).stages)
    return folder


def clone(origin: Path, folder: Path, commit: str) -> None:
    """A clone at a commit that borrows the repository's objects: no copy of history, and no branch."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = ["clone", "--quiet", "--shared", "--no-checkout", "--no-tags"]
    git(origin, *words, str(origin.absolute()), str(folder))
    git(folder, "checkout", "--quiet", "--detach", commit)


def running(folder: Path) -> bool:
    """Whether the process that made a workspace of this machine still works."""
    try:
        said = (folder / OWNER).read_text(encoding="utf-8")
    except OSError:
        return False
    return bool(said) and said == _process(int(said.split()[0]))


def _process(number: int) -> str:
    """A process by number and start time, for numbers come again; empty where there is none.

    In the kernel's ticks: psutil's `create_time` is the clock's, and a clock may be set.
    """
    try:
        return f"{number} {Path(f'/proc/{number}/stat').read_text(encoding='utf-8').rpartition(')')[2].split()[19]}"
    except OSError:
        return ""


def remove(folder: Path) -> None:
    """Remove a workspace, and its run's folder when that is empty then."""
    if folder.exists():
        # Renamed first: a process that still works in it cannot fill the name again while it is being removed.
        doomed = folder.with_name(f".{folder.name}.{os.getpid()}.{time.monotonic_ns()}.old")
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    with contextlib.suppress(OSError):  # other tasks of the run are still there
        folder.parent.rmdir()


def set_params(folder: Path, values: overrides.Overrides) -> None:
    """Write a run's values into the params.yaml of a workspace."""
    path = folder / graph.PARAMS
    text = path.read_text(encoding="utf-8")
    changed = overrides.apply(text, values)
    if changed != text:
        write_text(path, changed)


PROMOTING = (PROMOTER, signatures.SECRET)
"""What only who changes a champion is given: MLflow's password of user promoter, and the key that signs the ledger."""


def promoting(env: Mapping[str, str]) -> dict[str, str]:
    """`env`, as `clickflow promote`, `rollback` and `canary` see it."""
    return {**env, **{name: value for name in PROMOTING if (value := os.environ.get(name))}}


def environment(run: Run, folder: Path) -> dict[str, str]:
    """What a stage's process sees: the workspace's own code first, and where the run's state lies."""
    left_out = {"PYTHONDONTWRITEBYTECODE", "DVC_ROOT", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
    left_out |= set(PROMOTING)
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    paths = [str(folder / "src"), *filter(None, [env.get("PYTHONPATH")])]
    return {
        **env,
        "PATH": os.pathsep.join([str(Path(sys.prefix) / "bin"), env.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "CLICKFLOW_HOME": run.home,
        "CLICKFLOW_REPOSITORY": run.repository,
        "CLICKFLOW_RUN_ID": run.id,
        "CLICKFLOW_DAG_RUN": run.dag_run,
        "CLICKFLOW_COMMIT": run.commit,
        **({"CLICKFLOW_PERSON": run.person} if run.person else {}),
        **NO_TELEMETRY,
    }
