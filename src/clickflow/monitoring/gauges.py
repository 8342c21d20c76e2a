"""What the last `clickflow watch` said, in numbers, for Prometheus: whether the data is old or has moved.

The report lies in `reports/watch` of a checkout where the verb was run by hand or by cron, and in `<home>/watch/<run>`
where the DAG `watch` ran; the one that was written last counts.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clickflow.system.moments import of_iso
from clickflow.system.paths import Paths

Values = dict[tuple[str, ...], float]
RESULT = "watch.json"
"""Of a report."""
WRITTEN = "clickflow_watch_report_timestamp_seconds"
"""The gauge that is 0 where no report can be read."""


def last(paths: Paths) -> tuple[Path, float] | None:
    """The report that was written last, and when, seconds since 1970; None where there is none."""
    times: list[tuple[float, Path]] = []
    for file in (paths.watch / RESULT, *(paths.home / "watch").glob(f"*/{RESULT}")):
        with suppress(OSError):
            times.append((file.stat().st_mtime, file))
    return (max(times)[1], max(times)[0]) if times else None


def read(file: Path) -> Mapping[str, Any]:
    """A report; empty where it is none."""
    with suppress(OSError, ValueError):
        content = json.loads(file.read_bytes())
        return content if isinstance(content, dict) else {}
    return {}


def of(report: Mapping[str, Any], written: float) -> dict[str, Values]:
    """By gauge and labels; of what is no report 0."""
    try:
        retrain: Values = {(model,): float(own["retrain"]) for model, own in report["models"].items()}
        stale, newest = float(report["stale"]), of_iso(report["newest_event"]) / 1e6
    except (KeyError, TypeError, ValueError, AttributeError):
        retrain, stale, newest, written = {}, 0.0, 0.0, 0.0
    return {
        "clickflow_watch_retrain": retrain,
        "clickflow_watch_stale": {(): stale},
        "clickflow_watch_newest_event_timestamp_seconds": {(): newest},
        WRITTEN: {(): written},
    }
