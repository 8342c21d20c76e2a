"""Section `ingest` of params.yaml: how raw rows are checked."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Ingest:
    """How raw rows are checked."""

    memory_gb: float
    future_tolerance_minutes: float
    max_text_length: int
    bad_optional: Literal["empty", "quarantine"]
    duplicates: Literal["quarantine", "keep"]
    missing_sources: Literal["stop", "drop"]
    require_user: bool
    max_file_quarantine_share: float
    encrypt: tuple[Literal["quarantine"], ...]
