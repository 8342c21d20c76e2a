"""How each kind of answer is served: printed for one question, and as columns for many."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.heads.head import LEVELS, Kind
from clickflow.heads.outputs import Output
from clickflow.sequences.indexes import FIRST_ITEM

AMOUNTS = ("expected", *(f"quantile_{100 * level:g}" for level in LEVELS))
"""What is answered of an amount, by name."""
TOP = 5
"""How many next items are shown."""
UNNAMED = {"name": None, "brand": None, "category": None}
"""What is known of an item of which nothing is."""

Likeliest = tuple[tuple[str, float], ...]
"""Names with their probability, the likeliest first."""
About = Mapping[str, Mapping[str, str | None]]
"""Name, brand and category of items."""
Kept = tuple[npt.NDArray[Any], ...]
"""What is kept of the answers to many questions, arrays with a row each."""


@dataclass(frozen=True)
class Form:
    """One kind's."""

    items: bool
    """Whether the answers are items."""
    likeliest: Callable[[Any, Sequence[str]], Likeliest]
    """From the log-probabilities of one question, and the names of all answers, to the likeliest ones."""
    as_json: Callable[[Iterable[tuple[str, float]], About], Any]
    """These in JSON."""
    columns: Callable[[Sequence[str]], list[tuple[str, Any]]]
    """Names and types of the columns, by the names of the classes."""
    empty: Callable[[int, int], Kept]
    """Room for so many questions, and so many answers to each."""
    kept: Callable[[npt.NDArray[np.float32], int], Kept]
    """What is kept of the log-probabilities of a block; of a ranking the best so many."""
    rows: Callable[[list[Any], Kept, Any], list[Any]]
    """The columns: of who was asked, and of what was kept; the last is the Arrow array of all items."""
    number: str = "{:6.1%}"
    """How a number is printed."""
    brief: Callable[[Likeliest], Likeliest] = lambda answers: answers
    """What of `likeliest` is printed; JSON has all."""


def _ranked_columns(_: Sequence[str]) -> list[tuple[str, Any]]:
    import pyarrow as pa

    return [("rank", pa.int16()), ("item_id", pa.string()), ("probability", pa.float32())]


def _ranked_rows(who: list[Any], kept: Kept, items: Any) -> list[Any]:
    import pyarrow as pa

    best, probability = kept
    n, top = best.shape
    again = pa.array(np.repeat(np.arange(n), top))
    return [
        *(column.take(again) for column in who),
        pa.array(np.tile(np.arange(1, top + 1, dtype=np.int16), n)),
        items.take(pa.array(best.ravel())),
        pa.array(probability.ravel()),
    ]


def _ranked(logs: npt.NDArray[np.float32], top: int) -> Kept:
    best, values = highest(logs, top)
    return best, np.exp(values)


def highest(logs: npt.NDArray[np.float32], top: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """The `top` likeliest items of each row [N, known], the likeliest first: (indexes, logs), each [N, top].

    Equal ones come by index, so that the answer is the same whatever finds it.
    """
    best = np.argpartition(logs[:, FIRST_ITEM:], -top, axis=1)[:, -top:] + FIRST_ITEM
    least = np.take_along_axis(logs, best, axis=1).min(axis=1, keepdims=True)
    # where more are as good as the last one, which of them argpartition took is its own affair
    for row in np.flatnonzero(np.count_nonzero(logs[:, FIRST_ITEM:] >= least, axis=1) > top):
        best[row] = np.argsort(-logs[row, FIRST_ITEM:], kind="stable")[:top] + FIRST_ITEM
    best.sort(axis=1)
    values = np.take_along_axis(logs, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1).astype(np.int32), np.take_along_axis(values, order, axis=1)


def _list(answers: Iterable[tuple[str, float]], about: About) -> Any:
    return [{"item": item, "probability": round(p, 6), **about.get(item, UNNAMED)} for item, p in answers]


def _class_columns(names: Sequence[str]) -> list[tuple[str, Any]]:
    import pyarrow as pa

    return [(name, pa.float32()) for name in names]


def _probability_columns(_: Sequence[str]) -> list[tuple[str, Any]]:
    import pyarrow as pa

    return [("probability", pa.float32())]


def _amount_columns(_: Sequence[str]) -> list[tuple[str, Any]]:
    import pyarrow as pa

    return [(name, pa.float32()) for name in AMOUNTS]


def _forecast_columns(_: Sequence[str]) -> list[tuple[str, Any]]:
    import pyarrow as pa

    return [("step", pa.int16()), *((name, pa.float32()) for name in AMOUNTS)]


def _forecast_rows(who: list[Any], kept: Kept, _: Any) -> list[Any]:
    """A row a step ahead."""
    import pyarrow as pa

    n, size = kept[0].shape
    steps = size // len(AMOUNTS)
    again, numbers = pa.array(np.repeat(np.arange(n), steps)), kept[0].reshape(-1, len(AMOUNTS))
    ahead = pa.array(np.tile(np.arange(1, steps + 1, dtype=np.int16), n))
    return [*(column.take(again) for column in who), ahead, *(pa.array(column) for column in numbers.T)]


def _steps(values: Any, _: Sequence[str]) -> Likeliest:
    """Each number of each step ahead, called part@step."""
    return tuple(
        (f"{name}@{step}", float(value))
        for step, row in enumerate(np.reshape(values, (-1, len(AMOUNTS))), 1)
        for name, value in zip(AMOUNTS, row, strict=True)
    )


def _by_step(answers: Iterable[tuple[str, float]], _: About) -> Any:
    """A mapping of its numbers for each step ahead."""
    steps: list[dict[str, float]] = []
    for called, value in answers:
        name, step = called.split("@")
        if int(step) > len(steps):
            steps.append({"step": int(step)})
        steps[-1][name] = round(value, 4)
    return steps


def _in_brief(answers: Likeliest) -> Likeliest:
    """What is expected of all steps together, and the numbers of the first."""
    expected = [value for name, value in answers if name.startswith(AMOUNTS[0])]
    return ((f"in {len(expected)} steps", sum(expected)), *answers[: len(AMOUNTS)])


def _class_rows(who: list[Any], kept: Kept, _: Any) -> list[Any]:
    import pyarrow as pa

    return [*who, *(pa.array(column) for column in kept[0].T)]


def _likeliest(logs: Any, names: Sequence[str], first: int, top: int) -> Likeliest:
    """The `top` likeliest from index `first` on, with their probability; ties by index."""
    order = np.argsort(-logs[first:], kind="stable")[:top] + first
    return tuple((names[index], float(np.exp(logs[index]))) for index in order)


FORMS: Mapping[Kind, Form] = {
    "ranking": Form(
        items=True,
        likeliest=lambda logs, names: _likeliest(logs, names, FIRST_ITEM, TOP),
        as_json=_list,
        columns=_ranked_columns,
        empty=lambda n, top: (np.zeros((n, top), np.int32), np.zeros((n, top), np.float32)),
        kept=_ranked,
        rows=_ranked_rows,
    ),
    "classes": Form(
        items=False,
        likeliest=lambda logs, names: _likeliest(logs, names, 0, len(names)),
        as_json=lambda answers, _: {name: round(p, 6) for name, p in answers},
        columns=_class_columns,
        empty=lambda n, classes: (np.zeros((n, classes), np.float32),),
        kept=lambda logs, _: (np.exp(logs),),
        rows=_class_rows,
    ),
    "probability": Form(
        items=False,
        likeliest=lambda logs, names: ((names[1], float(np.exp(logs[1]))),),
        as_json=lambda answers, _: round(next(iter(answers))[1], 6),
        columns=_probability_columns,
        empty=lambda n, _: (np.zeros((n, 1), np.float32),),
        kept=lambda logs, _: (np.exp(logs[:, 1:]),),
        rows=_class_rows,
    ),
    "amount": Form(
        items=False,
        likeliest=lambda values, _: tuple(zip(AMOUNTS, values.tolist(), strict=True)),
        as_json=lambda answers, _: {name: round(value, 4) for name, value in answers},
        columns=_amount_columns,
        empty=lambda n, _: (np.zeros((n, len(AMOUNTS)), np.float32),),
        kept=lambda values, _: (values,),
        rows=_class_rows,
        number="{:,.2f}",
    ),
    "forecast": Form(
        items=False,
        likeliest=_steps,
        as_json=_by_step,
        columns=_forecast_columns,
        empty=lambda n, size: (np.zeros((n, size), np.float32),),
        kept=lambda values, _: (values,),
        rows=_forecast_rows,
        number="{:,.2f}",
        brief=_in_brief,
    ),
}
"""By kind of answer."""


def _grouped_columns(by: str) -> list[tuple[str, Any]]:
    rank, _, probability = _ranked_columns(())
    import pyarrow as pa

    return [rank, (by, pa.string()), probability]


def form(output: Output) -> Form:
    """That of an output: of its kind, or of a ranking of groups of items, by the name of these."""
    own = FORMS[output.kind]
    if not output.by:
        return own
    return replace(
        own,
        items=False,
        as_json=lambda answers, _: [{output.by: name, "probability": round(p, 6)} for name, p in answers],
        columns=lambda _: _grouped_columns(output.by),
    )
