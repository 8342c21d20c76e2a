"""The engine: which version of each model answers, and how questions get to it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy.typing as npt

from clickflow.online.history import Question
from clickflow.online.ranking import Ranking, Rules, recommend, similar
from clickflow.online.served import Served
from clickflow.system.errors import UsageError, nearest


@dataclass(frozen=True, slots=True)
class Answer:
    """What one version answered to one question."""

    model: str
    version: int
    values: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """By output that is no ranking, float32 [A]: log-probabilities, or an amount; NaN where the history is empty."""
    rankings: Mapping[str, Ranking] = field(default_factory=dict)
    """By output that is a ranking."""
    fallback: Literal["no_history"] | None = None
    """`no_history`: nothing of the history is read by the model, and values are NaN."""


class Engine:
    """The versions that answer, by model; for many threads."""

    def __init__(self, served: Mapping[str, Served]) -> None:
        self._served = dict(served)

    @property
    def models(self) -> tuple[str, ...]:
        """Their names, canaries (`next_step@canary`) left out."""
        return tuple(name for name in self._served if "@" not in name)

    def current(self, model: str) -> Served:
        """The version of `model` that answers now. Raises UsageError where there is none."""
        try:
            return self._served[model]
        except KeyError:
            known = ", ".join(self._served) or "none"
            raise UsageError(
                f"no model {model!r} answers here; there is: {known}{nearest(model, self._served)}"
            ) from None

    def swap(self, served: Served) -> None:
        """Let this version answer from now on; questions under way are answered by the one before."""
        self._served = {**self._served, served.model: served}

    def withdraw(self, model: str) -> None:
        """Let `model` answer no more."""
        self._served = {name: served for name, served in self._served.items() if name != model}

    def answer(self, model: str, question: Question, rules: Rules | None = None) -> Answer:
        """What the current version answers; rankings as `rules` say, only that of `rules.output` if it is given."""
        served = self.current(model)
        found = served.answers([question])
        values = {output.name: found[output.name][0] for output in served.outputs if output.kind != "ranking"}
        rules = rules or Rules()
        wanted = [rules.output] if rules.output else [o.name for o in served.outputs if o.kind == "ranking"]
        rankings = {name: recommend(served, question, _of(rules, name)) for name in wanted}
        fallback: Literal["no_history"] | None = "no_history" if served.empty(question) else None
        return Answer(model, served.version, values, rankings, fallback)

    async def ask(self, model: str, question: Question, rules: Rules | None = None) -> Answer:
        """As `answer`, together with what others ask at the same time."""
        return await asyncio.to_thread(self.answer, model, question, rules)

    def similar(self, model: str, item: str, k: int) -> Ranking:
        """The `k` items most like one. Raises UsageError where the model does not know it."""
        return similar(self.current(model), item, k)


def _of(rules: Rules, output: str) -> Rules:
    return rules if rules.output == output else replace(rules, output=output)
