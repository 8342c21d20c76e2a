"""An earlier version that a candidate is measured beside: the champion, or the best champion of the past."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REFERENCE = "reference.json"
"""What its training data looked like, kept with it (clickflow.evaluation.reference)."""


@dataclass(frozen=True)
class Earlier:
    """Its number, its artefact's folder, and its `REFERENCE`, fetched only where it is needed; None: it has none."""

    version: int
    folder: Path
    reference: Callable[[], Path | None]
