"""Section `promotion` of params.yaml: whose word a promotion needs."""

from dataclasses import dataclass
from typing import Annotated

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Whose word a promotion needs, beside the gate's."""

    approve: Annotated[
        tuple[str, ...],
        Meta("models whose candidate, let through by the gate, also waits for a person's word"),
    ] = ()
    wait_hours: Annotated[
        float, Meta("without an answer by then the candidate is not made champion", "hours", gt=0)
    ] = 72.0
