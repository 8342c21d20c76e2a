"""A person's word on a candidate that the gate lets through, where `promotion.approve` names its model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from clickflow.registry import ledger
from clickflow.system.console import say
from clickflow.system.errors import UsageError

Decision = Literal["promote", "hold", "reject"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a person said, who and when (ISO 8601, UTC); `none`: nobody has answered, and `reason` says so."""

    answer: Literal["approve", "reject", "none"]
    by: str
    at: str
    reason: str = ""


@dataclass(frozen=True)
class Word:
    """What is to be done with a candidate, why, and what the ledger's line holds of the answer."""

    decision: Decision
    reason: str
    facts: Mapping[str, Any]

    def said_in(self, facts: Mapping[str, Any]) -> bool:
        """Whether a line of the ledger holds the same answer, whenever it was given; true of no answer."""
        mine, theirs = self.facts.get("approval"), facts.get("approval") or {}
        return mine is None or all(mine[name] == theirs.get(name) for name in ("answer", "by", "reason"))


def given(models: Sequence[str], *, approve: str | None, reject: str | None, answers: str | None) -> dict[str, Answer]:
    """The answers of a command line, by model. Raises UsageError where they are not understood."""
    if sum(option is not None for option in (approve, reject, answers)) > 1:
        raise UsageError("one answer at a time: --approve or --reject", kept="nothing was registered")
    if answers is not None:
        try:
            answered = {model: Answer(**fields) for model, fields in json.loads(answers).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"--answers is not understood: {error}", kept="nothing was registered") from error
        return answered
    word: Literal["approve", "reject"] = "approve" if approve is not None else "reject"
    reason = (approve if approve is not None else reject or "").strip()
    if approve is None and reject is None:
        return {}
    if word == "reject" and not reason:
        raise UsageError(
            "a rejection needs a reason", kept="nothing was registered", next_step='write `--reject "why"`'
        )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {model: Answer(answer=word, by=ledger.actor(), at=now, reason=reason) for model in models}


def word(model: str, gate: Decision, summary: str, answer: Answer | None, *, required: bool) -> Word:
    """The gate's decision, or, where a person must agree to its `promote`, what the person said.

    Without an answer the candidate is held: nothing ships that somebody was to look at. A person may reject whatever
    the gate decided, and lifts nothing that it holds or rejects.
    """
    facts = {"approval": asdict(answer)} if answer else {}
    if answer and answer.answer == "reject" and gate != "promote":
        why = f": {answer.reason}" if answer.reason else ""
        return Word("reject", f"rejected by {answer.by}{why}; the gate's decision was {gate}: {summary}", facts)
    if gate != "promote" or not (required or answer):
        if answer and answer.answer == "approve":
            say(f"{model}: the approval changes nothing: the gate's decision is {gate}, which no person lifts")
        return Word(gate, summary, {})
    if answer is None or answer.answer == "none":
        why = answer.reason if answer else "nobody has been asked yet"
        how = f'`clickflow promote {model} --approve "why"` makes it champion'
        return Word("hold", f"it waits for a person's word, for promotion.approve names {model}; {why}; {how}", facts)
    reason = f": {answer.reason}" if answer.reason else ""
    if answer.answer == "reject":
        return Word("reject", f"rejected by {answer.by}{reason}", facts)
    return Word("promote", f"{summary}; approved by {answer.by}{reason}", facts)
