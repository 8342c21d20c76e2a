"""How well the champion answers on what came after its data: the metrics of its evaluation, window by window."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clickflow.artefact.artefact import Artefact
from clickflow.evaluation import bootstrap, customers, held_out, scoring
from clickflow.evaluation.answers import KINDS
from clickflow.evaluation.distributions import Values
from clickflow.evaluation.held_out import HeldOut
from clickflow.heads import outputs
from clickflow.monitoring.windows import Window
from clickflow.sequences.store import Card, PackedSplit
from clickflow.system.console import Advance


@dataclass(frozen=True)
class Live:
    """A metric on a window: its value, the ends of its interval, and its standard error."""

    value: float
    low: float
    high: float
    error: float


def work(window: Window, splits: Mapping[str, PackedSplit]) -> int:
    """How many questions a window asks."""
    return sum(
        len(chosen) if splits[name].asks == "last" else int(splits[name].lengths[chosen].sum())
        for name, chosen in window.parts.items()
    )


def metrics(
    artefact: Artefact,
    store: Path,
    card: Card,
    splits: Mapping[str, PackedSplit],
    window: Window,
    names: list[str],
    *,
    confidence: float,
    resamples: int,
    seed: int,
    advance: Advance,
) -> dict[str, Live]:
    """The metrics `names` of an artefact on a window's sequences, as `clickflow evaluate` takes them.

    Intervals and errors are from resamples by customer, else by session. A metric without a prediction is left out.
    """
    parts = []
    for name, chosen in window.parts.items():
        if len(chosen):
            owners = customers.of(store, name)
            test = held_out.about(store, card, splits[name], chosen, artefact.max_length, owners)
            parts.append(_sums(test, artefact, names, advance))
    if not parts or not names:
        return {}
    sums = np.concatenate(parts)

    def of(totals: Values) -> Values:
        with np.errstate(all="ignore"):
            return np.asarray(totals[:, ::2] / totals[:, 1::2])

    drawn = of(bootstrap.resampled(sums, resamples, seed))
    low, high = bootstrap.interval(drawn, confidence)
    value, error = of(sums.sum(axis=0, keepdims=True))[0], np.nanstd(drawn, axis=0)
    return {
        name: Live(float(value[k]), float(low[k]), float(high[k]), float(error[k]))
        for k, name in enumerate(names)
        if np.isfinite(value[k])
    }


def _sums(test: HeldOut, artefact: Artefact, names: list[str], advance: Advance) -> Values:
    """[customers, 2 x names]: what each customer (or session) adds to a metric, and how many predictions it has."""
    columns = []
    questions = {output.name: test.question(output.head) for output in outputs.of(artefact.outputs) if not output.ahead}
    answers = scoring.answer(test, artefact, list(questions.values()), advance)
    _, customer = np.unique(test.customer[test.questions.sequence], return_inverse=True)
    size = int(customer.max()) + 1
    for name in names:
        head, metric = outputs.place_of(name, artefact.outputs)
        question = questions[head]
        kind = KINDS[question.head.kind]
        target = kind.next_step(question.target)
        gained, owner = kind.values(metric, kind.next_step(answers[head]), target), customer[question.at]
        columns.append(np.bincount(owner, weights=gained, minlength=size))
        columns.append(np.bincount(owner, minlength=size).astype(np.float64))
    return np.stack(columns, axis=1)
