"""Which steps mattered: the answer is asked again without each of them, in one batch.

Exact, for the model's answer to a history is a function of it: the history without a step is made anew by the code of
training (the gap across it, the time since the first step, hand-made features), not masked. What a step that is left
out cannot show is what another step like it says too: so all steps of an item, and of a type, are left out as well.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from msgspec.structs import replace

from clickflow.online.history import Question, Step
from clickflow.online.why.reading import Asker, Outcomes
from clickflow.online.why.schema import Effect, What

NEWEST = 60
"""Steps that are left out one by one, the newest; what is older is left out together."""
COVERING = 1.5
"""Steps cover each other where all of them change so many times more than each alone adds up to."""

Left = tuple[What, tuple[int, ...]]
"""What is left out, and where it stands."""


def left_out(steps: Sequence[Step]) -> Iterator[Left]:
    """What is left out of a history, one after the other; never all of it."""
    older = max(0, len(steps) - NEWEST)
    newest = range(older, len(steps))
    whole = len(steps)
    if whole > 1:
        yield from (("step", (place,)) for place in newest)
    kinds: tuple[tuple[What, str], ...] = (("item", "item"), ("action", "action"))
    for what, name in kinds:
        places: dict[str, list[int]] = {}
        for place, step in enumerate(steps):
            places.setdefault(getattr(step, name), []).append(place)
        yield from ((what, tuple(own)) for own in places.values() if 1 < len(own) < whole and own[-1] >= older)
    if older > 1:
        yield "earlier", tuple(range(older))
    elif older:
        yield "step", (0,)


def without(question: Question, places: Sequence[int]) -> Question:
    """The history without these steps, asked as of the same moment where that is given."""
    gone = set(places)
    return replace(question, steps=tuple(step for place, step in enumerate(question.steps) if place not in gone))


def effects(asker: Asker, left: Sequence[Left], outcomes: Outcomes) -> list[Effect]:
    """Effects of all that is `left` out of `asker.question`, largest first, by the answers to what remains."""
    question = asker.question
    difference = asker.value - outcomes.value
    alone = {
        places[0]: abs(own) for (what, places), own in zip(left, difference.tolist(), strict=True) if what == "step"
    }
    effects = []
    for (what, places), effect, value in zip(left, difference.tolist(), outcomes.value.tolist(), strict=True):
        if np.isnan(effect):
            continue
        step = question.steps[places[0]]
        item = step.item if what in ("step", "item") else None
        together = sum(alone.get(place, 0.0) for place in places)
        effects.append(
            Effect(
                what=what,
                steps=places,
                item=item,
                name=asker.name(item),
                action=step.action if what in ("step", "action") else None,
                effect=0.0 if abs(effect) < asker.least else effect,
                without=asker.form.shown(value),
                covering=what in ("item", "action")
                and len(places) <= len(question.steps) / 2
                and abs(effect) > COVERING * together + asker.least,
            )
        )
    return sorted(effects, key=lambda each: (-abs(each.effect), each.steps))
