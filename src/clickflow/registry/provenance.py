"""Which commit and which run a registered version comes from."""

import os
import subprocess
from collections.abc import Mapping
from html import escape

from clickflow.system.paths import Paths

ORDER = ("run_id", "commit")


def of(paths: Paths) -> dict[str, str]:
    """`commit`, `run_id`, `dag_run`, `code`; what is not known is left out.

    An orchestrated run says it in `CLICKFLOW_COMMIT`, `CLICKFLOW_RUN_ID`, `CLICKFLOW_DAG_RUN`; by hand the commit is
    the checkout's, and `code` is `changed` where tracked code differs from it.
    """
    names = {"commit": "CLICKFLOW_COMMIT", "run_id": "CLICKFLOW_RUN_ID", "dag_run": "CLICKFLOW_DAG_RUN"}
    found = {key: os.environ[name] for key, name in names.items() if os.environ.get(name)}
    if "commit" in found:
        return found
    commit = git(paths, "rev-parse", "HEAD")
    if commit is None:
        return found
    changed = git(paths, "status", "--porcelain", "--untracked-files=no", "--", "src", "dvc.yaml", "constraints.txt")
    return {**found, "commit": commit, "code": "changed" if changed else "as committed"}


RUN = "<!-- run -->"
"""Where report.html has a place for its run: the outputs of a stage name none, to be the same bytes."""


def stamped(page: str, origin: Mapping[str, str]) -> str:
    """A page of a stage with the run and the commit that it comes from, where it has a place for them."""
    said = [f"{name.replace('_id', '')} <code>{escape(origin[name])}</code>" for name in ORDER if name in origin]
    return page.replace(RUN, "; " + ", ".join(said) if said else "", 1)


def git(paths: Paths, *arguments: str) -> str | None:
    """What `git …` says in a workspace; None where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(paths.root), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip("\n")
