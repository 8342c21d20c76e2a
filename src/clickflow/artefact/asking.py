"""How an artefact is asked: what its card says it reads is taken from a packed split, and the model is run on it.

Everything that asks a model (evaluation, the checks of the export, serving, monitoring) goes through `answers`, so that
nobody else knows what a model reads.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import Artefact
from clickflow.artefact.windows import Ints, Questions, Translation, batch


def answers(
    artefact: Artefact, split: Any, asked: Questions, chosen: Ints, translation: Translation
) -> dict[str, npt.NDArray[np.float32]]:
    """By output the answers [N, A] of `artefact` to N of the questions about a split, indexes `chosen` of `asked`.

    `translation`: from the store of the split to the vocabulary of the artefact (`vocabularies.translation`). Raises
    DataError where the split has not what the artefact reads.
    """
    return artefact.scores(*batch(split, asked, chosen, artefact.inputs, translation))
