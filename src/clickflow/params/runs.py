"""Section `runs` of params.yaml: what a run may set."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What a run may set that its commit does not, and which files it may read."""

    overrides: tuple[str, ...]
    sources: tuple[str, ...]
