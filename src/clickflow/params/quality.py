"""Section `quality` of params.yaml: bounds of the expectations."""

from dataclasses import dataclass
from typing import Annotated

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Bounds of the expectations."""

    memory_gb: Annotated[float, Meta("memory of the engine, which spills to disk beyond it", "GB", gt=0)] = 2.0
    min_events: Annotated[int, Meta("events: critical below")] = 1000
    max_null_user_share: Annotated[float, Meta("events without a customer: warning above", "share")] = 0.5
    max_user_share: Annotated[float, Meta("events of one user, a placeholder or a robot: warning above", "share")] = (
        0.05
    )
    max_session_share: Annotated[float, Meta("events of one session: warning above", "share")] = 0.1
    max_item_share: Annotated[float, Meta("events of one item: warning above", "share")] = 0.2
    max_unread_share: Annotated[
        float, Meta("events with an optional value that could not be read: warning above", "share")
    ] = 0.05
    max_quarantine_share: Annotated[
        float, Meta("rows in quarantine: critical above; exact repeats do not count", "share")
    ] = 0.05
    max_duplicate_share: Annotated[
        float, Meta("exact repeats, such as a file delivered twice: warning above", "share")
    ] = 0.05
    max_refused_files: Annotated[
        int | None, Meta("files of which every row was refused: critical above; null: not checked")
    ] = 0
    max_age_days: Annotated[
        float | None, Meta("age of the newest event at source.as_of: critical above; null: not checked", "days")
    ] = None
    volume_ratio: Annotated[
        tuple[float, float], Meta("newest full day against the median day before: warning outside")
    ] = (0.3, 3.0)
    type_mix_distance: Annotated[
        float,
        Meta("total variation distance of the event-type mix, newest tenth against the rest: warning above"),
    ] = 0.2
    max_single_event_share: Annotated[float, Meta("sessions that are one event: warning above", "share")] = 0.8
    max_session_events: Annotated[
        int, Meta("events of the longest session, a robot's or a broken id's: warning above")
    ] = 1000
    max_tie_share: Annotated[
        float,
        Meta("steps that have the time, and the same or no order, of the step before: warning above", "share"),
    ] = 0.2
