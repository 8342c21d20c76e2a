"""Answers of an artefact to every question about held-out sequences, in blocks of bounded memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clickflow.artefact import asking
from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import blocks, of_split
from clickflow.evaluation import vocabularies
from clickflow.evaluation.asking import ASKING, by_group, size
from clickflow.evaluation.held_out import HeldOut, Question
from clickflow.heads import outputs
from clickflow.heads.head import grouped
from clickflow.system.console import Advance


def answer(
    test: HeldOut, artefact: Artefact, head_questions: Sequence[Question], advance: Advance, *, block: int | None = None
) -> dict[str, Any]:
    """By output, an artefact's answers to what the heads ask, in the form of their kind; `block` overrides how many
    questions at a time.

    Its items and classes are its own: it is asked in its own vocabulary, and a target it does not know is its miss.
    """
    translation = vocabularies.translation(test.folder, test.card, artefact)
    # the same positions; an artefact of another max_length reads windows of its own
    own = of_split(test.split, np.unique(test.questions.sequence), artefact.max_length)
    collected = []
    for output in outputs.of(artefact.outputs):
        for question in head_questions:
            if question.head.name == output.head.name:
                place = np.full(len(own), -1, np.int64)
                place[question.at[question.begins]] = question.begins
                answers, take = ASKING[output.kind].artefact(question, artefact, translation)
                collected.append((output.name, output.name, place, answers, take))
                if question.groups is not None:
                    collected.append((grouped(output.name), output.name, place, *by_group(question, artefact)))
    for chosen in blocks(own, block or size(artefact.known)):
        scores = asking.answers(artefact, test.split, own, chosen, translation)
        for _, name, place, _, take in collected:
            row = place[chosen]
            take(row[row >= 0], scores[name][row >= 0])
        advance(len(chosen))
    return {name: answers for name, _, _, answers, _ in collected}
