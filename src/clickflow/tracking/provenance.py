"""Which commit and which run something in MLflow comes from."""

import os
import subprocess
from collections.abc import Mapping
from html import escape
from pathlib import Path

from clickflow.system import process
from clickflow.system.errors import ClickflowError

ORDER = ("run_id", "commit")


def of(root: Path) -> dict[str, str]:
    """`commit`, `run_id`, `dag_run`, `code`; what is not known is left out.

    An orchestrated run says it in `CLICKFLOW_COMMIT`, `CLICKFLOW_RUN_ID`, `CLICKFLOW_DAG_RUN`; by hand the commit is
    the checkout's, and `code` is `changed` where tracked code differs from it.
    """
    names = {"commit": "CLICKFLOW_COMMIT", "run_id": "CLICKFLOW_RUN_ID", "dag_run": "CLICKFLOW_DAG_RUN"}
    origin = {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}
    if "commit" in origin:
        return origin
    commit = git(root, "rev-parse", "HEAD")
    if commit is None:
        return origin
    changed = git(root, "status", "--porcelain", "--untracked-files=no", "--", "src", "dvc.yaml", "constraints.txt")
    return {**origin, "commit": commit, "code": "changed" if changed else "as committed"}


def tags(origin: Mapping[str, str], data_sha256: str | None = None) -> dict[str, str]:
    """The same as tags of an MLflow run, `clickflow.commit` and so on, with the hash of the data that it is about."""
    tags_of_run = {**origin, "data_sha256": data_sha256} if data_sha256 else origin
    return {f"clickflow.{name}": value for name, value in tags_of_run.items()}


RUN = "<!-- run -->"
"""Where report.html has a place for its run: the outputs of a stage name none, to be the same bytes."""


def stamped(page: str, origin: Mapping[str, str]) -> str:
    """A page of a stage with the run and the commit that it comes from, where it has a place for them."""
    said = [f"{name.replace('_id', '')} <code>{escape(origin[name])}</code>" for name in ORDER if name in origin]
    return page.replace(RUN, "; " + ", ".join(said) if said else "", 1)


def git(root: Path, *arguments: str) -> str | None:
    """What `git …` says in a workspace; None where it fails."""
    try:
        return process.git(root, *arguments, timeout=30).rstrip("\n")
    except (ClickflowError, OSError, subprocess.TimeoutExpired):
        return None
