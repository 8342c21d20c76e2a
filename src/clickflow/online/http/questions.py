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
from clickflow.online.merchandising import Boost, Pin
from clickflow.online.ranking import Ranking, Rules
from clickflow.online.served import Served
from clickflow.sequences.units.series import DAYS
from clickflow.system.moments import DAY

BOOSTED = ("items", "categories", "brands")
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
        steps = filled(served, steps)
        if served.artefact.forecasts:
            _regular(served, steps)
        return Question(steps, now), session, customer
    if session is None and customer is None:
        return Question((), clock() if now is None else now), None, None
    kind, name = ("customer", customer) if served.unit == "customer" or session is None else ("session", session)
    if name is None:
        raise Refused("invalid", f"model {served.model!r} reads customers: name the customer", where="$.customer")
    now = clock() if now is None else now
    steps = tuple(step for step in await service.state.history(f"{kind}:{name}") if (step.time or 0) <= now)
    if kind == "customer":
        steps = _latest(steps, service.settings.gap(served.unit), now)
    return Question(filled(served, steps), now), session, customer


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


def filled(served: Served, steps: Sequence[Step]) -> tuple[Step, ...]:
    """With the category and price that an item had in training where nothing was said of them."""
    items, whole = served.items, list[Step]()
    for step in steps:
        index = items.index_of.get(step.item)
        if index is not None and (step.category is None or step.price is None):
            category = step.category if step.category is not None else items.categories[items.category[index]]
            price = step.price if step.price is not None else float(items.price[index])
            step = Step(step.item, step.action, step.time, category, price, step.quantity)
        whole.append(step)
    return tuple(whole)


def may_see(call: Call, body: schema.Question) -> bool:
    """Whether who asks may be told what the history holds: it is theirs, nobody's, or they may look at people."""
    own = body.history is not None or (body.session is None and body.customer is None)
    return own or call.key is None or "people" in call.key.scopes


def unknown_of(
    served: Served, question: Question, *, seen: bool, **named: Iterable[str] | None
) -> list[schema.Unknown] | UnsetType:
    """What the model does not know of a question, and of what else it names, by field; `seen`: see `may_see`."""
    items = served.items
    known: dict[str, Container[str]] = {
        "actions": served.action_of,
        "categories": items.category_of,
        "boosted_categories": items.category_of,
    }
    if named.get("boosted_brands"):
        known["boosted_brands"] = items.brands
    steps = question.steps
    said = {"history": [step.item for step in steps], "actions": [step.action for step in steps], **named}
    unknown: list[schema.Unknown] = []
    for where, names in said.items():
        own = known.get(where, items.index_of)
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
        pins=_pins(body) if body.pins else (),
        boosts=_boosts(service, body) if body.boosts else (),
    )


def _pins(body: schema.Recommend) -> tuple[Pin, ...]:
    """By place. Raises Refused where two say what cannot be."""
    items, places = set[str](), set[int]()
    for number, pin in enumerate(body.pins):
        where, why = f"$.pins[{number}]", ""
        if pin.place > body.k:
            why = f"place {pin.place} of a list of {body.k}"
        elif pin.place in places:
            why = f"place {pin.place} is given twice"
        elif pin.item in items:
            why = f"item {pin.item!r} is pinned twice"
        elif pin.item in body.exclude:
            why = f"item {pin.item!r} is pinned and excluded"
        elif body.only is not None and pin.item not in body.only:
            why = f"item {pin.item!r} is pinned and not among those that alone are wanted"
        if why:
            raise Refused("invalid", why, "pin it to one free place of the list, or leave it out", where=where)
        items.add(pin.item)
        places.add(pin.place)
    return tuple(sorted((Pin(pin.place, pin.item) for pin in body.pins), key=lambda pin: pin.place))


def _boosts(service: Service, body: schema.Recommend) -> tuple[Boost, ...]:
    """Raises Refused where one names nothing, or two the same."""
    boosts: list[Boost] = []
    met: dict[str, set[str]] = {name: set() for name in BOOSTED}
    for number, boost in enumerate(body.boosts):
        given = [name for name in BOOSTED if getattr(boost, name) is not None]
        if len(given) != 1 or not getattr(boost, given[0]):
            what = " and ".join(given) if len(given) > 1 else "nothing"
            needed = "name items, categories or brands, one of these in each boost"
            raise Refused("invalid", f"it names {what}", needed, where=f"$.boosts[{number}]")
        (of,) = given
        names, where = frozenset(getattr(boost, of)), f"$.boosts[{number}].{of}"
        if len(names) > service.serve.max_items:
            raise Refused("too-large", f"{of} has over {service.serve.max_items:,} entries", where=where)
        if twice := sorted(names & met[of]):
            raise Refused("invalid", f"{twice[0]!r} has two factors", "give it one", where=where)
        met[of] |= names
        boosts.append(Boost(boost.factor, of, names))  # type: ignore[arg-type]
    return tuple(boosts)


def named_of(body: schema.Recommend) -> dict[str, Iterable[str] | None]:
    """What a question names besides a history, by field."""
    named: dict[str, Iterable[str] | None] = {
        "exclude": body.exclude,
        "only": body.only,
        "categories": body.categories,
    }
    if body.pins:
        named["pins"] = [pin.item for pin in body.pins]
    for of in BOOSTED if body.boosts else ():
        named[f"boosted_{of}"] = [name for boost in body.boosts for name in getattr(boost, of) or ()]
    return named


def items_of(served: Served, ranking: Ranking) -> list[schema.Item]:
    """The items of a ranking of this version, with what the vocabulary knows of them."""
    said = served.items.said
    rows = zip(ranking.items, ranking.scores, ranking.indexes, strict=True)
    if not ranking.pinned and not ranking.factors:
        return [schema.Item(item, score, **said(index)) for item, score, index in rows]
    items = [
        schema.Item(item, score, **said(index)) if index else schema.Item(item, None) for item, score, index in rows
    ]
    for item, factor in zip(items, ranking.factors or [1.0] * len(items), strict=True):
        item.pinned = item.item in ranking.pinned or UNSET
        item.boost = factor if factor != 1 else UNSET
    return items
