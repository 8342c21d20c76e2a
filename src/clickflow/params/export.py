"""Section `export` of params.yaml: how the artefact is checked."""

from dataclasses import dataclass
from typing import Annotated

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Export:
    """How the artefact is checked."""

    tolerance: Annotated[
        float, Meta("largest difference between the exported and the torch model's log probabilities")
    ] = 1e-4
    latency_batch: Annotated[int, Meta("sequences in a request whose latency is taken", ge=1)] = 1
