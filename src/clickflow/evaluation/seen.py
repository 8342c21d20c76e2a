"""Which test rows an earlier version may have learned from: those before the end of its own data.

A version holds the end of its training and validation part, `seen_until`. On a store that is not its own, with another
`test_share` or another window, the test part may begin before it: there the version would be tested on what it learned.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import Artefact, load
from clickflow.evaluation.earlier import Earlier
from clickflow.evaluation.held_out import HeldOut
from clickflow.system.files import read_json
from clickflow.system.moments import of_iso

UNTIL = "seen_until"
"""Of an artefact's card, and of reference.json: ISO 8601."""
Rows = npt.NDArray[np.bool_]


def loaded(earlier: Earlier) -> Artefact:
    """Its artefact with the end of its data in its card; for one exported without it, from its reference.json."""
    version = load(earlier.folder)
    if UNTIL in version.card or (reference := earlier.reference()) is None:
        return version
    return replace(version, card={**version.card, UNTIL: read_json(reference).get(UNTIL)})


def rows(test: HeldOut, version: Artefact, answers: npt.NDArray[np.int64]) -> Rows | None:
    """Of rows whose answer was there at the time `answers` [n], those whose answer lies within the data of `version`;
    None where that is not known.

    A version made from this very store has seen none: its test part was kept from it.
    """
    if version.card.get("data_sha256") == test.card.sha256:
        return np.zeros(len(answers), np.bool_)
    if not version.card.get(UNTIL):
        return None
    inside: Rows = answers <= of_iso(version.card[UNTIL])
    return inside


def summary(version: Artefact, marked: Rows | None) -> Mapping[str, Any]:
    """For metrics.json: the end of the version's data, and the share of the rows before it; None where not known."""
    share = None if marked is None else round(float(marked.mean()), 6) if len(marked) else 0.0
    return {"until": version.card.get(UNTIL), "share": share}
