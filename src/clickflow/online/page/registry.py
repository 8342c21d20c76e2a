"""What the page says of each model: champion, candidate, gate, ledger, drift; of runs; and its two changes.

Verbs that need MLflow run as the command line does, in a process of their own: the server stays small, nobody else's
question waits, and the rules of `clickflow promote` and `rollback` are the only ones there are. Who asked is the name
of the key, which the ledger's line then bears.
"""

import json
import math
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from clickflow.evaluation import paragraph
from clickflow.gate import stage
from clickflow.online.live import report
from clickflow.online.page import places
from clickflow.online.page.chinese import both
from clickflow.params.schema import Params
from clickflow.registry import canary, ledger
from clickflow.system import integrity, process
from clickflow.system.errors import ClickflowError, DataError, UsageError
from clickflow.system.files import read_json, sha256, unsealed, write_record
from clickflow.system.moments import iso
from clickflow.system.paths import Paths
from clickflow.system.process import NO_TELEMETRY
from clickflow.tracking import mlflow_client

FRESH = 20.0
"""Seconds for which what the registry said is taken for the present state."""
KEPT = "registry-said.json"
"""In the home: what the registry said last."""
LONG = 300.0
"""Seconds that a verb may take: files are hashed, rules decided again."""
RUNS = 8
LANGUAGES: tuple[Literal["en", "zh"], ...] = ("en", "zh")
FACTS = ("number", "time", "actor", "action", "version", "champion", "previous", "reason")
"""Of a line of the ledger, what is shown."""


class Registry:
    """The registry of a workspace, as the page asks for it."""

    def __init__(self, params: Params, paths: Paths) -> None:
        self._params, self._paths = params, paths
        self._held: tuple[float, Any, dict[str, Any]] | None = self._kept()
        """When the registry was asked, what tells whether files have changed since, and what it said."""

    def models(self, served: dict[str, int]) -> dict[str, Any]:
        """All of params.yaml, by what lies in the workspace; `served`: the versions that answer here. What cannot be
        read is said in `note`.
        """
        entries, note = self._entries()
        wrong: list[str] = []
        watch = self._read(self._paths.watch, "watch.json", wrong) or {}
        gates = {name: self._gate(name, wrong) for name in self._params.models}
        note = note or next(iter(wrong), "")
        canaries = report.last(self._paths).get("canaries") or {}
        return {
            "models": [
                {
                    "name": name,
                    "unit": spec.unit,
                    "outputs": list(spec.heads),
                    "served": served.get(name, 0),
                    "champion": _champion(entries, name),
                    "canary": _canary(entries, name, canaries.get(name)),
                    "gate": gates[name],
                    "promotable": self._promotable(name, entries, gates[name]),
                    "ledger": [_line(entry) for entry in reversed(entries) if entry.model == name],
                    "watch": _watched(watch, name),
                }
                for name, spec in sorted(self._params.models.items())
            ],
            "note": both(note) if note else "",
        }

    def runs(self) -> dict[str, Any]:
        """The last runs, as `clickflow runs` lists them, which asks the repository; `note`: it failed."""
        try:
            runs = self._verb(["runs", f"--limit={RUNS}"])["runs"]
            return {"runs": [{**run, "reason": both(run["reason"])} for run in runs], "note": ""}
        except (ClickflowError, OSError, ValueError) as error:
            return {"runs": [], "note": both(_what(error, "runs"))}

    def held(self) -> dict[str, Any] | None:
        """What `status` said last; `stale`: it may be otherwise by now; None: it was not asked yet."""
        if self._held is None:
            return None
        at, seen, said = self._held
        return {**said, "stale": seen != self._stamp() or time.monotonic() - at > FRESH}

    def status(self) -> dict[str, Any]:
        """What `clickflow status` says of each model, as of `made`: the registry is asked, which takes seconds. `note`:
        it failed, and this is what it said before.
        """
        stamp, held = self._stamp(), self.held()
        if held is None or held["stale"]:
            try:
                models = self._verb(["status"])["models"]
            except (ClickflowError, OSError, ValueError) as error:
                before = held or {"models": {}, "made": None}
                return {**before, "note": both(_what(error, "status")), "stale": False}
            models = {name: {**own, "notes": [both(note) for note in own["notes"]]} for name, own in models.items()}
            held = {"models": models, "made": iso(time.time_ns() // 1000), "note": ""}
            self._held = (time.monotonic(), stamp, held)
            with suppress(OSError):  # it is for a later start alone, and for other workers
                write_record(self._paths.home / KEPT, held, mode=0o640)
        return {**held, "stale": False}

    def _kept(self) -> tuple[float, Any, dict[str, Any]] | None:
        """What the registry said before this process began; nothing where that is not as it was written."""
        with suppress(OSError, ValueError):
            said = unsealed(read_json(self._paths.home / KEPT))
            if isinstance(said, dict) and set(said) == {"models", "made", "note"}:
                return -math.inf, None, said
        return None

    def _stamp(self) -> Any:
        return _stamp(ledger.path(self._paths), self._paths.params)

    def promote(self, model: str, reason: str, person: str) -> str:
        """Carry out the gate's decision. Raises UsageError where it is refused, or nothing may be promoted."""
        self._known(model)
        decision = _json(self._paths.gate(model) / "decision.json")
        if decision is None or decision.get("decision") != "promote":
            raise UsageError(
                f"the gate has not let a candidate of {model} through",
                kept="nothing was changed",
                next_step="`dvc repro` makes and judges a candidate",
            )
        answer = self._verb(["promote", model, f"--approve={_reason(reason)}"], person)
        return str(answer["models"][0]["text"])

    def rollback(self, model: str, to: int, reason: str, person: str) -> str:
        """Put version `to` back. Raises UsageError where it may not be champion."""
        self._known(model)
        answer = self._verb(["rollback", model, f"--reason={_reason(reason)}", f"--to={to}"], person)
        return f"{model}: version {answer['champion']} is champion again"

    def _known(self, model: str) -> None:
        self._params.model(model)
        if model.startswith("-"):
            raise UsageError(f"{model!r} is not a model")

    def _verb(self, words: Sequence[str], person: str | None = None) -> Any:
        """What `clickflow …` prints as JSON; `person`: who asks, of what changes something."""
        hurry = mlflow_client.IMPATIENT
        own = {name: value for name, value in os.environ.items() if hurry.get(name) != value}
        env = hurry | own | NO_TELEMETRY if person is None else own | NO_TELEMETRY | {"CLICKFLOW_PERSON": person}
        command = [sys.executable, "-m", "clickflow.cli", *words, "--json"]
        done = process.run(command, cwd=self._paths.root, env=env, say=lambda _: None, capture=True, limit=LONG)
        if person is not None:
            self._held = None
        if done.code:
            what, kept, following = _said(done.tail)
            raise UsageError(what, kept=kept, next_step=following)
        return json.loads(done.stdout)

    def _entries(self) -> tuple[list[ledger.Entry], str]:
        try:
            return ledger.whole(self._paths), ""
        except (ClickflowError, OSError) as error:
            return [], error.what if isinstance(error, ClickflowError) else f"the ledger cannot be read: {error}"

    def _read(self, folder: Path, name: str, wrong: list[str]) -> Any:
        """A file of JSON; None where it is not there, or not as it was written, which goes to `wrong`."""
        try:
            if (folder / integrity.SEAL).is_file():  # without one promote refuses
                integrity.verify_files(folder, name, home=self._paths.home)
        except DataError as error:
            wrong.append(error.what)
            return None
        return _json(folder / name)

    def _gate(self, model: str, wrong: list[str]) -> dict[str, Any] | None:
        """The last decision, that of the checkout or, where none was made there, of the last run; none where that is
        not as it was written.
        """
        for place in places.of(self._paths, model):
            if (place.gate(model) / "decision.json").is_file():
                decision = self._read(place.gate(model), "decision.json", wrong)
                return None if decision is None else self._decided(model, decision, place, wrong)
        return None

    def _decided(self, model: str, decision: dict[str, Any], place: Paths, wrong: list[str]) -> dict[str, Any]:
        shown = ("decision", "champion_version", "artefact_sha256")
        rules = [
            {
                "rule": both(rule["rule"]),
                "mark": stage.mark(rule),
                "severity": rule["severity"],
                "text": both(rule["text"]),
                "line": stage.line(rule),
            }
            for rule in decision["rules"]
        ]
        summary, sentence = both(decision.get("summary") or ""), self._sentence(model, decision, place, wrong)
        return {
            **{name: decision.get(name) for name in shown},
            "summary": summary,
            "sentence": sentence,
            "rules": rules,
            "sealed": (place.gate(model) / integrity.SEAL).is_file(),
        }

    def _sentence(self, model: str, decision: dict[str, Any], place: Paths, wrong: list[str]) -> dict[str, str]:
        """The first paragraph of the report by language; as the decision has it where its report is not here."""
        metrics = self._read(place.evaluation(model), "metrics.json", wrong) or {}
        own = (metrics.get("artefact") or {}).get("model_sha256")
        if own is None or own != decision.get("model_sha256"):
            return {"en": decision.get("sentence") or ""}
        settings = self._params.evaluation
        with suppress(KeyError, TypeError):  # of a report that an earlier version has written
            return {name: paragraph.of(metrics, replace(settings, language=name)) for name in LANGUAGES}
        return {"en": decision.get("sentence") or ""}

    def _promotable(self, model: str, entries: Sequence[ledger.Entry], gate: dict[str, Any] | None) -> bool:
        """Whether there is a decision that has not been carried out yet, on another artefact than the champion's."""
        file = self._paths.gate(model) / "decision.json"
        champion = ledger.facts_of(entries, model, ledger.standing(entries, model).champion).get("artefact_sha256")
        if champion and gate and gate.get("artefact_sha256") == champion:
            return False
        done = {entry.facts.get("decision_sha256") for entry in entries if entry.model == model}
        return file.is_file() and sha256(file) not in done


def _champion(entries: Sequence[ledger.Entry], model: str) -> dict[str, Any] | None:
    """The champion as the ledger's line on it says; None where there is none."""
    now = ledger.standing(entries, model)
    if now.entry is None or not now.champion:
        return None
    line = now.entry
    named = {name: line.facts[name] for name in ("run_id", "dag_run", "commit") if line.facts.get(name)}
    return {
        "version": now.champion,
        "previous": now.previous,
        "since": line.time,
        "actor": line.actor,
        "action": line.action,
        "why": both(line.reason),
        "metrics": dict(line.facts.get("metrics", {})),
        "origin": named,
    }


def _canary(entries: Sequence[ledger.Entry], model: str, said: dict[str, Any] | None) -> dict[str, Any] | None:
    """`said`: what its rule said of it in the last live report."""
    on = canary.running(entries, model)
    if on is None:
        return None
    shown = {"version": on.version, "test": on.number, "since": on.time, "share": on.facts.get("share")}
    shown |= {"call": None, "why": None}
    return shown if said is None else {**shown, "call": said["call"], "why": both(said["why"])}


def _line(entry: ledger.Entry) -> dict[str, Any]:
    every = asdict(entry)
    return {**{name: every[name] for name in FACTS}, "reason": both(entry.reason)}


def _watched(watch: dict[str, Any], model: str) -> dict[str, Any] | None:
    own = (watch.get("models") or {}).get(model)
    return None if own is None else {**own, "why": both(own["why"]), "as_of": watch["as_of"]}


def _what(error: Exception, verb: str) -> str:
    return error.what if isinstance(error, ClickflowError) else f"clickflow {verb} failed: {error}"


def _reason(text: str) -> str:
    if not text.strip():
        raise UsageError("a reason is needed: it stands in the ledger", kept="nothing was changed")
    return text.strip()


def _said(tail: Sequence[str]) -> tuple[str, str, str]:
    """What happened, what was kept and what to do next, of an error that the command line printed."""
    lines = [line.strip() for line in tail if line.strip()]
    start = next((n for n, line in enumerate(lines) if line.startswith("error:")), max(0, len(lines) - 3))
    parts = {"error": "", "kept": "", "next": ""}
    here = "error"
    for line in lines[start:]:
        name, colon, rest = line.partition(":")
        if colon and name in parts:
            here, line = name, rest.strip()
        parts[here] = f"{parts[here]} {line}".strip()
    return parts["error"] or "the command failed and said nothing", parts["kept"], parts["next"]


def _json(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None


def _stamp(*files: Path) -> Any:
    with suppress(OSError):
        there = [file.stat() if file.exists() else None for file in files]
        return [each and (each.st_mtime_ns, each.st_size) for each in there]
    return None
