"""Section `export` of params.yaml: how the artefact is checked."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Export:
    """How the artefact is checked."""

    tolerance: float
    latency_batch: int
