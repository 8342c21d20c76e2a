"""What a rule says of a candidate, and what all of them together decide."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clickflow.params.gate import Severity

Verdict = Literal["passed", "failed", "not_applicable", "not_judged"]
Decision = Literal["promote", "hold", "reject"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule. `severity` is what its failing leads to, `warn`: to a word in the summary alone; `not_applicable`:
    there is nothing to judge (no champion yet, no such head); `not_judged`: there should be and cannot be, which holds
    the candidate back, unless the rule only warns.
    """

    rule: str
    verdict: Verdict
    severity: Severity
    text: str
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool | None:
        """True, False, or None where it was not judged."""
        return {"passed": True, "failed": False}.get(self.verdict)


def decide(rules: list[Rule]) -> Decision:
    """reject: a rule of that severity failed; hold: one that holds failed, or one could not be judged; else promote."""
    if any(rule.verdict == "failed" and rule.severity == "reject" for rule in rules):
        return "reject"
    if any(rule.verdict in ("failed", "not_judged") and rule.severity != "warn" for rule in rules):
        return "hold"
    return "promote"


def verdict(passed: bool) -> Verdict:
    """The verdict of a rule that was judged."""
    return "passed" if passed else "failed"


def warned(rule: Rule) -> bool:
    """Whether the rule only warns, and does."""
    return rule.severity == "warn" and rule.verdict in ("failed", "not_judged")
