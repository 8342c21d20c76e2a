"""What the expectations say about a log: findings, the lines a person reads, and reports/validation.json."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickflow.events.contract import COLUMNS
from clickflow.quality.evidence import Evidence
from clickflow.quality.profile import Profile
from clickflow.quality.suites import Rule

FIGURE = "expect_column_max_to_be_between"
"""The expectation that holds a figure, the one value of its column, against a bound."""


@dataclass(frozen=True)
class Finding:
    """One rule and what came of it: `success` is None where it was not checked.

    `observed` is the figure's value; for an expectation on rows, the number of those that break it.
    """

    rule: Rule
    success: bool | None
    observed: Any = None
    evidence: Evidence | None = None

    @property
    def state(self) -> str:
        """passed, failed or not checked."""
        return {True: "passed", False: "failed", None: "not checked"}[self.success]

    @property
    def figure(self) -> str:
        """What was judged: the columns, or the table."""
        return ", ".join(self.rule.columns) or f"the table {self.rule.table}"

    @property
    def observed_text(self) -> str:
        """The observed value as a person reads it, or why there is none."""
        if self.success is None:
            return self.rule.unchecked or ""
        return "" if self.observed is None else _number(self.observed)

    @property
    def bound_text(self) -> str:
        """`at least 5`, `at most 0.2`, `between 0.3 and 3`; of other expectations, name and arguments."""
        low, high = self.rule.bound.get("min_value"), self.rule.bound.get("max_value")
        rest = {key: value for key, value in self.rule.bound.items() if key not in ("min_value", "max_value")}
        texts = [f"{key} {value if isinstance(value, str) else json.dumps(value)}" for key, value in rest.items()]
        if low is not None and high is not None:
            texts.insert(0, _number(low) if low == high else f"between {_number(low)} and {_number(high)}")
        elif low is not None:
            texts.insert(0, f"at least {_number(low)}")
        elif high is not None:
            texts.insert(0, f"at most {_number(high)}")
        if self.rule.kind == FIGURE and not rest:
            return ", ".join(texts)
        named = self.rule.kind.removeprefix("expect_").replace("_", " ")
        return f"{named}: {', '.join(texts)}" if texts else named

    @property
    def sentence(self) -> str:
        """What was judged, what it is, what it should be, and how many rows are concerned."""
        rows = f"{self.evidence.count:,} {self.evidence.unit}" if self.evidence else ""
        if self.rule.kind == FIGURE:
            return f"{self.figure} is {self.observed_text}, expected {self.bound_text}{f' ({rows})' if rows else ''}"
        seen = rows or f"observed {self.observed_text}"
        return f"{self.figure}: {seen} fail{'' if rows else 's'} “{self.bound_text}”"

    def lines(self) -> list[str]:
        """The rule, its sentence, and where the examples stand, one a line: what they hold is in the Data Docs."""
        examples = [_place(example) for example in self.evidence.examples] if self.evidence else []
        return [
            f"{self.rule.name}: {self.sentence}",
            *(f"  e.g. {example_text(example)}" for example in examples if example),
        ]

    def as_json(self, *, examples: bool) -> dict[str, Any]:
        """The finding for reports/validation.json; `examples`: with the rows that break the rule."""
        result: dict[str, Any] = {
            "rule": self.rule.name,
            "suite": self.rule.suite,
            "expectation": self.rule.kind,
            "columns": list(self.rule.columns),
            "severity": self.rule.severity,
            "success": self.success,
            "observed": _finite(self.observed),
            "bound": dict(self.rule.bound),
        }
        if self.rule.about:
            result["about"] = self.rule.about
        if self.rule.unchecked:
            result["not_checked"] = self.rule.unchecked
        if self.success is False and self.evidence:
            result |= {"count": self.evidence.count, "unit": self.evidence.unit}
            if examples:
                result["examples"] = [dict(example) for example in self.evidence.examples]
        return result


def critical(findings: Sequence[Finding]) -> list[Finding]:
    """The failures that stop a run."""
    return [f for f in findings if f.success is False and f.rule.severity == "critical"]


def warnings(findings: Sequence[Finding]) -> list[Finding]:
    """The failures that annotate it."""
    return [f for f in findings if f.success is False and f.rule.severity != "critical"]


def report(findings: Sequence[Finding], profile: Profile, columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """reports/validation.json: the verdict, every rule with what was observed, and the figures behind them."""
    types = {str(row["event_type"]): {k: v for k, v in row.items() if k != "event_type"} for row in profile.types}
    return {
        "success": not critical(findings),
        "critical": [finding.as_json(examples=True) for finding in critical(findings)],
        "warnings": [finding.as_json(examples=True) for finding in warnings(findings)],
        "expectations": len(findings),
        "checked": sum(finding.success is not None for finding in findings),
        "rules": [finding.as_json(examples=False) for finding in findings],
        "statistics": {
            **{name: _finite(value) for name, value in profile.log.items()},
            **{name: _finite(value) for name, value in profile.drift.items()},
            "days": len(profile.days),
            "days_without_events": sum(not day["events"] for day in profile.days),
            "first_event": profile.first_event.isoformat() if profile.first_event else None,
            "last_event": profile.last_event.isoformat() if profile.last_event else None,
            "newest_full_day": profile.newest_full_day.isoformat() if profile.newest_full_day else None,
            "types": types,
            "columns": {row["column"]: row["type"] for row in columns},
        },
    }


def _place(example: Mapping[str, Any]) -> dict[str, Any]:
    """An example without the texts of its row, ids among them: a log is read by more people than the events."""
    texts = {name for name in COLUMNS if name not in ("event_time", "event_type")}
    return {key: value for key, value in example.items() if not (key in texts and isinstance(value, str))}


def example_text(example: Mapping[str, Any]) -> str:
    """An example on one line."""
    return "  ".join(f"{key}={value}" for key, value in example.items())


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return str(value)
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return f"{int(value):,}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
