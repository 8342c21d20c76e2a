"""`clickflow gate`: promote, hold or reject, by the rules of params.yaml, each with its evidence."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.evaluation import headline
from clickflow.evaluation.systems import CANDIDATE
from clickflow.gate import evidence as evidences
from clickflow.gate import fairness, locked, resolved, tries
from clickflow.gate import rules as judging
from clickflow.gate.evidence import Evidence
from clickflow.gate.paired import RESAMPLES
from clickflow.gate.resolved import ResolvedGate
from clickflow.gate.verdicts import Rule, decide, warned
from clickflow.heads import outputs
from clickflow.params.gate import Gate
from clickflow.params.schema import Params
from clickflow.system import console, integrity
from clickflow.system.files import replacing, write_json, write_text
from clickflow.system.paths import Paths

ACCURACY = "accuracy"
MARKS = {"passed": "✓", "failed": "✗", "not_applicable": "–", "not_judged": "?", "warned": "!"}


Count = Callable[[Paths, str, Mapping[str, Any]], int]
"""Which try on its test window a candidate is, from 1, as the registry has recorded (clickflow.registry.try_log)."""


def run(params: Params, paths: Paths, name: str, record: Count) -> None:
    """Judge the candidate of model `name`; write decision.json and decision.html, print the rules.

    `record` records the try and counts it: before anybody knows the outcome, the home holds that this candidate is
    judged on this test window.
    The decision is the output: whatever it is, the exit code is 0. Raises UsageError for a metric that was not
    measured, DataError where the evaluation does not belong to the artefact or the champion.
    """
    decision = judge(params, paths, name, record)
    with replacing(paths.gate(name), seal=integrity.seal) as fresh:
        write_json(fresh / "decision.json", decision)
        write_text(fresh / "decision.html", page(decision))
    console.out.print(_table(decision))
    console.say(f"evidence: {paths.gate(name) / 'decision.html'}; `clickflow promote {name}` carries the decision out")


def judge(params: Params, paths: Paths, name: str, count: Count) -> dict[str, Any]:
    """The decision that the evidence gives, without writing it: what promote holds the gate's against."""
    params.model(name)
    integrity.verify(*_read(paths, name), home=paths.home)
    evidence = evidences.read(paths, name, params.champion[name])
    evidence = replace(evidence, tries=count(paths, name, tries.of(evidence.metrics)))
    rules = judging.judge(params.gate, evidence, params.seed)
    return {
        **decision_of(name, params.gate, evidence, rules, params.seed),
        "judged_by": rules_of(params),
        "evidence": {each.relative_to(paths.root).as_posix(): locked.md5(each) for each in _read(paths, name)},
    }


def _read(paths: Paths, name: str) -> tuple[Path, Path]:
    """The folders that hold the evidence."""
    return paths.evaluation(name), paths.exported(name)


def rules_of(params: Params) -> dict[str, Any]:
    """The rules of params.yaml that a candidate is judged by, and their hash."""
    rules = {"gate": asdict(params.gate), "promotion": asdict(params.promotion)}
    canonical = json.dumps(rules, sort_keys=True, separators=(",", ":"), default=list)
    return {"sha256": hashlib.sha256(canonical.encode()).hexdigest(), **json.loads(canonical)}


def decision_of(name: str, gate: Gate, evidence: Evidence, rules: list[Rule], seed: int) -> dict[str, Any]:
    """The content of decision.json; figures have six significant digits."""
    decision = decide(rules)
    decisive = [rule for rule in rules if rule.verdict == "failed" and rule.severity == decision]
    decisive += [rule for rule in rules if rule.verdict == "not_judged" and decision == "hold" and not warned(rule)]
    passed = sum(rule.verdict == "passed" for rule in rules)
    open_rules = sum(rule.verdict == "not_applicable" for rule in rules)
    resolved_gate = resolved.of(gate, evidence.rows)
    summary = _reasons(decisive)
    if decision == "promote":
        summary = f"{passed} rules passed" + (f", {open_rules} had nothing to judge" if open_rules else "")
    if warnings := [rule.rule for rule in rules if warned(rule)]:
        summary += f"; {len(warnings)} warn, not shown: {_named(warnings)}"
    if "on this test window" not in summary:
        summary += tries.note(gate, evidence.tries)
    if "may have learned from" not in summary:
        summary += fairness.left_out(resolved_gate, evidence)
    content = {
        "model": name,
        "decision": decision,
        "summary": summary,
        "primary": resolved_gate.primary,
        "output": resolved_gate.output,
        "champion_version": evidence.champion_version,
        "best_champion": next((r.evidence["best_champion"] for r in rules if "best_champion" in r.evidence), 0),
        "tries": evidence.tries,
        "artefact_sha256": evidence.artefact_sha256,
        "model_sha256": evidence.model_sha256,
        "data_sha256": evidence.data_sha256,
        "data": evidence.metrics.get("data"),
        "sentence": evidence.metrics.get("summary") or headline.sentence(evidence.metrics),
        "metrics": _headline(resolved_gate, evidence),
        "rules": [
            {
                "rule": rule.rule,
                "passed": rule.passed,
                "verdict": rule.verdict,
                "severity": rule.severity,
                "text": rule.text,
                "evidence": dict(rule.evidence),
            }
            for rule in rules
        ],
        "method": {
            "test": "paired bootstrap of customers, else sessions; one-sided, by percentile and spread",
            "resampled": evidence.metrics.get("resampled"),
            "resamples": RESAMPLES,
            "seed": seed,
            "confidence": gate.champion.confidence,
            "confidence_of_this_try": tries.confidence(gate.champion.confidence, evidence.tries),
        },
    }
    rounded: dict[str, Any] = _rounded(content)
    return rounded


def _reasons(rules: list[Rule]) -> str:
    """What rules say, each text once, with the rules that say it."""
    by_text: dict[str, list[str]] = {}
    for rule in rules:
        by_text.setdefault(rule.text, []).append(rule.rule)
    return "; ".join(f"{_named(names)}: {text}" for text, names in by_text.items())


def _named(names: list[str]) -> str:
    """A few names; of many, how many more there are."""
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def page(decision: Mapping[str, Any]) -> str:
    """decision.html: one file without links to elsewhere; the same decision gives the same bytes."""
    from jinja2 import Environment, StrictUndefined

    template = (Path(__file__).parent / "decision.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(decision=decision, marks=MARKS, mark=mark, line=line)


def _headline(gate: ResolvedGate, evidence: Evidence) -> dict[str, float]:
    """The metrics that the rules speak of, and the accuracy of heads of classes; what was not measured is left out.

    Beside a metric of the first ranking over all rows stands that over known items alone, where it is another figure;
    then `coverage` says how many are known.
    """
    numbers: dict[str, float | None] = {}
    known = evidence.ranked.known if evidence.ranked else np.ones(1)
    names = {gate.primary, *gate.beat_baselines, *gate.floors}
    names |= {outputs.full(name, ACCURACY) for name, rows in evidence.rows.items() if rows.output.kind == "classes"}
    if not known.all():
        names |= {f"{name}_known" for name in names if re.fullmatch(r"[a-z]+@\d+", name)}
    for name in sorted(names):
        head, key = gate.place_of(name)
        numbers[name] = judging.value_of(((evidence.metrics.get(head) or {}).get(CANDIDATE) or {}).get(key))
    if not known.all():
        numbers["coverage"] = float(known.mean())
    return {name: number for name, number in numbers.items() if number is not None}


def _rounded(value: Any) -> Any:
    """`value` with floats at six significant digits, which summing in another order does not change; NaN is null."""
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def mark(rule: Mapping[str, Any]) -> str:
    """The verdict that a rule is shown by: `warned` where it failed, or could not be judged, and only warns."""
    verdict = str(rule["verdict"])
    return "warned" if rule["severity"] == "warn" and verdict in ("failed", "not_judged") else verdict


def line(rule: Mapping[str, Any]) -> dict[str, float] | None:
    """Where interval, observed value and bound of a rule lie on a line from 0 to 100; None without an interval."""
    evidence = rule["evidence"]
    interval, observed, bound = evidence.get("interval"), evidence.get("observed"), evidence.get("bound")
    if interval is None or observed is None or bound is None:
        return None
    marks = [*interval, observed, bound]
    low, high = min(marks), max(marks)
    span = (high - low) * 1.2 or 1.0
    low = (low + high - span) / 2
    names = ("low", "high", "observed", "bound")
    return {name: round(100 * (mark - low) / span, 1) for name, mark in zip(names, marks, strict=True)}


def _table(decision: Mapping[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    colours = {"passed": "green", "failed": "red", "not_applicable": "dim", "not_judged": "yellow", "warned": "yellow"}
    against = decision["champion_version"]
    title = (
        f"{decision['model']}: {decision['decision']}  (against {f'version {against}' if against else 'no champion'})"
    )
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("rule", overflow="fold")
    table.add_column("evidence", overflow="fold")
    table.add_column("else")
    for rule in decision["rules"]:
        shown = f"[{colours[mark(rule)]}]{MARKS[mark(rule)]}[/]"
        table.add_row(shown, escape(rule["rule"]), escape(rule["text"]), rule["severity"])
    return table
