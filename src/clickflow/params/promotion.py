"""Section `promotion` of params.yaml: whose word a promotion needs."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Whose word a promotion needs, beside the gate's."""

    approve: tuple[str, ...]
    wait_hours: float
