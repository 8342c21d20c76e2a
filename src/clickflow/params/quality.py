"""Section `quality` of params.yaml: bounds of the expectations."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Bounds of the expectations."""

    memory_gb: float
    min_events: int
    max_null_user_share: float
    max_user_share: float
    max_session_share: float
    max_item_share: float
    max_unread_share: float
    max_quarantine_share: float
    max_duplicate_share: float
    max_refused_files: int | None
    max_age_days: float | None
    volume_ratio: tuple[float, float]
    type_mix_distance: float
    max_single_event_share: float
    max_session_events: int
    max_tie_share: float
