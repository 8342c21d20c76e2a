"""From the body of a request to a question for the engine."""

import time
from collections.abc import Container, Iterable, Sequence
from itertools import pairwise

from msgspec import UNSET, UnsetType

from clickflow.online.history import Question, Step
from clickflow.online.http import schema
from clickflow.online.http.problems import Refused
from clickflow.online.http.route import Call
from clickflow.online.http.settings import VIEW, Service
from clickflow.online.ranking import Ranking, Rules
from clickflow.online.served import Served
from clickflow.sequences.units.series import DAYS
from clickflow.system.moments import DAY

SOME = 10
"""Unknown names that an answer repeats."""


def clock() -> int:
    """Now, microseconds since 1970 UTC."""
    return time.time_ns() // 1000


def model_of(service: Service, body: schema.Question, kind: str | None = None) -> Served:
    """The model that is asked: the one named, else the first that answers, of those with an answer of this kind.

    Raises UsageError where the name is none of a model, Refused where no version of it answers yet, or no model has
    such an answer.
    """
    if body.model is not None:
        if body.model not in service.engine.models and body.model in service.settings.champions():
            raise Refused("not-ready", f"no version of {body.model!r} answers yet")
        served = service.engine.current(body.model)
        if kind and not any(output.kind == kind for output in served.outputs):
            raise Refused("invalid", f"model {body.model!r} has no answer of kind {kind}", where="$.model")
        return served
    for name in service.engine.models:
        served = service.engine.current(name)
        if kind is None or any(output.kind == kind for output in served.outputs):
            return served
    raise Refused(
        "not-ready", f"no model with an answer of kind {kind} is served" if kind else "no model is served yet"
    )


def steps_of(
    service: Service, given: Sequence[schema.Step], where: str, *, canonical: bool = False
) -> tuple[Step, ...]:
    """Without those of types that are left out; `canonical`: of the page, which has read them from the store.

    Raises Refused where there are more than `serve.max_history`, or a time is none.
    """
    most, action = service.serve.max_history, service.settings.action
    if len(given) > most:
        raise Refused("too-large", f"{where} has {len(given):,} steps; at most {most:,} are taken", where=where)
    try:
        kept = []
        for step in given:
            word = None if step.action is UNSET else step.action
            kind = word or VIEW if canonical else action(word)
            if kind is not None:
                kept.append(step.step(kind))
        return tuple(kept)
    except ValueError as error:
        raise Refused("invalid", f"{error}", where=where) from error


def order_of(given: Iterable[int | None]) -> list[int] | None:
    """The places of steps in the order of their times, as ingest reads a log; a step without one stays behind the one
    before it. None: they are in order.
    """
    times, before = [], 0
    for moment in given:
        before = before if moment is None else moment
        times.append(before)
    if all(earlier <= later for earlier, later in pairwise(times)):
        return None
    return sorted(range(len(times)), key=times.__getitem__)


def subject(service: Service, kind: str, raw: str | None) -> str | None:
    """The pseudonym of a session or customer; None where nobody is named. Raises Refused where the text is no id."""
    try:
        return None if raw is None else service.settings.pseudonym(kind, raw)
    except ValueError as error:
        raise Refused("invalid", f"{error}", where=f"$.{kind}") from error


async def question_of(
    service: Service, body: schema.Question, served: Served, *, canonical: bool = False
) -> tuple[Question, str | None, str | None]:
    """The question, and the pseudonyms of session and customer.

    Steps of earlier events are read as of `now`, or of the clock; those of a history, in the order of their times, as
    of its last step where no `now` is given. Where a history is given it is read, whoever is named. Raises Refused
    where a text is no id or time, and Away where the state cannot be reached.
    """
    session, customer = subject(service, "session", body.session), subject(service, "customer", body.customer)
    now = None
    if body.now is not None:
        try:
            now = schema.micros(body.now)
        except ValueError as error:
            raise Refused("invalid", f"{error}", where="$.now") from error
    if body.history is not None:
        steps = steps_of(service, body.history, "$.history", canonical=canonical)
        if (order := order_of(step.time for step in steps)) is not None:
            steps = tuple(steps[place] for place in order)
        if now is None and all(step.time is None for step in steps):
            now = clock()
        filled = _filled(served, steps)
        if served.artefact.forecasts:
            _regular(served, filled)
        return Question(filled, now), session, customer
    if session is None and customer is None:
        return Question((), clock() if now is None else now), None, None
    kind, name = ("customer", customer) if served.unit == "customer" or session is None else ("session", session)
    if name is None:
        raise Refused("invalid", f"model {served.model!r} reads customers: name the customer", where="$.customer")
    now = clock() if now is None else now
    steps = tuple(step for step in await service.state.history(f"{kind}:{name}") if (step.time or 0) <= now)
    if kind == "customer":
        steps = _latest(steps, service.settings.gap(served.unit), now)
    return Question(_filled(served, steps), now), session, customer


def _regular(served: Served, steps: Sequence[Step]) -> None:
    """Raises Refused where steps are not the periods of a series, one after the other: events would be read as days."""
    step = str(served.artefact.card["step"])
    apart = DAYS[step] * DAY
    times = [step.time for step in steps]
    whole = all(step.quantity is not None for step in steps) and None not in times
    if not whole or any(later - time != apart for time, later in pairwise(times)):  # type: ignore[operator]
        raise Refused(
            "invalid",
            f"model {served.model!r} reads a series: a step for every {step}, each with its time and quantity (0 too), "
            "none left out",
            "sum the units that were sold, or ask /v1/forecasts",
            where="$.history",
        )
    priced = served.artefact.session.forecaster.preset.shared.priced
    if priced and steps and not any((step.price or 0) > 0 for step in steps):
        raise Refused(
            "invalid",
            f"model {served.model!r} reads prices, and none of these steps has one",
            "give each step the price that was asked",
            where="$.history",
        )


def _filled(served: Served, steps: Sequence[Step]) -> tuple[Step, ...]:
    """With the category and price that an item had in training where nothing was said of them."""
    items, filled = served.items, []
    for step in steps:
        index = items.index_of.get(step.item)
        if index is not None and (step.category is None or step.price is None):
            category = step.category if step.category is not None else items.categories[items.category[index]]
            price = step.price if step.price is not None else float(items.price[index])
            step = Step(step.item, step.action, step.time, category, price, step.quantity)
        filled.append(step)
    return tuple(filled)


def may_see(call: Call, body: schema.Question) -> bool:
    """Whether who asks may be told what the history holds: it is theirs, nobody's, or they may look at people."""
    own = body.history is not None or (body.session is None and body.customer is None)
    return own or call.key is None or "people" in call.key.scopes


def unknown_of(
    served: Served, question: Question, *, seen: bool, **named: Iterable[str] | None
) -> list[schema.Unknown] | UnsetType:
    """What the model does not know of a question, and of what else it names, by field; `seen`: see `may_see`."""
    known: dict[str, Container[str]] = {"actions": served.action_of, "categories": served.items.category_of}
    steps = question.steps
    said = {"history": [step.item for step in steps], "actions": [step.action for step in steps], **named}
    unknown: list[schema.Unknown] = []
    for where, names in said.items():
        own = known.get(where, served.items.index_of)
        if names and (unlike := [name for name in names if name not in own]):
            lacking = list(dict.fromkeys(unlike))
            some = lacking[:SOME] if seen or where in named else []
            unknown.append(schema.Unknown(where, len(lacking), some))  # type: ignore[arg-type]
    return unknown or UNSET


def _latest(steps: tuple[Step, ...], gap: int | None, now: int) -> tuple[Step, ...]:
    """The last of the sequences that pauses of more than `gap` cut steps into; none where the last is over."""
    if gap is None:
        return steps
    later = now
    for place in range(len(steps) - 1, -1, -1):
        time = steps[place].time or 0
        if later - time > gap:
            return steps[place + 1 :]
        later = time
    return steps


def rules_of(service: Service, body: schema.Recommend, output: str) -> Rules:
    """Raises Refused where a list is longer than the server takes."""
    most = service.serve.max_items
    for name in ("exclude", "only", "categories"):
        if len(getattr(body, name) or ()) > most:
            raise Refused("too-large", f"{name} has over {most:,} entries", where=f"$.{name}")
    if body.k > most:
        raise Refused("too-large", f"k is {body.k:,}; at most {most:,} items are given", where="$.k")
    low, high = body.price_from, body.price_to
    if low is not None and high is not None and low > high:
        raise Refused("invalid", f"price_from {low:g} is above price_to {high:g}: no item is", where="$.price_from")
    return Rules(
        k=body.k,
        output=output,
        exclude=frozenset(body.exclude),
        only=None if body.only is None else frozenset(body.only),
        exclude_seen=body.exclude_seen,
        categories=None if body.categories is None else frozenset(body.categories),
        price=(low, high),
        per_category=body.per_category,
        diversity=body.diversity,
    )


def items_of(served: Served, ranking: Ranking) -> list[schema.Item]:
    """The items of a ranking of this version, with what the vocabulary knows of them."""
    said = served.items.said
    rows = zip(ranking.items, ranking.scores, ranking.indexes, strict=True)
    return [schema.Item(item, score, **said(index)) for item, score, index in rows]
