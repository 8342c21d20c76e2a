"""Section `export` of params.yaml: how the artefact is checked, and how it may be made smaller."""

from dataclasses import dataclass
from typing import Annotated, Literal

from clickflow.params.meta import Meta

Compression = Literal["int8", "pruned", "int8_pruned"]


@dataclass(frozen=True, kw_only=True)
class Export:
    """How the artefact is checked, and how it may be made smaller: docs/howto/compression.md."""

    tolerance: Annotated[
        float, Meta("largest difference between the exported and the torch model's log probabilities")
    ] = 1e-4
    latency_batch: Annotated[int, Meta("sequences in a request whose latency is taken", ge=1)] = 1
    compression: Annotated[
        tuple[Compression, ...],
        Meta(
            "of a network, tried beside the model as it was trained; the best within the gate's budgets ships; "
            "[]: none is tried"
        ),
    ] = ()
    max_quality_loss: Annotated[
        float, Meta("relative, of the primary of any head on the validation part, beyond which one is off", ge=0, lt=1)
    ] = 0.005
    min_compression: Annotated[float, Meta("times smaller, or quicker, without which one is off", ge=1, le=1000)] = 2.0
    sparsity: Annotated[
        float, Meta("of pruned: the least frequent neighbours of an item that are left out", "share", gt=0, lt=1)
    ] = 0.75
