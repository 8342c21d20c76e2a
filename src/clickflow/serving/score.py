"""`clickflow score`: what the champion expects next, for the latest test sequences."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickflow import console
from clickflow.errors import DataError
from clickflow.evaluation import vocabularies
from clickflow.models.artefact import Artefact
from clickflow.models.windows import batch, questions
from clickflow.params import Params
from clickflow.paths import Paths
from clickflow.registry import champion
from clickflow.sequences.store import FIRST_ITEM, PackedSplit, open_split, read_card

TOP = 5
"""How many next items are told."""
SHOWN_STEPS = 12
"""How many of a sequence's last steps stand in the table; JSON has all."""


@dataclass(frozen=True)
class Step:
    """One step of a sequence; `known` says whether the champion knows the item."""

    action: str
    item: str
    known: bool


@dataclass(frozen=True)
class Answer:
    """What is expected after the last step: items and actions with their probability, the likeliest first."""

    session: str
    steps: tuple[Step, ...]
    next_items: tuple[tuple[str, float], ...]
    next_actions: tuple[tuple[str, float], ...]


def run(params: Params, paths: Paths, model: str, *, limit: int, as_json: bool) -> None:
    """Score the latest `limit` test sequences with the champion of `model` and print what it expects.

    Raises UsageError where there is no champion or no data, DataError where either is not what it was recorded as.
    """
    spec = params.model(model)
    version, artefact = champion.loaded(params, paths, model)
    answers = score(artefact, paths.sequences(spec.unit), limit)
    console.emit(
        {"model": model, "champion": version, "sessions": [_as_json(answer) for answer in answers]},
        as_json=as_json,
        text=lambda: _table(model, version, answers),
    )


def score(artefact: Artefact, store: Path, limit: int) -> list[Answer]:
    """Answers for the latest `limit` test sequences of the packed store, the latest last.

    Store and artefact may come from different trainings: items, categories and actions are matched by their names.
    """
    card = read_card(store)
    split = open_split(store, "test")
    if not split.n_sequences:
        raise DataError(f"the test part of {store} is empty", next_step="raise sequences.test_share, or ingest more")
    chosen = _latest(split, limit)
    asked = questions(split.offsets, chosen, artefact.max_length)
    last = np.flatnonzero(asked.position == asked.length - 1)
    translation = vocabularies.translation(store, card, artefact)
    inputs, rows, columns = batch(split, asked, last, artefact.inputs, translation)
    found = artefact.scores(inputs, rows, columns)
    names, sessions = _names(store), _sessions(store)
    own = artefact.item_ids()
    actions = [*artefact.card["actions"], "exit"]
    answers = []
    for row, question in enumerate(last):
        sequence = int(asked.sequence[question])
        steps = slice(int(split.offsets[sequence]), int(split.offsets[sequence + 1]))
        answers.append(
            Answer(
                session=sessions[sequence],
                steps=tuple(
                    Step(card.actions[action], names[item], bool(translation.item[item] >= FIRST_ITEM))
                    for action, item in zip(split.action[steps], split.item[steps], strict=True)
                ),
                next_items=_best(found["next_item"][row], own, FIRST_ITEM, TOP) if "next_item" in found else (),
                next_actions=_best(found["next_action"][row], actions, 0, len(actions))
                if "next_action" in found
                else (),
            )
        )
    return answers


def _latest(split: PackedSplit, limit: int) -> Any:
    """The sequences whose last step is the latest, in the order of that step."""
    ends = np.asarray(split.time)[split.offsets[1:] - 1]
    return np.argsort(ends, kind="stable")[-limit:]


def _best(logs: Any, names: list[str], first: int, top: int) -> tuple[tuple[str, float], ...]:
    """The `top` likeliest from index `first` on, with their probability; ties by index."""
    order = np.argsort(-logs[first:], kind="stable")[:top] + first
    return tuple((names[index], float(np.exp(logs[index]))) for index in order)


def _names(store: Path) -> list[str]:
    """The item of every index of the store."""
    from pyarrow import parquet

    items = parquet.read_table(store / "vocabulary.parquet", columns=["item_id"]).column("item_id").to_pylist()
    return ["", "?", *items]


def _sessions(store: Path) -> list[str]:
    from pyarrow import parquet

    table = parquet.read_table(store / "test" / "sequences.parquet", columns=["session_id"])
    sessions: list[str] = table.column("session_id").to_pylist()
    return sessions


def _as_json(answer: Answer) -> dict[str, Any]:
    return {
        "session": answer.session,
        "steps": [asdict(step) for step in answer.steps],
        "next_items": [{"item": item, "probability": round(p, 6)} for item, p in answer.next_items],
        "next_actions": {action: round(p, 6) for action, p in answer.next_actions},
    }


def _table(model: str, version: int, answers: list[Answer]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{model}, version {version}: what comes next", title_justify="left", show_lines=True)
    for heading in ("session", "its steps", "next item", "next action"):
        table.add_column(heading, overflow="fold")
    for answer in answers:
        steps = [f"{step.action} {step.item}{'' if step.known else ' (new)'}" for step in answer.steps[-SHOWN_STEPS:]]
        earlier = [f"… {len(answer.steps) - SHOWN_STEPS} earlier"] if len(answer.steps) > SHOWN_STEPS else []
        cells = (
            [answer.session],
            [*earlier, *steps],
            [f"{p:6.1%} {item}" for item, p in answer.next_items],
            [f"{p:6.1%} {action}" for action, p in answer.next_actions if p >= 0.0005],
        )
        table.add_row(*(escape("\n".join(lines)) for lines in cells))
    return table
