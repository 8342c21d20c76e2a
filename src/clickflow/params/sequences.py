"""Section `sequences` of params.yaml: how events become sequences."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class SessionUnit:
    """What one sequence of the unit `session` is."""

    gap_minutes: float
    event_types: tuple[str, ...]
    drop_repeats: bool
    min_length: int
    max_length: int
    baskets: bool


@dataclass(frozen=True, kw_only=True)
class Robots:
    """What no visitor of flesh does; null: any."""

    max_steps_per_minute: float | None
    max_session_steps: int | None
    max_log_share: float | None


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """How events become sequences."""

    engine: Literal["duckdb"]
    memory_gb: float
    valid_share: float
    test_share: float
    embargo_minutes: float
    min_item_count: int
    min_known_share: float | None
    min_part_sequences: int | None
    since: datetime | None
    until: datetime | None
    robots: Robots
    session: SessionUnit

    @property
    def window(self) -> tuple[datetime | None, datetime | None]:
        """`since` and `until` with their zone, UTC where they name none."""
        since, until = (
            None if moment is None else moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            for moment in (self.since, self.until)
        )
        return since, until
