"""The newest event that was accepted, how old it is, and what came after it and was refused."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from clickflow.events import basis, manifest
from clickflow.events.refusals import named, refused_files
from clickflow.params.schema import Params
from clickflow.system import files, integrity
from clickflow.system.errors import DataError
from clickflow.system.paths import Paths


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """`newest_event` is ISO 8601 in UTC; `age_hours` is None where the log has no clock; `refused_files` are those of
    which every row was refused.
    """

    newest_event: str
    age_hours: float | None
    refused_files: tuple[str, ...]

    def text(self) -> str:
        """In a line, for people."""
        if self.age_hours is None:
            age = "by an order alone, of no known age"
        else:
            age = f"{self.age_hours:.1f} hours old" if self.age_hours < 48 else f"{self.age_hours / 24:.1f} days old"
        refused = f"; no row was accepted of {named(self.refused_files)}" if self.refused_files else ""
        return f"newest event {self.newest_event[:16].replace('T', ' ')} UTC, {age}{refused}"


def freshness(params: Params, paths: Paths) -> Freshness | None:
    """By the last ingest, against `source.as_of` or the clock; None where there was none.

    Raises DataError where what the ingest said of it, or the manifest of its events, is not what it wrote.
    """
    if not paths.ingest_card.is_file():
        return None
    if paths.events.is_dir():
        card = os.path.relpath(paths.ingest_card, paths.events)
        integrity.verify_files(paths.events, card, manifest.NAME, home=paths.home)
    try:
        newest = files.read_json(paths.ingest_card)["last_event"]
        moment = datetime.fromisoformat(newest) if newest is not None else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{paths.ingest_card} does not say which event is the newest ({type(error).__name__})",
            kept="nothing was changed",
            next_step="`dvc checkout`, or `dvc repro ingest`, puts it back",
        ) from error
    if moment is None:
        return None
    now = basis.utc(params.source.as_of) if params.source.as_of else datetime.now(UTC)
    hours = (now - moment).total_seconds() / 3600 if manifest.clock(paths.events) else None
    return Freshness(
        newest_event=newest,
        age_hours=None if hours is None else round(hours, 3),
        refused_files=tuple(refused_files(paths.ingest_card)),
    )
