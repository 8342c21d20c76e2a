"""Whether a decision may be believed: its rules are the commit's, its evidence is that of dvc.lock, and the gate, asked
again, decides the same.

The judged party does not set the rules, and does not write the verdict. What is promised, and what is not, stands in
docs/reference/gate.md.
"""

import configparser
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clickflow.gate import locked, stage
from clickflow.params.file import check
from clickflow.params.rules import COMMIT_ALONE
from clickflow.params.schema import Params
from clickflow.registry import try_log
from clickflow.registry.origin import Origin
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.system.paths import Paths

RULES = frozenset(COMMIT_ALONE) - {"champion"}
"""Sections of params.yaml that a run takes from its commit; the champion, which it freezes, the ledger has."""
_KEPT = ("params.yaml", "dvc.lock", "dvc.yaml", "src/")
"""What nobody changes in the folder of a recorded run."""


@dataclass(frozen=True)
class Objection:
    """Why a decision may not be carried out, and what to do."""

    reason: str
    next_step: str


def committed(params: Params, origin: Origin) -> Params:
    """The params whose rules count: of a run those of its commit, by hand those that stand here.

    Raises UsageError where those of the commit cannot be read.
    """
    if not origin.run:
        return params
    if origin.committed is None:
        raise UsageError(
            f"commit {origin.named['commit'][:10]} has no readable params.yaml: the rules of its gate are unknown",
            kept="nothing was registered",
            next_step="fetch that commit, or train again from one that is there",
        )
    return check(origin.committed, f"params.yaml of commit {origin.named['commit'][:10]}")


def objection(
    params: Params, paths: Paths, model: str, decision: Mapping[str, Any], origin: Origin
) -> Objection | None:
    """Why `decision`, as it lies in decision.json, does not stand; None where it does."""
    return (
        _of_record(origin)
        or _of_rules(params, model, decision, origin)
        or _of_lock(params, paths, model)
        or _of_judging(params, paths, model, decision)
    )


def _of_record(origin: Origin) -> Objection | None:
    """A recorded run lies here as git keeps it."""
    if not origin.run:
        return None
    run = origin.named["run_id"]
    back = f"`clickflow checkout {run} --into FOLDER` lays out what git keeps under refs/runs/{run}"
    if origin.reference != origin.head:
        kept = f"git keeps it as {origin.reference[:10]}" if origin.reference else "git keeps no such run"
        return Objection(f"commit {origin.head[:10]} is not the record of run {run}: {kept}", back)
    if changed := [name for name in origin.files if name.startswith(_KEPT)]:
        return Objection(
            f"{', '.join(changed[:5])} of run {run} changed after it was recorded",
            f"`git checkout -- {' '.join(changed[:5])}` puts back what the run had; "
            "work of your own on top of it is committed first: `git switch -c NAME && git commit -a`",
        )
    return None


def _of_rules(params: Params, model: str, decision: Mapping[str, Any], origin: Origin) -> Objection | None:
    """The run changed no rule, and the decision was made under those that count."""
    rules = committed(params, origin)
    whose = f"its commit {origin.named['commit'][:10]}" if origin.run else "params.yaml"
    again = f"run `dvc repro gate@{model}`, which judges by the rules of params.yaml"
    if origin.run:
        again = "commit the rules that shall hold, and run again: a run cannot bring its own"
    if changed := [name for name in origin.overrides if name.split(".")[0] in RULES]:
        shown = ", ".join(f"{name}: {origin.params[name][0]} → {origin.params[name][1]}" for name in changed)
        return Objection(f"the run set rules that are the commit's alone ({shown})", again)
    judged_by = decision.get("judged_by")
    if not isinstance(judged_by, Mapping) or not judged_by.get("sha256"):
        return Objection("the decision does not say by which rules it was made", f"run `dvc repro gate@{model}`")
    wanted = stage.rules_of(rules)
    if judged_by != wanted:
        changed = [
            f"{section}.{name}"
            for section in ("gate", "promotion")
            for name in wanted[section]
            if (judged_by.get(section) or {}).get(name) != wanted[section][name]
        ]
        return Objection(
            f"it was judged by other rules than those of {whose}: {', '.join(changed) or 'they hash otherwise'}", again
        )
    return None


def _of_lock(params: Params, paths: Paths, model: str) -> Objection | None:
    """Artefact, evaluation, metrics and decision are, byte by byte, those of dvc.lock."""
    entries = _lock(paths)
    stage = entries.get(f"gate@{model}")
    if not isinstance(stage, Mapping):
        return Objection(
            f"dvc.lock has no entry of gate@{model}: nothing says which evidence the gate read",
            f"run `dvc repro gate@{model}`; a gate run by itself leaves no record",
        )
    own = {
        each.relative_to(paths.root).as_posix(): each
        for each in (paths.exported(model), paths.evaluation(model), paths.metrics(model), paths.gate(model))
    }
    outputs = {o["path"]: o.get("md5") for entry in entries.values() for o in entry.get("outs") or []}
    for dep in stage.get("deps") or []:
        if dep["path"] in own and dep.get("md5") != outputs.get(dep["path"]):
            return Objection(
                f"dvc.lock has the gate on {model} read another {dep['path']} than the stage before it made",
                f"run `dvc repro gate@{model}`",
            )
    for name, path in own.items():
        hashed = locked.md5(path)
        if outputs.get(name) != hashed:
            what = _changed(paths, path, str(outputs.get(name) or "")) or [name]
            return Objection(
                f"{', '.join(what[:5])} {'is' if len(what) == 1 else 'are'} not what dvc.lock holds: changed after the "
                f"gate"
                if hashed
                else f"{name} is gone",
                f"`dvc checkout --force {name}` puts back what was judged, `dvc repro gate@{model}` judges anew",
            )
    frozen = ((stage.get("params") or {}).get("params.yaml") or {}).get(f"champion.{model}")
    if frozen is not None and frozen != params.champion[model]:
        return Objection(
            f"the gate judged against champion {frozen}, params.yaml says {params.champion[model]}",
            f"run `dvc repro gate@{model}`",
        )
    return None


def _of_judging(params: Params, paths: Paths, model: str, decision: Mapping[str, Any]) -> Objection | None:
    """The gate decides the same once more."""
    again = f"run `dvc repro gate@{model}`: the gate's decision counts, not what is written in its place"
    try:
        rejudged = json.loads(json.dumps(stage.judge(params, paths, model, try_log.number)))
    except ClickflowError as error:
        return Objection(f"the evidence does not hold: {error.what}", error.next_step or again)
    if rejudged == dict(decision):
        return None
    if rejudged["decision"] != decision.get("decision"):
        what = f"decision.json says {decision.get('decision')}, the evidence gives {rejudged['decision']}"
    else:
        differ = sorted(key for key in rejudged.keys() | decision.keys() if rejudged.get(key) != decision.get(key))
        what = f"decision.json differs from what the evidence gives, in {', '.join(differ)}"
    return Objection(what, again)


def _lock(paths: Paths) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load((paths.root / "dvc.lock").read_text(encoding="utf-8"))
        return dict(content["stages"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError):
        return {}


def _changed(paths: Paths, folder: Path, recorded: str) -> list[str]:
    """The files of a folder that differ from the recorded ones, where DVC's cache still has their list."""
    if not recorded.endswith(".dir") or not folder.is_dir():
        return []
    try:
        listed = json.loads((_cache(paths) / "files/md5" / recorded[:2] / recorded[2:]).read_text(encoding="utf-8"))
        before = {each["relpath"]: each["md5"] for each in listed}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    now = locked.files(folder)
    differ = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return [(folder / name).relative_to(paths.root).as_posix() for name in differ]


def _cache(paths: Paths) -> Path:
    """DVC's cache of a workspace: as its settings say, else .dvc/cache."""
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read([paths.root / ".dvc/config", paths.root / ".dvc/config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return paths.root / ".dvc/cache"
    return paths.root / ".dvc" / config.get("cache", "dir", fallback="cache").strip("\"'")
