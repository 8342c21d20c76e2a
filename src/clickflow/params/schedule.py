"""Section `schedule` of params.yaml: when DAGs start by themselves."""

from dataclasses import dataclass
from typing import Annotated

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When DAGs start by themselves: a cron line in UTC, @hourly, @daily, @weekly, @monthly; null: never."""

    retrain: Annotated[
        str | None, Meta("it also starts when new data, or drift, is told of; docs/howto/schedule.md")
    ] = None
    watch: Annotated[str | None, Meta("looks for drift")] = None
    score: Annotated[str | None, Meta("answers for everybody, with the champion")] = None
    backfill: Annotated[str | None, Meta("the length of a backfill's windows; it never starts by itself")] = "@weekly"
    backfill_days: Annotated[
        float | None,
        Meta("how many days before the end of its window a backfill's run learns from; null: all", "days", gt=0),
    ] = None
    deadline_hours: Annotated[
        float, Meta("a run that takes longer is told of; docs/howto/notices.md", "hours", gt=0)
    ] = 24.0
