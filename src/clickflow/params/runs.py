"""Section `runs` of params.yaml: what a run may set."""

from dataclasses import dataclass
from typing import Annotated

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What a run may set that its commit does not, and which files it may read: docs/reference/security.md."""

    overrides: Annotated[
        tuple[str, ...],
        Meta(
            "what the form, or -S, of a run may change: names, * for any part; never gate, promotion, registry, "
            "champion, schedule, runs, serve, live, score, addresses"
        ),
    ] = (
        *("seed", "source.kind", "source.path", "source.preset", "sequences.since", "sequences.until"),
        *("simulator.*", "models.*", "training.*"),
    )
    sources: Annotated[
        tuple[str, ...],
        Meta(
            "folders below which a run's source.path may lie, beside that of the commit; relative to the repository "
            "or absolute"
        ),
    ] = ()
