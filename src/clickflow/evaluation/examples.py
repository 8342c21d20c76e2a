"""A few real test sessions: the steps, what came next, and what the model and the best baseline predicted."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clickflow.artefact import asking
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import of_split, recent
from clickflow.baselines import RANKING
from clickflow.baselines.history import History
from clickflow.evaluation import vocabularies
from clickflow.evaluation.answers.answering import Answers
from clickflow.evaluation.held_out import HeldOut
from clickflow.evaluation.systems import CANDIDATE
from clickflow.sequences.indexes import FIRST_ITEM

SESSIONS, STEPS, ANSWERS = 6, 6, 5
"""How many sessions, steps of each (the last ones), and suggestions of each system are shown."""


@dataclass(frozen=True)
class Item:
    """An item as a shop knows it."""

    id: str
    name: str
    brand: str
    category: str


@dataclass(frozen=True)
class Example:
    """One question: the steps before it (event type, item), what came, and the first suggestions of each system.

    `ranks`: by system, the rank of what came; 0: the system does not know it.
    """

    steps: tuple[tuple[str, Item], ...]
    came: Item
    answers: dict[str, tuple[Item, ...]]
    ranks: dict[str, int]


def examples(
    test: HeldOut, past: History, artefact: Artefact, answered: Answers, baseline: str, seed: int
) -> list[Example]:
    """Up to `SESSIONS` of them, each of another session, drawn with `seed` and not chosen.

    `answered`: the ranks of all systems. `baseline`: the one shown beside the candidate.
    """
    held_out_questions, at = test.questions, answered.at
    enough = np.flatnonzero(held_out_questions.position[at] >= 1)
    if not len(enough):
        return []
    drawn = np.random.default_rng(seed).permutation(enough)
    _, first = np.unique(held_out_questions.sequence[at][drawn], return_index=True)
    rows = np.sort(drawn[np.sort(first)[:SESSIONS]])
    chosen = at[rows]
    suggested = {
        CANDIDATE: _best(_of_artefact(test, artefact, answered.output.name, chosen)),
        baseline: _best(RANKING[baseline](past)(_recent(test, past, chosen))),
    }
    items = items_of(test.folder)
    shown = []
    for place, (row, question) in enumerate(zip(rows, chosen, strict=True)):
        end = int(held_out_questions.event[question])
        start = max(end - int(held_out_questions.position[question]), end - STEPS + 1)
        seen = tuple(
            (test.card.actions[int(test.split.action[event])], items(int(test.split.item[event])))
            for event in range(start, end + 1)
        )
        answers = {system: tuple(items(int(i)) for i in best[place]) for system, best in suggested.items()}
        shown.append(
            Example(
                seen,
                items(int(answered.target[row])),
                answers,
                {name: int(answered.systems[name][row]) for name in suggested},
            )
        )
    return shown


def _of_artefact(
    test: HeldOut, artefact: Artefact, output: str, chosen: npt.NDArray[np.int64]
) -> npt.NDArray[np.floating]:
    """The artefact's scores [N, known] for some questions."""
    own = of_split(test.split, np.unique(test.questions.sequence), artefact.max_length)
    translation = vocabularies.translation(test.folder, test.card, artefact)
    return asking.answers(artefact, test.split, own, chosen, translation)[output]


def _recent(test: HeldOut, past: History, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The items before each question as a baseline reads them."""
    items = np.where(np.asarray(test.split.item) < past.known, test.split.item, 1)
    return recent(items, test.questions, chosen, int(test.questions.window.max(initial=1)))


def _best(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    """The first `ANSWERS` items of each row, the best first; of equal ones the more frequent."""
    order = np.argsort(-scores[:, FIRST_ITEM:], axis=1, kind="stable")[:, :ANSWERS]
    return order + FIRST_ITEM


def items_of(folder: Path) -> Callable[[int], Item]:
    """From an index of the store to the item."""
    from pyarrow import parquet

    table = parquet.read_table(folder / "vocabulary.parquet")
    names = parquet.read_table(folder / "categories.parquet", columns=["category"]).column("category").to_pylist()
    columns = {name: table.column(name) for name in ("item_id", "name", "brand", "category")}

    def item(index: int) -> Item:
        at = index - FIRST_ITEM
        category = columns["category"][at].as_py() or 0
        named = names[category - 2] if 2 <= category < len(names) + 2 else ""
        item_id, name, brand = (columns[column][at].as_py() or "" for column in ("item_id", "name", "brand"))
        return Item(item_id, name, brand, named)

    return item
