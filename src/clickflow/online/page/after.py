"""What a version answers after each step of a history: all of it at once, for the page's charts and lists."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.heads.outputs import Output
from clickflow.online.history import Question, Step
from clickflow.online.ranking import Rules, recommend
from clickflow.online.served import Served
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.serving.forms import highest

STEPS = 120
"""Of a long history, after so many of the last steps."""
CELLS = 1 << 23
"""Numbers of a block of answers."""

Floats = npt.NDArray[np.float32]


def after_each(
    served: Served,
    steps: Sequence[Step],
    *,
    now: int | None = None,
    k: int = 10,
    exclude_seen: bool = False,
    watch: Sequence[str] = (),
) -> dict[str, Any]:
    """Answers after the last `STEPS` steps, right after each of them; that after the last as of `now`.

    `first`: the place of the first step with an answer, `count`: how many have one; of an empty history there is one.
    `outputs`: by name what its kind says (`KINDS`). `items`: what is known of every item that is named. `watch`: items
    whose probability is wanted.
    """
    count = min(len(steps), STEPS)
    first = len(steps) - count
    ends = [first + place + 1 for place in range(count)]
    questions = [Question(tuple(steps[:end]), now if end == len(steps) else None) for end in ends]
    answers_of: dict[str, list[dict[str, Any]]] = {output.name: [] for output in served.outputs}
    for begin, block in _blocks(served, questions):
        answers = served.answers(block)
        for output in served.outputs:
            own = [ends[begin + place] for place in range(len(block))]
            answer = KINDS[output.kind](served, output, answers[output.name], steps, own, k, exclude_seen, watch)
            answers_of[output.name].append(answer)
    joined = {name: _joined(parts) for name, parts in answers_of.items() if parts}
    if not steps:
        joined = {output.name: _before(served, output, k, watch) for output in served.outputs}
    return {
        "model": served.model,
        "version": served.version,
        "first": first,
        "count": count or 1,
        "outputs": joined,
        "items": {item: about(served, item) for item in _named(joined)},
    }


def about(served: Served, item: str) -> dict[str, Any]:
    """Name, brand, category and price of an item, None each where it is not known."""
    index = served.items.index_of.get(item)
    if index is None:
        return {"name": None, "brand": None, "category": None, "price": None}
    price = float(served.items.price[index])
    return {**served.items.about(index), "price": None if np.isnan(price) else round(price, 4)}


def _blocks(served: Served, questions: Sequence[Question]) -> Iterator[tuple[int, Sequence[Question]]]:
    widest = max(served.width(output) for output in served.outputs)
    size = max(1, CELLS // max(widest, 1))
    for begin in range(0, len(questions), size):
        yield begin, questions[begin : begin + size]


def _numbers(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]


def _classes(served: Served, output: Output, logs: Floats, *_: Any) -> dict[str, Any]:
    return {"names": list(served.artefact.heads[output.name].classes), "values": [_row(np.exp(row)) for row in logs]}


def _row(values: Floats) -> list[float | None] | None:
    return None if np.isnan(values).any() else _numbers(values)


def _ranking(
    served: Served,
    output: Output,
    logs: Floats,
    steps: Sequence[Step],
    ends: Sequence[int],
    k: int,
    exclude_seen: bool,
    watch: Sequence[str],
) -> dict[str, Any]:
    """`top`: the best items with their probability; `fallback`: why they are not of the history; `rank`: at which
    place the item of the step that followed stood; `watched`: the probability of some items.
    """
    ids, index_of = served.items.ids, served.items.index_of
    top, fallback, rank = [], [], []
    for row, end in zip(logs, ends, strict=True):
        read = [index_of[step.item] for step in steps[:end] if step.item in index_of]
        if np.isnan(row).any() or not read:
            question = Question(tuple(steps[:end]))
            instead = recommend(served, question, Rules(k=k, output=output.name, exclude_seen=exclude_seen))
            top.append(list(zip(instead.items, (round(score, 6) for score in instead.scores), strict=True)))
            fallback.append(instead.fallback)
        else:
            own = row.copy()
            if exclude_seen:
                own[read] = -np.inf
            best, values = highest(own[None], min(k, len(own) - FIRST_ITEM))
            pairs = zip(best[0].tolist(), np.exp(values[0]).tolist(), strict=True)
            top.append([(ids[index], round(p, 6)) for index, p in pairs])
            fallback.append(None)
        following = index_of.get(steps[end].item) if end < len(steps) else None
        there = following is not None and not np.isnan(row).any()
        rank.append(1 + int((row[FIRST_ITEM:] > row[following]).sum()) if there else None)
    watched = {
        item: _numbers(np.exp(logs[:, index_of[item]])) if item in index_of else [None] * len(ends) for item in watch
    }
    return {"top": top, "fallback": fallback, "rank": rank, "watched": watched}


KINDS: dict[str, Any] = {
    "ranking": _ranking,
    "classes": _classes,
    "probability": lambda _, __, logs, *___: {"values": _numbers(np.exp(logs[:, 1]))},
    "amount": lambda _, __, values, *___: {"values": [_row(row) for row in values]},
    "forecast": lambda _, __, values, *___: {
        "values": [None if np.isnan(row).any() else np.round(row.reshape(-1, 4), 4).tolist() for row in values]
    },
}
"""By kind of answer, from its numbers [N, A] to JSON with an entry a step."""


def _joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Blocks one after the other."""
    whole = dict(parts[0])
    for part in parts[1:]:
        for name, value in part.items():
            if name == "watched":
                whole[name] = {item: whole[name][item] + value[item] for item in value}
            elif name != "names":
                whole[name] = whole[name] + value
    return whole


def _before(served: Served, output: Output, k: int, watch: Sequence[str]) -> dict[str, Any]:
    """Of an empty history, which nothing but a ranking has an answer to."""
    if output.kind != "ranking":
        named = {"names": list(served.artefact.heads[output.name].classes)} if output.kind == "classes" else {}
        return {**named, "values": [None]}
    instead = recommend(served, Question(), Rules(k=k, output=output.name))
    pairs = zip(instead.items, (round(score, 6) for score in instead.scores), strict=True)
    return {
        "top": [list(pairs)],
        "fallback": [instead.fallback],
        "rank": [None],
        "watched": {item: [None] for item in watch},
    }


def _named(outputs: dict[str, Any]) -> list[str]:
    return sorted({item for own in outputs.values() for best in own.get("top", ()) for item, _ in best})
