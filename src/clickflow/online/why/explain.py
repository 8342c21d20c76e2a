"""Why a version answers one question so: steps, changes, features, neighbours; numpy and onnxruntime alone."""

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from clickflow import features
from clickflow.heads.outputs import Output
from clickflow.online.history import Question
from clickflow.online.ranking import similar
from clickflow.online.served import Served
from clickflow.online.why import changes, steps
from clickflow.online.why.contributions import shapley
from clickflow.online.why.reading import HALF, Asker, Outcomes
from clickflow.online.why.schema import Association, Contribution, Contributions, Explanation, Neighbour
from clickflow.sequences.units import UNITS
from clickflow.system.errors import UsageError, nearest

NEIGHBOURS = 5
ASSOCIATED = 8
"""Items of the history whose association with the target is asked, the last ones."""
TYPICAL = "typical"
"""The entry of an artefact's card with the median of each feature in the training part."""


def explain(
    served: Served,
    question: Question,
    output: str,
    target: int | None = None,
    *,
    threshold: float | None = None,
    tries: int = changes.MOST,
) -> Explanation:
    """Why `served` answers `question` as it does.

    `target`: of a ranking an item index, else a class; None: the likeliest item or class, yes, the expected amount.
    `threshold`: where a probability or an amount has another side (`money.payoff` says it of costs); none given: of a
    probability one half, of an amount there is none. `tries`: histories that are asked about at most.
    Raises UsageError where there is no such output or target, or the model reads nothing of the history.
    """
    own = _output(served, output)
    read = _as_read(served, question)
    given = threshold is not None
    if own.kind == "probability" and not given:
        threshold = HALF
    ranked = own.kind == "ranking"
    left = list(steps.left_out(read.steps))
    known = _last_known(served, read) if ranked else []
    variations = [steps.without(read, places) for _, places in left]
    variations += [replace(read, steps=(read.steps[places[-1]],)) for places in known]
    asker = Asker(served, own, read, target, threshold, variations)
    asker.tried += len(left)
    outcomes = asker.ahead[: len(left)]
    effects = steps.effects(asker, left, outcomes)
    return Explanation(
        model=served.model,
        version=served.version,
        output=output,
        kind=own.kind,
        question=own.head.question,
        target=asker.named(asker.target),
        target_name=asker.name(asker.named(asker.target)) if ranked else None,
        unit=asker.form.unit,
        answer=asker.form.shown(asker.value),
        threshold=threshold if asker.form.sides else None,
        threshold_of=("costs" if given else "half") if asker.form.sides and threshold is not None else None,
        length=len(read.steps),
        effects=tuple(each for each in effects if each.what == "step" or each.covering),
        groups=tuple(each for each in effects if each.what != "step"),
        search=changes.search(asker, effects, left, outcomes, tries),
        contributions=_contributions(asker),
        neighbours=_neighbours(asker) if ranked else (),
        associated=_associated(asker, known, asker.ahead[len(left) :]),
        unknown=tuple(place for place, step in enumerate(read.steps) if step.item not in served.items.index_of),
    )


def _output(served: Served, name: str) -> Output:
    for output in served.outputs:
        if output.name == name:
            return output
    known = [output.name for output in served.outputs]
    raise UsageError(
        f"{served.model} has no answer {name!r}; it has {', '.join(known)}{nearest(name, known)}",
        kept="nothing was run",
    )


def _as_read(served: Served, question: Question) -> Question:
    """The steps that the model reads, as of one moment, whatever is then taken away."""
    read = tuple(served.steps(question))
    if not read:
        raise UsageError(
            f"{served.model} reads nothing of this history, so there is no answer to explain",
            kept="nothing was run",
            next_step=f"steps are of the types {', '.join(served.action_of)}, and lie before the time of asking",
        )
    now = question.now
    if now is None and UNITS[served.unit].as_of is not None:
        times = [step.time for step in read if step.time is not None]
        now = times[-1] + 1 if times else None
    return replace(question, steps=read, now=now)


def _neighbours(asker: Asker) -> tuple[Neighbour, ...]:
    """The items most like the target; none of a model without vectors, which knows of no likeness."""
    ranking = similar(asker.served, asker.named(asker.target), NEIGHBOURS)
    if ranking.fallback:
        return ()
    return tuple(
        Neighbour(item=item, name=asker.name(item), likeness=score)
        for item, score in zip(ranking.items, ranking.scores, strict=True)
    )


def _last_known(served: Served, question: Question) -> list[list[int]]:
    """The places of each of the last items of a history that the model knows."""
    places: dict[str, list[int]] = {}
    for place, step in enumerate(question.steps):
        if step.item in served.items.index_of:
            places.setdefault(step.item, []).append(place)
    return sorted(places.values(), key=lambda own: -own[-1])[:ASSOCIATED]


def _associated(asker: Asker, known: Sequence[list[int]], alone: Outcomes) -> tuple[Association, ...]:
    """How likely the target is after each of the last items of the history alone; the likeliest first."""
    items, question = asker.served.items, asker.question
    usual = max(int(items.count[asker.target]), 1) / max(int(items.count.sum()), 1)
    associations = [
        Association(
            item=question.steps[own[-1]].item,
            name=asker.name(question.steps[own[-1]].item),
            steps=tuple(own),
            alone=asker.form.shown(value),
            lift=asker.form.shown(value) / usual,
        )
        for own, value in zip(known, alone.value.tolist(), strict=True)
    ]
    return tuple(sorted(associations, key=lambda each: -each.alone))


def _contributions(asker: Asker) -> Contributions | None:
    """Of a model that reads nothing but hand-made features, and whose card says what is typical of them."""
    artefact = asker.served.artefact
    if artefact.inputs or TYPICAL not in artefact.card:
        return None
    typical = np.array([np.nan if each is None else each for each in artefact.card[TYPICAL]], np.float32)
    (own,) = asker.served.features([asker.question])

    def ask(rows: np.ndarray) -> np.ndarray:
        return asker.read(artefact.scores({}, features=rows)[asker.output.name])[0]

    values = shapley(ask, own, typical)
    table = {feature.name: feature for feature in features.table(asker.served.unit)}
    rows = zip(
        artefact.features, own.tolist(), typical.tolist(), values.values.tolist(), values.error.tolist(), strict=True
    )
    named = [
        Contribution(
            feature=name,
            value=None if np.isnan(value) else value,
            typical=None if np.isnan(usual) else usual,
            unit=table[name].unit,
            meaning=table[name].meaning,
            window=table[name].window,
            effect=effect,
            error=error,
        )
        for name, value, usual, effect, error in rows
        if effect
    ]
    named.sort(key=lambda each: -abs(each.effect))
    return Contributions(typical=asker.form.shown(values.typical), features=tuple(named))
