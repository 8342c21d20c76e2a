"""Section `schedule` of params.yaml: when DAGs start by themselves."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When DAGs start by themselves; cron lines."""

    retrain: str | None
    watch: str | None
    score: str | None
    backfill: str | None
    backfill_days: float | None
    deadline_hours: float
