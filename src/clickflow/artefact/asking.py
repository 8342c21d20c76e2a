"""Inference with an artefact on a packed split: the inputs that its card names are gathered, and the model is run.

Everything that asks a model (evaluation, the checks of the export, serving, monitoring) goes through `answers`, so that
nobody else knows what a model reads.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow import features
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import Ints, Questions, Translation, batch
from clickflow.features import Spans
from clickflow.heads.head import Store
from clickflow.system.errors import DataError


def answers(
    artefact: Artefact, split: Any, questions: Questions, chosen: Ints, translation: Translation
) -> dict[str, npt.NDArray[np.float32]]:
    """By output the answers [N, A] of `artefact` to N of the questions about a split, indexes `chosen` of `questions`.

    `translation`: from the store of the split to the vocabulary of the artefact (`vocabularies.translation`). Raises
    DataError where the split has not what the artefact reads, or this clickflow does not know a feature that it reads.
    """
    if artefact.forecasts:
        step = getattr(translation.store, "own_settings", {}).get("step")
        forecasts: dict[str, npt.NDArray[np.float32]] = artefact.session.answers(
            split, questions.sequence[chosen], artefact.outputs, step=step, categories=translation.category
        )
        return forecasts
    read = feed(artefact, split, questions, chosen, translation)
    return dict(zip(artefact.outputs, artefact.session.run(list(artefact.outputs), read), strict=True))


def feed(
    artefact: Artefact, split: Any, questions: Questions, chosen: Ints, translation: Translation
) -> dict[str, npt.NDArray[Any]]:
    """What the session of an artefact that is no model of series reads, of what `answers` is given."""
    if not artefact.features:
        return artefact.feed(*batch(split, questions, chosen, artefact.inputs, translation))
    known = features.names(artefact.unit) if artefact.unit in features.TABLES else ()
    if artefact.features != known and (lacking := [name for name in artefact.features if name not in known]):
        raise DataError(
            f"the model in {artefact.folder} reads features of the unit {artefact.unit} that this clickflow does not "
            f"compute: {', '.join(lacking)}",
            kept="nothing was answered",
            next_step="train the model again, or use the version of clickflow that made it",
        )
    if translation.store is None:
        raise ValueError("hand-made features need the card of the store: Translation.store")
    table = hand_made(artefact.unit, artefact.features, split, questions, chosen, translation.store)
    if not artefact.inputs:
        return artefact.feed({}, features=table)
    return artefact.feed(*batch(split, questions, chosen, artefact.inputs, translation), features=table)


def hand_made(
    unit: str, names: Sequence[str], split: Any, questions: Questions, chosen: Ints, store: Store
) -> npt.NDArray[np.float32]:
    """The features `names` of some questions, [N, F]: of the whole sequence up to the step read last, as of the time of
    that step, or of the cut-off of a unit that has one.
    """
    event = questions.event[chosen]
    now = split.time[event] if split.cut_off is None else split.cut_off[questions.sequence[chosen]]
    read = Spans(event - questions.position[chosen], event + 1, np.asarray(now, np.int64))
    return features.compute(unit, split, read, store, names)
