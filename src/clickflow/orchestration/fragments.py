"""dvc.lock in pieces: what a task hands to the tasks after it is the entry of its stage, about a kilobyte.

A fragment is that entry as plain JSON values. Merged, written and read by DVC, fragments give the dvc.lock that
`dvc repro` in one place gives.
"""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clickflow.system.errors import ClickflowError
from clickflow.system.files import write_text

FILE = "dvc.lock"

Fragments = Mapping[str, Mapping[str, Any]]
"""Stage name to the entry of that stage in dvc.lock."""


def read(root: Path) -> dict[str, dict[str, Any]]:
    """Every entry of a checkout's dvc.lock; none where there is no such file."""
    return parse((root / FILE).read_text(encoding="utf-8")) if (root / FILE).exists() else {}


def parse(text: str) -> dict[str, dict[str, Any]]:
    """The entries in the text of a dvc.lock."""
    from ruamel.yaml import YAML  # DVC's own reader and writer of this file

    content = YAML(typ="safe").load(text) or {}
    return dict(content.get("stages") or {})


def take(root: Path, stage: str) -> dict[str, dict[str, Any]]:
    """The fragment of one stage. Raises ClickflowError where dvc.lock has no entry of it."""
    entries = read(root)
    if stage not in entries:
        raise ClickflowError(
            f"{root / FILE} has no entry of stage {stage}, although it ran",
            next_step="a stage that is `frozen` or always changed leaves none, and cannot be part of a run",
        )
    return {stage: entries[stage]}


def merge(parts: Iterable[Fragments]) -> dict[str, Mapping[str, Any]]:
    """All fragments in one. Raises ClickflowError where two give one stage different contents."""
    merged: dict[str, Mapping[str, Any]] = {}
    for part in parts:
        for stage, entry in part.items():
            if merged.setdefault(stage, entry) != entry:
                raise ClickflowError(
                    f"two tasks of one run hand on different results of stage {stage}",
                    kept="no lock was written",
                    next_step="clear that stage and the ones after it, so that all of them see one result",
                )
    return merged


def fits(entry: Mapping[str, Any], upstream: Fragments) -> bool:
    """Whether a stage's entry was made of what the stages before it have made now, as far as they make its inputs."""
    hashes = {out["path"]: out.get("md5") for other in upstream.values() for out in other.get("outs") or []}

    def same(path: str, md5: Any) -> bool:
        near = [out for out in hashes if out == path or path.startswith(f"{out}/") or out.startswith(f"{path}/")]
        return not near or hashes.get(path) == md5

    return all(same(dep["path"], dep.get("md5")) for dep in entry.get("deps") or [])


def remove(root: Path, stage: str) -> None:
    """Take a stage's entry out of a checkout's dvc.lock."""
    left = {name: entry for name, entry in read(root).items() if name != stage}
    (root / FILE).unlink(missing_ok=True)
    write(root, left, left)


def write(root: Path, entries: Fragments, order: Iterable[str]) -> None:
    """Put entries into a checkout's dvc.lock, over what stands there.

    `order` is the graph's; stages come in it, as `dvc repro` writes them, and stages that it lacks are left out.
    """
    from ruamel.yaml import YAML

    combined = {**read(root), **entries}
    stages = {name: combined[name] for name in order if name in combined}
    if not stages:
        return
    yaml = YAML()
    yaml.default_flow_style = False
    text = io.StringIO()
    yaml.dump({"schema": "2.0", "stages": stages}, text)
    write_text(root / FILE, text.getvalue())
