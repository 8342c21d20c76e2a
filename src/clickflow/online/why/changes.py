"""What would have changed the answer: the nearest change of history that gives another one, looked for within a bound.

Nearest: one step taken away, one step of another type, one step added at the end, then two steps taken away. Each is
asked exactly; of several as near the one that moves the answer most is told.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from msgspec.structs import replace

from clickflow.online.history import Question, Step
from clickflow.online.why.reading import Asker, Outcomes
from clickflow.online.why.schema import Change, Edit, Effect, Search
from clickflow.online.why.steps import Left, without

MOST = 128
"""Histories that are asked about an answer, those without steps among them."""
CHANGED = 8
"""Of the newest steps another type is tried."""
TYPES = ("view", "cart", "favourite", "remove")
"""That are tried, beside those of the history."""
ADDED_ITEMS = 6
ADDED_TYPES = ("view", "cart")
PAIRED = 6
"""Steps of which two are taken away."""
PAUSE = 30_000_000
"""Microseconds to an added step, where the history has no pauses to take the median of."""

Tried = tuple[tuple[Edit, ...], Question]


def search(
    asker: Asker, effects: Sequence[Effect], left: Sequence[Left], outcomes: Outcomes, most: int = MOST
) -> Search:
    """The nearest change of `asker.question`, within `most` histories; the rest is what `steps.effects` gave."""
    singles = [place for place, (what, _) in enumerate(left) if what == "step"]
    complete = len(singles) == len(asker.question.steps) or len(asker.question.steps) == 1
    if asker.form.sides and np.isnan(asker.threshold):
        return Search(change=None, tried=asker.tried, most=most, complete=complete, why_not="no_threshold")
    removed = [((_edit(asker, "remove", left[place][1][0]),), asker.question) for place in singles]
    change = _nearest(asker, removed, outcomes[singles])
    for tries in (_types, _added, _pairs):
        room = most - asker.tried
        if change is not None or room <= 0:
            break
        tried = list(tries(asker, effects))[:room]
        change = _nearest(asker, tried, asker([question for _, question in tried]))
    why_not = None if change else "not_within"
    return Search(change=change, tried=asker.tried, most=most, complete=complete, why_not=why_not)


def _nearest(asker: Asker, tried: Sequence[Tried], outcomes: Outcomes) -> Change | None:
    places = np.flatnonzero(outcomes.other)
    if not len(places):
        return None
    best = int(places[np.argmax(np.abs(outcomes.value[places] - asker.value))])
    return Change(
        edits=tried[best][0],
        before=asker.says(asker.side),
        after=asker.says(int(outcomes.side[best])),
        value=asker.form.shown(float(outcomes.value[best])),
    )


def _edit(asker: Asker, what: str, place: int, to: str | None = None, step: Step | None = None) -> Edit:
    step = step or asker.question.steps[place]
    return Edit(what=what, step=place, item=step.item, name=asker.name(step.item), action=step.action, to=to)  # type: ignore[arg-type]


def _types(asker: Asker, _: Sequence[Effect]) -> Iterator[Tried]:
    """One of the newest steps of another type, the newest first."""
    question = asker.question
    known = asker.served.action_of
    types = dict.fromkeys((*TYPES, *(step.action for step in question.steps)))
    for place in reversed(range(max(0, len(question.steps) - CHANGED), len(question.steps))):
        step = question.steps[place]
        for to in types:
            if to != step.action and to in known:
                changed = (*question.steps[:place], replace(step, action=to), *question.steps[place + 1 :])
                yield (_edit(asker, "change", place, to),), replace(question, steps=changed)


def _added(asker: Asker, _: Sequence[Effect]) -> Iterator[Tried]:
    """One step more, on an item that is likely to come: what the answer ranks first, what was seen last, what is seen
    most.
    """
    question, items = asker.question, asker.served.items
    seen = [items.index_of[step.item] for step in reversed(question.steps) if step.item in items.index_of]
    likely = asker.likeliest(ADDED_ITEMS) if asker.output.kind == "ranking" else []
    if likely and not asker.holds:
        likely = [asker.target, *likely]
    wanted = dict.fromkeys([*likely, *dict.fromkeys(seen[:ADDED_ITEMS]), *items.popular[:ADDED_ITEMS].tolist()])
    for index in list(wanted)[:ADDED_ITEMS]:
        for action in ADDED_TYPES:
            if action in asker.served.action_of:
                step = _step(asker, index, action)
                edit = _edit(asker, "add", len(question.steps), step=step)
                yield (edit,), replace(question, steps=(*question.steps, step))


def _step(asker: Asker, index: int, action: str) -> Step:
    """A step at the end, a usual pause later but before the time of asking, as the vocabulary knows its item."""
    items, question = asker.served.items, asker.question
    times = [step.time for step in question.steps if step.time is not None]
    pause = int(np.median(np.diff(times))) if len(times) > 1 else PAUSE
    time = times[-1] + max(pause, 0) if times else None
    if time is not None and question.now is not None:
        time = min(time, question.now - 1)
    category, price = items.categories[int(items.category[index])], float(items.price[index])
    return Step(
        item=items.ids[index],
        action=action,
        time=time,
        category=category or None,
        price=None if np.isnan(price) else price,
    )


def _pairs(asker: Asker, effects: Sequence[Effect]) -> Iterator[Tried]:
    """Two of the steps whose removal moves the answer most, and towards the other side first."""
    singles = [each for each in effects if each.what == "step"]
    singles.sort(key=lambda each: -each.effect if asker.holds else each.effect)
    for first, second in combinations([each.steps[0] for each in singles[:PAIRED]], 2):
        if len(asker.question.steps) > 2:
            places = tuple(sorted((first, second)))
            yield tuple(_edit(asker, "remove", place) for place in places), without(asker.question, places)
