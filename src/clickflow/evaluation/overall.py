"""What a model relies on as a whole: how much worse it answers without each of its inputs (permutation importance), and
which items it takes for alike. For reasons of a single answer see `clickflow.online.why`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from clickflow.artefact import asking
from clickflow.artefact.alone import alone, by_features
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.vectors import vectors
from clickflow.artefact.windows import batch
from clickflow.evaluation import vocabularies
from clickflow.evaluation.answers import KINDS
from clickflow.evaluation.answers.answering import Answers, Values
from clickflow.evaluation.examples import Item, items_of
from clickflow.evaluation.held_out import HeldOut
from clickflow.heads.head import Kind
from clickflow.sequences.indexes import FIRST_ITEM

ROWS, CELLS = 1000, 1 << 24
"""Questions of an output, at most, and numbers of their answers that are held at a time."""
SHOWN = 12
"""Of what is read, what weighs most."""
ITEMS, NEAR = 8, 5
"""The most frequent items, and how many are named beside each."""
SURE = 1.96
"""Standard errors on either side."""
What = Literal["feature", "input"]

LOSSES: Mapping[Kind, str] = {"classes": "log_loss", "probability": "log_loss", "amount": "mae"}
"""By kind of answer, the loss of a row; that of a ranking is the log-loss of the item that came."""


@dataclass(frozen=True)
class Weight:
    """Of one thing that is read: by how much the mean loss rises where its values are those of other questions
    (permutation importance, Breiman 2001; Fisher, Rudin & Dominici 2019), and 1.96 standard errors.
    """

    what: What
    name: str
    rise: float
    error: float


@dataclass(frozen=True)
class Weights:
    """Of one output: the loss as it is, of so many questions, and what weighs most, the heaviest first."""

    loss: str
    value: float
    questions: int
    read: int
    """How many things are read."""
    heaviest: tuple[Weight, ...]


@dataclass(frozen=True)
class Alike:
    """An item and those whose vectors in the network are most like its own, with the cosines."""

    item: Item
    others: tuple[tuple[Item, float], ...]


@dataclass(frozen=True)
class Overall:
    """By output what its answers hang on; and the neighbours of the most frequent items."""

    weights: Mapping[str, Weights]
    alike: Sequence[Alike]


def overall(test: HeldOut, artefact: Artefact, answers: Mapping[str, Answers], seed: int) -> Overall:
    """Of a candidate; nothing of a model of whole series, which reads no questions apart."""
    if artefact.forecasts:
        return Overall({}, ())
    by_output = {
        name: weights
        for name, each in answers.items()
        if each.step is None and (weights := _weights(test, artefact, each, seed)) is not None
    }
    return Overall(by_output, alike(test, artefact))


def _weights(test: HeldOut, artefact: Artefact, answered: Answers, seed: int) -> Weights | None:
    draw = np.random.default_rng(seed)
    kind = answered.output.kind
    if kind != "ranking" and kind not in LOSSES:
        return None
    rows = np.flatnonzero(answered.known)
    most = min(ROWS, max(CELLS // artefact.known, 1)) if kind == "ranking" else ROWS
    rows = np.sort(draw.permutation(rows)[:most])
    if len(rows) < 2:
        return None
    output = answered.output.name
    artefact = alone(artefact, output)
    questions = _Inputs(test, artefact, answered.at[rows])
    target, as_they_are = answered.target[rows], None
    if artefact.inputs and artefact.features:
        steps = artefact.feed(questions.inputs, questions.row, questions.column, features=questions.features)
        as_they_are = by_features(artefact, output, steps)

    def loss(given: Mapping[str, Any], features: Any) -> Values:
        if as_they_are is not None and given is questions.inputs:
            said = as_they_are(features)
        else:
            said = artefact.scores(given, questions.row, questions.column, features=features)[output]
        if kind == "ranking":
            return -said[np.arange(len(target)), target].astype(np.float64)
        return KINDS[kind].values(LOSSES[kind], said, target)

    usual = loss(questions.inputs, questions.features)
    losses = []
    for what, name, given, features in questions.shuffled(draw):
        rise = loss(given, features) - usual
        error = SURE * float(rise.std(ddof=1)) / np.sqrt(len(rise))
        losses.append(Weight(what, name, float(rise.mean()), float(error)))
    if not losses:
        return None
    heaviest = sorted(losses, key=lambda each: (-each.rise, each.name))[:SHOWN]
    name = "log_loss" if kind == "ranking" else LOSSES[kind]
    return Weights(name, float(usual.mean()), len(rows), len(losses), tuple(heaviest))


class _Inputs:
    """What an artefact reads of some questions, and the same with one thing of other questions."""

    def __init__(self, test: HeldOut, artefact: Artefact, chosen: npt.NDArray[np.int64]) -> None:
        translation = vocabularies.translation(test.folder, test.card, artefact)
        self.names, self.inputs = artefact.features, dict[str, npt.NDArray[Any]]()
        self.row: Any = None
        self.column: Any = None
        self.features: Any = None
        if artefact.inputs:
            self.inputs, self.row, self.column = batch(test.split, test.questions, chosen, artefact.inputs, translation)
            length = np.zeros(len(next(iter(self.inputs.values()))), np.int64)
            length[self.row] = test.questions.window[chosen]
            self.inside = np.arange(next(iter(self.inputs.values())).shape[1]) < length[:, None]
        if artefact.features:
            assert translation.store is not None
            self.features = asking.hand_made(
                artefact.unit, artefact.features, test.split, test.questions, chosen, translation.store
            )

    def shuffled(self, draw: np.random.Generator) -> Any:
        """For each thing that is read: what it is, its name, and inputs and features with the values of its steps, or
        questions, in another order.
        """
        for name in self.inputs:
            column = self.inputs[name].copy()
            column[self.inside] = draw.permutation(column[self.inside])
            yield "input", name, {**self.inputs, name: column}, self.features
        for place, name in enumerate(self.names):
            table = self.features.copy()
            table[:, place] = draw.permutation(table[:, place])
            yield "feature", name, self.inputs, table


def alike(test: HeldOut, artefact: Artefact) -> list[Alike]:
    """The items that training met most, each with those most like it; none of a model without vectors of items."""
    table = vectors(artefact)
    if table is None:
        return []
    items = items_of(test.folder)
    neighbours = []
    for index in range(FIRST_ITEM, min(FIRST_ITEM + ITEMS, artefact.known)):  # the most frequent come first
        near = table @ table[index]
        near[[*range(FIRST_ITEM), index]] = -np.inf
        best = np.argsort(-near, kind="stable")[:NEAR]
        others = tuple((items(int(other)), float(near[other])) for other in best if np.isfinite(near[other]))
        neighbours.append(Alike(items(index), others))
    return neighbours
