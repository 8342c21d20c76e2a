"""`clickflow score`: what the champion expects next, for the latest test sequences, for a visit, or for a customer."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.artefact import asking
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import of_split
from clickflow.evaluation import customers, groups, vocabularies
from clickflow.heads import outputs
from clickflow.heads.head import SIZES
from clickflow.params.schema import Params
from clickflow.registry import champion
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import Card, PackedSplit, open_split, read_card
from clickflow.sequences.units import UNITS
from clickflow.serving import visits
from clickflow.serving.forms import UNNAMED, Likeliest, form
from clickflow.serving.identities import Kind
from clickflow.system import console, integrity
from clickflow.system.errors import DataError
from clickflow.system.moments import iso
from clickflow.system.paths import Paths

SHOWN_STEPS = 12
"""How many of a sequence's last steps stand in the table; JSON has all."""
LEAST = 0.0005
"""The least probability of a class that stands there."""
NAME_SHOWN = 40
"""How many letters of an item's name stand there."""


@dataclass(frozen=True)
class Step:
    """One step of a sequence; `known` says whether the champion knows the item."""

    action: str
    item: str
    known: bool


@dataclass(frozen=True)
class Answer:
    """What is expected after the last step, the likeliest first.

    `session` and `user` are pseudonyms, `user` None of a guest, `session` of a unit that has none; `last_event` is
    ISO 8601 in UTC.
    """

    session: str | None
    user: str | None
    last_event: str
    steps: tuple[Step, ...]
    answers: Mapping[str, Likeliest]
    """By head, what may come, with its probability."""


def run(
    params: Params,
    paths: Paths,
    model: str,
    *,
    limit: int,
    session: str | None = None,
    user: str | None = None,
    as_json: bool,
) -> None:
    """Score with the champion of `model`, and print what it expects: after the latest `limit` test sequences, after
    `session`, or after the latest visit of `user` (each a pseudonym or a raw id).

    Raises UsageError where there is no champion, no data or no such visit, DataError where any is not what it was
    recorded as.
    """
    spec = params.model(model)
    store = paths.sequences(spec.unit)
    integrity.verify(store, home=paths.home)
    version, artefact = champion.loaded(params, paths, model)
    wanted: dict[Kind, str | None] = {"session": session, "user": user}
    answers, note = [], ""
    for kind, name in wanted.items():
        if name is not None:
            visit = visits.find(params, paths, store, kind, name)
            answers, note = _answers(artefact, store, visit.part, np.array([visit.index])), f" after {visit}"
    if not answers:
        answers = score(artefact, store, limit)
    about = _about(store, {item for answer in answers for item in _items(answer)})
    console.emit(
        {
            "model": model,
            "champion": version,
            f"{spec.unit.removesuffix('s')}s": [_as_json(answer, about) for answer in answers],
        },
        as_json=as_json,
        text=lambda: _table(
            f"{model}, version {version}: what comes next{note}", answers, about, customers.called(spec.unit)
        ),
    )


def score(artefact: Artefact, store: Path, limit: int) -> list[Answer]:
    """Answers for the latest `limit` test sequences of the packed store, or for the customers of now, the latest last.

    Store and artefact may come from different trainings: items, categories and actions are matched by their names.
    """
    part = read_card(store).scored_parts[-1]
    split = open_split(store, part)
    if not split.n_sequences:
        raise DataError(f"the {part} part of {store} is empty", next_step="raise sequences.test_share, or ingest more")
    return _answers(artefact, store, part, _latest(split, limit))


def _answers(artefact: Artefact, store: Path, part: str, chosen: Any) -> list[Answer]:
    """Answers for sequences (indexes) of a part of the store, in the order of `chosen`."""
    card, split = read_card(store), open_split(store, part)
    positions = of_split(split, chosen, artefact.max_length)
    last = np.flatnonzero(positions.position == positions.length - 1)
    translation = vocabularies.translation(store, card, artefact)
    own_groups = groups.Own.by(artefact)
    scores = own_groups.added(asking.answers(artefact, split, positions, last, translation))
    names, sessions = _names(store), visits.sequences(store, part)
    whose = UNITS[card.unit].owner if card.unit in UNITS else "user_id"
    heads = [output for output in outputs.of(scores) if not output.ahead]
    own = artefact.item_ids()
    named = {o.name: own_groups.names if o.by else artefact.heads[o.name].classes or own for o in heads}
    answers = []
    for row, question in enumerate(last):
        sequence = int(positions.sequence[question])
        steps = slice(int(split.begin[sequence]), int(split.end[sequence]))
        answers.append(
            Answer(
                session=sessions["session_id"][sequence].as_py() if "session_id" in sessions.column_names else None,
                user=sessions[whose][sequence].as_py(),
                last_event=iso(int(split.time[steps.stop - 1])),
                steps=tuple(
                    Step(_did(card, split, step), names[item], bool(translation.item[item] >= FIRST_ITEM))
                    for step, item in zip(range(steps.start, steps.stop), split.item[steps], strict=True)
                ),
                answers={o.name: form(o).likeliest(scores[o.name][row], named[o.name]) for o in heads},
            )
        )
    return answers


def _did(card: Card, split: PackedSplit, step: int) -> str:
    """What a step was: the type of event; of a step that sums events how many units."""
    if card.summed is None:
        return str(card.actions[split.action[step]])
    return f"{float(split.quantity[step]):g} of"


def _latest(split: PackedSplit, limit: int) -> Any:
    """The sequences whose last step is the latest, in the order of that step."""
    ends = np.asarray(split.time)[split.end - 1]
    return np.argsort(ends, kind="stable")[-limit:]


def _names(store: Path) -> list[str]:
    """The item of every index of the store."""
    from pyarrow import parquet

    items = parquet.read_table(store / "vocabulary.parquet", columns=["item_id"]).column("item_id").to_pylist()
    return ["", "?", *items]


def _items(answer: Answer) -> Sequence[str]:
    ranked = [items for head, items in answer.answers.items() if form(outputs.named(head)).items]
    return [*(step.item for step in answer.steps), *(item for items in ranked for item, _ in items)]


def _about(store: Path, items: set[str]) -> dict[str, dict[str, str | None]]:
    """Name, brand and category of items, where the log has them."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import parquet

    table = parquet.read_table(store / "vocabulary.parquet", columns=["item_id", "name", "brand", "category"])
    paths = parquet.read_table(store / "categories.parquet", columns=["category"])["category"].to_pylist()
    named = ["", "", *paths]
    rows = table.filter(pc.is_in(table["item_id"], pa.array(sorted(items), pa.string()))).to_pylist()
    return {row.pop("item_id"): row | {"category": named[row["category"]] or None} for row in rows}


def _as_json(answer: Answer, about: Mapping[str, Mapping[str, str | None]]) -> dict[str, Any]:
    return {
        "session": answer.session,
        "user": answer.user,
        "last_event": answer.last_event,
        "steps": [{**asdict(step), **about.get(step.item, UNNAMED)} for step in answer.steps],
        **{
            outputs.named(head).answer: form(outputs.named(head)).as_json(answers, about)
            for head, answers in answer.answers.items()
        },
    }


def _table(title: str, answers: list[Answer], about: Mapping[str, Mapping[str, str | None]], whose: str) -> Any:
    from rich.markup import escape
    from rich.table import Table

    def named(item: str) -> str:
        """With name, brand and the last name of its category's path: short enough for a table."""
        facts = about.get(item, {})
        name = facts.get("name") or ""
        name = name if len(name) <= NAME_SHOWN else f"{name[: NAME_SHOWN - 1]}…"
        words = [name, facts.get("brand"), (facts.get("category") or "").rpartition(".")[2]]
        return " ".join([item, *(word for word in words if word)])

    table = Table(title=title, title_justify="left", show_lines=True)
    heads = outputs.of(name for answer in answers for name in answer.answers)
    for heading in (
        "session" if any(answer.session for answer in answers) else whose,
        "its steps",
        *(output.title.lower() for output in heads),
    ):
        table.add_column(heading, overflow="fold")
    for answer in answers:
        steps = [
            f"{step.action} {named(step.item)}{'' if step.known else ' (new)'}" for step in answer.steps[-SHOWN_STEPS:]
        ]
        earlier = [f"… {len(answer.steps) - SHOWN_STEPS} earlier"] if len(answer.steps) > SHOWN_STEPS else []
        cells = (
            [
                *([answer.session] if answer.session else []),
                *([f"{'of ' if answer.session else ''}{answer.user}"] if answer.user else []),
                f"{answer.last_event[:16]}Z".replace("T", " "),
            ],
            [*earlier, *steps],
            *(
                [f"{p:6.1%} {named(name)}" for name, p in answer.answers[output.name]]
                if form(output).items
                else [
                    f"{form(output).number.format(p)} {name}"
                    for name, p in form(output).brief(answer.answers[output.name])
                    if p >= LEAST or output.kind in SIZES
                ]
                for output in heads
            ),
        )
        table.add_row(*(escape("\n".join(lines)) for lines in cells))
    return table
