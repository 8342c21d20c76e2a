"""Where a decision comes from: its commit and how what stands here differs from it, the run, and who asked for it.

Git says it, and the environment only where git does not: what a run was lies in the commit under `refs/runs/<run>`.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clickflow.system.paths import Paths
from clickflow.tracking import provenance
from clickflow.tracking.provenance import git

TRAILER = "clickflow-run: "
"""Before what a run's own commit says of the run, as JSON."""
RUNS = "refs/runs/"
SHOWN = 20
"""Files that differ, of which a line of the ledger names so many."""
ABSENT = "(none)"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """`named`: commit, run_id, dag_run and code, as `provenance.of`. `run`: what the commit of a run says of it, empty
    by hand; `recorded`: that commit, `head` the one checked out, `reference` what git keeps of the run now.

    `committed`: params.yaml of the commit as plain values, None where it is not known. `params`: by dotted name the
    commit's value and the one that stands here, where they differ. `files`: tracked or new ones that differ from what
    is checked out; empty, and `commit` lacking, where there is no git.
    """

    named: Mapping[str, str]
    run: Mapping[str, Any] = field(default_factory=dict)
    head: str = ""
    reference: str = ""
    committed: Mapping[str, Any] | None = None
    params: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    @property
    def person(self) -> str:
        """Who started the run, or what did; empty by hand."""
        named = os.environ.get("CLICKFLOW_PERSON", "").strip() if "run_id" in self.named else ""
        return str(self.run.get("person") or named or self.run.get("reason") or "")

    @property
    def overrides(self) -> dict[str, Any]:
        """The params in which a run differs from its commit; none by hand."""
        return {name: here for name, (_, here) in self.params.items()} if self.run else {}

    def facts(self) -> dict[str, Any]:
        """What a line of the ledger holds of it."""
        facts: dict[str, Any] = {**self.named, "os_user": os_user()}
        if self.run or self.person:
            facts |= {"asked_by": self.person or "nobody", "overrides": self.overrides}
        elif self.committed is None or self.files or self.params:
            more = len(self.files) - SHOWN
            files = [*self.files[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
            params = {name: {"commit": before, "here": here} for name, (before, here) in self.params.items()}
            facts |= {"uncommitted": True, "differs": {"files": files, "params": params}}
        return facts


def of(paths: Paths) -> Origin:
    """Where what lies in a workspace comes from."""
    named = provenance.of(paths.root)
    head = git(paths.root, "rev-parse", "HEAD") or ""
    if not head or not _is_root(paths):
        return Origin(named=named)
    run = _run(paths)
    commit = str(run.get("commit") or head)
    if run:
        kept = {"commit": commit, "run_id": str(run["id"]), "dag_run": str(run.get("dag_run") or "")}
        named = {name: value for name, value in kept.items() if value}
    else:
        named = {**named, "commit": head}
    committed = _parsed(git(paths.root, "show", f"{commit}:{paths.params.name}"))
    here = _parsed(paths.params.read_text(encoding="utf-8")) if paths.params.is_file() else None
    status = git(paths.root, "status", "--porcelain", "-z", "--no-renames") or ""
    return Origin(
        named=named,
        run=run,
        head=head,
        reference=_reference(paths, str(run["id"])) if run else "",
        committed=committed,
        params=dict(_differences(committed, here)) if committed is not None and here is not None else {},
        files=tuple(sorted(entry[3:] for entry in status.split("\0") if entry)),
    )


RECORDED = ("asked_by", "approval", "overrides", "uncommitted", "differs", "os_user")
"""Facts of a ledger's line that say who was at work, and how far from the commit."""


def words(facts: Mapping[str, Any]) -> str:
    """The same facts for people; empty of a line that has none of them."""
    answer, differs = facts.get("approval") or {}, facts.get("differs") or {}
    changed = {n: v for n, v in (facts.get("overrides") or {}).items() if not n.startswith("champion.")}
    params = [f"{name} {each['commit']} → {each['here']}" for name, each in (differs.get("params") or {}).items()]
    verb = {"approve": "approved by", "reject": "rejected by"}.get(str(answer.get("answer")))
    return "; ".join(
        filter(
            None,
            [
                requester(str(facts["asked_by"])) if facts.get("asked_by") else "",
                f"{verb} {answer.get('by')}" if verb else "",
                "with " + ", ".join(f"{name}={value}" for name, value in changed.items()) if changed else "",
                f"params.yaml was not as committed: {', '.join(params)}" if params else "",
                f"not committed: {', '.join(differs['files'])}" if differs.get("files") else "",
                "no commit is known" if facts.get("uncommitted") and not params and not differs.get("files") else "",
            ],
        )
    )


def requester(by: str) -> str:
    """`Origin.person` in words: `by` is a person, or what started a run, such as `by hand`, `because of …`."""
    return f"started {by}" if by.startswith(("by ", "because ", "as ")) else f"asked for by {by}"


def os_user() -> str:
    """The user of the operating system, whatever the environment calls them."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError):  # a container's user id without a name
        return f"uid {os.getuid()}"


def _is_root(paths: Paths) -> bool:
    """Whether the workspace is a repository's own folder, and not one somewhere below."""
    top = git(paths.root, "rev-parse", "--show-toplevel")
    return top is not None and os.path.realpath(top) == os.path.realpath(paths.root)


def _run(paths: Paths) -> dict[str, Any]:
    """What the commit that is checked out says of the run it keeps; empty where it keeps none."""
    lines = [
        line for line in (git(paths.root, "log", "-1", "--format=%B") or "").splitlines() if line.startswith(TRAILER)
    ]
    try:
        run = json.loads(lines[-1].removeprefix(TRAILER)) if lines else {}
    except ValueError:
        return {}
    if not isinstance(run, dict) or "id" not in run:
        return {}
    parent = git(paths.root, "rev-parse", "HEAD^")  # its code, whatever the message says
    return {**run, "commit": parent} if parent else {}


def _reference(paths: Paths, run: str) -> str:
    """The commit that git keeps of a run now: where the workspace was cloned from, else here; empty: it keeps none."""
    listed = git(paths.root, "ls-remote", "origin", f"{RUNS}{run}") or ""
    return (
        listed.split("\t")[0] if listed else git(paths.root, "rev-parse", "--verify", "--quiet", f"{RUNS}{run}") or ""
    )


def _parsed(text: str | None) -> Mapping[str, Any] | None:
    import yaml

    try:
        content = yaml.safe_load(text) if text is not None else None
    except yaml.YAMLError:
        return None
    return content if isinstance(content, dict) else None


def _differences(before: Any, here: Any, name: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Dotted name, value before and value here, of every param that differs; a list is one value."""
    if isinstance(before, Mapping) and isinstance(here, Mapping):
        for key in [*before, *(key for key in here if key not in before)]:
            yield from _differences(
                before.get(key, ABSENT), here.get(key, ABSENT), f"{name}.{key}" if name else str(key)
            )
    elif before != here:
        yield name, (before, here)
