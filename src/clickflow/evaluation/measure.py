"""One evaluation: candidate, champion, baselines and, for simulated data, the oracle, on the same held-out rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import Artefact
from clickflow.evaluation import customers, money, scoring, seen, slices
from clickflow.evaluation.answers import KINDS
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.asking import ASKING, baseline_by_group
from clickflow.evaluation.bootstrap import Resampling
from clickflow.evaluation.examples import Example
from clickflow.evaluation.held_out import HeldOut, Question, Training
from clickflow.evaluation.oracle import Truth
from clickflow.evaluation.overall import Overall
from clickflow.evaluation.slices import Slicing
from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION, ONE_STEP, ORACLE
from clickflow.heads import outputs
from clickflow.heads.head import NOTHING, grouped, several
from clickflow.heads.outputs import Output
from clickflow.params.evaluation import Evaluation
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.console import Advance
from clickflow.system.moments import iso


@dataclass(frozen=True)
class Measured:
    """The answers and metrics of all systems, of which the files of the report are made."""

    test: HeldOut
    answers: Mapping[str, Answers]
    """By output of the candidate, in the order in which they are shown."""
    slicing: Mapping[str, Slicing]
    """By output, the slices of its rows."""
    metrics: dict[str, Any]
    """What metrics.json holds, without artefact and champion version; see docs/reference/metrics.md."""
    seen: Mapping[str, Mapping[str, npt.NDArray[np.bool_] | None]] = field(default_factory=dict)
    """By output and earlier version, whether it may have learned from each row; None where that is not known."""
    examples: Sequence[Example] = ()
    """A few sequences for the report; none without a ranking."""
    overall: Overall | None = None
    """What the candidate goes by on the whole, for the report."""

    @property
    def ranked(self) -> Answers | None:
        """The answers of the first ranking."""
        return self.answers.get(outputs.main(self.answers, "ranking"))


def horizons(candidate: Artefact) -> dict[str, int]:
    """By head, of how many next steps it is asked."""
    steps = answered(candidate)
    return {output.head.name: steps[output.name] for output in outputs.of(candidate.outputs)}


def answered(artefact: Artefact) -> dict[str, int]:
    """By output that an artefact's card names, of how many next steps it speaks."""
    said = (artefact.card.get("spec") or {}).get("heads") or {}
    steps = dict.fromkeys(artefact.outputs, 1)
    for name, head in artefact.heads.items():
        horizon = int((said.get(name) or {}).get("horizon", 1))
        steps |= {output: horizon for output in head.outputs if head.kind != "ranking" or output == several(name)}
    return steps


def measure(
    test: HeldOut,
    training: Training,
    candidate: Artefact,
    champion: Artefact | None,
    settings: Evaluation,
    seed: int,
    advance: Advance,
    *,
    best_champion: Artefact | None = None,
    truth: Truth | None = None,
    valid: HeldOut | None = None,
) -> Measured:
    """Ask every system every question, and sum up.

    `valid`: of the part before the test part, where the simple method that money is compared with is chosen.
    `training` is the training part, for the baselines. `truth`: the true process, where it is known; where it knows no
    answer to a question about classes, the Markov baseline stands in.
    """
    questions = {name: test.question(outputs.head(name), horizon) for name, horizon in horizons(candidate).items()}
    versions = {CANDIDATE: candidate, CHAMPION: champion, BEST: best_champion}
    scored = {
        system: scoring.answer(test, version, list(questions.values()), advance)
        for system, version in versions.items()
        if version is not None
    }
    answers: dict[str, Answers] = {}
    not_converged: list[str] = []
    unanswered = 0
    for name, question in questions.items():
        kind = KINDS[question.head.kind]
        of_versions = {system: each[name] for system, each in scored.items() if name in each}
        simple = {}
        for baseline in outputs.baselines(settings, question.head)[0]:
            simple[baseline], converged = ASKING[question.head.kind].baseline(
                baseline, question, test, training, advance
            )
            if not converged:
                not_converged.append(baseline)
        if question.head.all_targets is not None:
            ranked = {system: version.known - FIRST_ITEM for system, version in versions.items() if version}
            ranked = dict.fromkeys(simple, training.card.known - FIRST_ITEM) | ranked
            answers[name] = _several(
                outputs.named(name), question.target, question, of_versions | simple, training.card.known, ranked
            )
            if question.groups is not None:
                by, groups = grouped(name), question.groups
                systems = {system: each[by] for system, each in scored.items() if by in each}
                systems |= {each: baseline_by_group(each, question, test, training) for each in simple}
                ranked = dict.fromkeys(systems, len(groups.names))
                answers[by] = _several(outputs.named(by), groups.target, question, systems, groups.size, ranked)
            continue
        systems = {system: kind.next_step(each) for system, each in (of_versions | simple).items()}
        if truth is not None and (best := truth.answers(test, question, training)) is not None:
            systems[ORACLE], without = best
            unanswered += without
        rows = _rows(outputs.named(name), question, systems, training)
        rows = replace(rows, seen=test.questions.position[question.at] + 1, lead=question.lead)
        answers[name] = rows
        ahead = several(name)
        if ahead in scored[CANDIDATE]:
            lists = {s: each[ahead] for s, each in scored.items() if s != BEST and ahead in each}
            lists |= {ONE_STEP: of_versions[CANDIDATE]} | simple
            answers[ahead] = _several(outputs.named(ahead), question.target, question, lists, training.card.known)
    simplest = {
        name: _best_baseline(each, valid, training, settings) if valid is not None else None
        for name, each in answers.items()
    }
    measured = _summed_up(test, training, answers, settings, seed, simplest)
    measured.metrics["not_converged"] = not_converged
    earlier = {name: each for name, each in ((CHAMPION, champion), (BEST, best_champion)) if each is not None}
    measured = _marked(measured, test, earlier)
    if truth is not None:
        best_possible = {
            output.name: (measured.metrics[output.name] or {}).pop(ORACLE, None)
            for output in outputs.every()
            if output.head.truth and not output.ahead and output.name in measured.metrics
        }
        measured.metrics["oracle"] = {**best_possible, "unanswered": unanswered}
    return measured


def _marked(measured: Measured, test: HeldOut, earlier: Mapping[str, Artefact]) -> Measured:
    """With the rows that earlier versions may have learned from; the first answer's are summed up in the metrics."""
    measured.metrics["seen"] = None
    if not earlier:
        return measured
    marked = {}
    for name, each in measured.answers.items():
        times = test.answer_time(each.at, 1 if each.step is None else each.step)
        marked[name] = {system: seen.rows(test, version, times) for system, version in earlier.items()}
    first = next(iter(marked.values()))
    measured.metrics["seen"] = {system: seen.summary(version, first[system]) for system, version in earlier.items()}
    return replace(measured, seen=marked)


def work(test: HeldOut, candidate: Artefact, settings: Evaluation, earlier: int) -> int:
    """How much `measure` will tell `advance` in all, beside so many `earlier` versions."""
    heads = {output.head.name: output.head for output in outputs.of(candidate.outputs)}.values()
    baselines = sum(len(outputs.baselines(settings, head)[0]) * len(test.question(head).begins) for head in heads)
    return len(test.questions) * (1 + earlier) + baselines


def _rows(output: Output, question: Question, systems: dict[str, Any], training: Training) -> Answers:
    """A row a question."""
    kind = KINDS[output.kind]
    target = kind.next_step(question.target)
    known = kind.known(target, training.card.known)
    return Answers(
        output=output,
        at=question.at,
        target=target,
        systems=systems,
        known=known,
        step=question.step,
        classes=question.classes,
        labels=question.labels,
    )


def _several(
    output: Output,
    items: npt.NDArray[Any],
    question: Question,
    systems: Mapping[str, Any],
    known: int,
    ranked: Mapping[str, int] | None = None,
) -> Answers:
    """A row an item [n, most] of one of the next steps, as far as the sequence goes."""
    there = items != NOTHING
    step = np.broadcast_to(np.arange(1, items.shape[1] + 1), items.shape)[there]
    return Answers(
        output=output,
        at=np.broadcast_to(question.at[:, None], items.shape)[there],
        target=items[there],
        systems={system: each[there] for system, each in systems.items()},
        known=KINDS[output.kind].known(items[there], known),
        step=step,
        ranked=ranked or {},
    )


def _best_baseline(answers: Answers, valid: HeldOut, training: Training, settings: Evaluation) -> str | None:
    """Of the head's baselines the one that brings the most on the validation part; None where nothing says what acting
    is worth, or nothing is asked there.
    """
    head = answers.output.head
    if answers.output.kind not in money.EXPECTED or head.name not in settings.costs:
        return None
    question = valid.question(head)
    if not len(question):
        return None
    ask = ASKING[head.kind].baseline
    systems = {
        name: ask(name, question, valid, training, lambda *_: None)[0] for name in outputs.baselines(settings, head)[0]
    }
    rows = _rows(answers.output, question, systems, training)
    return money.best_baseline(rows, valid.questions.sequence[rows.at], settings.costs[head.name])


def _summed_up(
    test: HeldOut,
    training: Training,
    answers: dict[str, Answers],
    settings: Evaluation,
    seed: int,
    best: Mapping[str, str | None],
) -> Measured:
    how = Resampling(settings.bootstrap, settings.confidence, seed)
    questions, split = test.questions, test.split
    time, customer = questions.now(split), test.customer[questions.sequence]
    metrics: dict[str, Any] = {output.name: None for output in outputs.every() if output.head.unit == test.card.unit}
    cut, slicing = {}, {}
    for name, each in answers.items():
        kind = KINDS[each.output.kind]
        metrics[name] = kind.summary(each, customer[each.at], settings, how)
        metrics[name].setdefault(CHAMPION, None)
        slicing[name] = _slicing(test, each, training)
        if not each.output.ahead:
            values = {
                system: {metric: kind.values(metric, own, each.target) for metric in kind.shown(settings)}
                for system, own in each.systems.items()
            }
            cut[name] = slices.cells(slicing[name], kind.COUNTED, values)
    metrics |= _details(answers)
    metrics["groups"] = {
        name: _by_group(each, slicing[name], settings) for name, each in answers.items() if not each.output.ahead
    }
    metrics["money"] = {
        name: money.of(
            each,
            questions.sequence[each.at],
            customer[each.at],
            settings.costs[each.output.head.name],
            how,
            best.get(name),
        )
        for name, each in answers.items()
        if each.output.kind in money.EXPECTED and each.output.head.name in settings.costs and len(each.target)
    }
    first = answers.get(outputs.main(answers, "ranking")) or _unasked(test, training)
    return Measured(
        test,
        answers,
        slicing,
        metrics
        | {
            "slices": cut,
            "oracle": None,
            "coverage": round(float(first.known.mean()), 6) if first is not None and len(first.known) else None,
            "predictions": None if first is None else len(first.at),
            "positions": len(questions),
            "sequences": len(np.unique(questions.sequence)),
            "resampled": customers.count(customer),
            "window": {"from": iso(int(time.min())), "to": iso(int(time.max()))} if len(time) else None,
        },
    )


def items_in_question(test: HeldOut) -> npt.NDArray[np.int64]:
    """The items that the unit's first ranking asks for; none where it has no ranking."""
    head = outputs.head(outputs.main((), "ranking"))
    return test.question(head).target[:, 0] if head.unit == test.card.unit else np.zeros(0, np.int64)


def _unasked(test: HeldOut, training: Training) -> Answers | None:
    """The rows of a ranking that the model does not answer, to be counted; None where the unit has none."""
    head = outputs.head(outputs.main((), "ranking"))
    if head.unit != test.card.unit:
        return None
    return _rows(outputs.named(head.name), test.question(head), {}, training)


def _by_group(answers: Answers, slicing: Slicing, settings: Evaluation) -> dict[str, Any]:
    """{dimension: {group: {counted, metric}}} of the candidate: every metric of the kind, without intervals."""
    kind, own = KINDS[answers.output.kind], answers.systems[CANDIDATE]
    cells: dict[str, Any] = {}
    for dimension in slices.GROUPS:
        for label in slicing.order.get(dimension, ()):
            rows = np.flatnonzero(slicing.labels[dimension] == label)
            if not len(rows):
                continue
            of_rows: dict[str, Any] = {"systems": {CANDIDATE: own[rows]}}
            for column in ("at", "target", "known", "step", "seen", "lead"):
                whole = getattr(answers, column)
                of_rows[column] = None if whole is None else whole[rows]
            part = replace(answers, **of_rows)
            summed = kind.summary(part, np.arange(len(rows)), settings, Resampling(0, settings.confidence, 0))
            values = {metric: each["value"] for metric, each in summed[CANDIDATE].items()}
            cells.setdefault(dimension, {})[label] = {kind.COUNTED: len(rows), **values}
    return cells


def _details(answers: Mapping[str, Answers]) -> dict[str, Any]:
    """What kinds tell besides: of the first head of a kind by its key, of others below the name of the head."""
    details: dict[str, Any] = {"per_action": None, "reliability": None}
    for name, each in answers.items():
        if each.output.ahead:
            continue
        own = dict(KINDS[each.output.kind].details(each, CANDIDATE))
        if outputs.is_plain(name, answers):
            details |= own
        elif own:
            details.setdefault("details", {})[name] = own
    return details


def _slicing(test: HeldOut, answers: Answers, training: Training) -> Slicing:
    """The slices of an output's rows: by day and hour of the question, not of the answer."""
    questions, at = test.questions, answers.at
    of_items = answers.output.kind == "ranking" and not answers.output.by
    popular = slices.popularity(training.history.counts, answers.target) if of_items else None
    hour = None if test.split.cut_off is not None else np.asarray(test.split.hour)[questions.event[at]]
    time = questions.now(test.split)[at]
    visitor = None if test.group is None else test.group[questions.sequence[at]]
    more = dict(answers.labels) | {name: group[questions.sequence[at]] for name, group in test.apart.items()}
    return slices.slicing(questions.length[at], time, hour, popular, clock=test.card.clock, visitor=visitor, more=more)
