"""What Prometheus is shown of the log of answers: what waits, and the last report of `clickflow live`, in numbers."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from clickflow.online.live import log
from clickflow.online.live import report as reports
from clickflow.system.moments import DAY, of_iso
from clickflow.system.paths import Paths

Values = dict[tuple[str, ...], float]
ENDS = {"clickflow_live_value": "value", "clickflow_live_low": "low", "clickflow_live_high": "high"}


def of(
    report: Mapping[str, Any], canaries: Mapping[str, Any], serving: Mapping[str, int], max_days: float
) -> dict[str, Values]:
    """By gauge and labels. `canaries`: by model, the ledger's line that began the one that is on, else None; `serving`:
    by model, the version that answers. A report that another version wrote, or somebody, shows as none.
    """
    shown: dict[str, Values] = {
        name: {} for name in (*ENDS, "clickflow_live_requests", "clickflow_live_not_judged", "clickflow_live_moved")
    }
    shown["clickflow_live_report_timestamp_seconds"] = {(): 0.0}
    began = {model: of_iso(on.time) / 1e6 if on else 0.0 for model, on in canaries.items()}
    shown["clickflow_canary_started_timestamp_seconds"] = {(model,): at for model, at in began.items()}
    shown["clickflow_canary_ends_timestamp_seconds"] = {
        (model,): at and at + max_days * DAY / 1e6 for model, at in began.items()
    }
    with suppress(KeyError, TypeError, ValueError, AttributeError):
        for group in report.get("groups", ()):
            if _stands(group, canaries, serving):
                own = (group["model"], group["arm"])
                shown["clickflow_live_requests"][own] = float(group["requests"])
                for metric, cell in _cells(group):
                    for name, end in ENDS.items():
                        if cell.get(end) is not None:
                            shown[name][(*own, metric)] = float(cell[end])
        for output, count in report.get("waiting", {}).items():
            shown["clickflow_live_not_judged"][output,] = float(count)
        for line in report.get("drift", ()):
            key = (line["model"], line["group"])
            shown["clickflow_live_moved"][key] = shown["clickflow_live_moved"].get(key, 0.0) + line["moved"]
        if "made" in report:
            moment = datetime.fromisoformat(report["made"]).timestamp()
            shown["clickflow_live_report_timestamp_seconds"] = {(): moment}
    return shown


def _stands(group: Mapping[str, Any], canaries: Mapping[str, Any], serving: Mapping[str, int]) -> bool:
    """Whether a group is of a version that answers now; of a canary's time, those that it is compared with alone."""
    on = canaries.get(group["model"])
    if group["arm"] == "champion":
        return bool(group["version"] == serving.get(group["model"]) and group["test"] == (on.number if on else 0))
    return on is not None and group["version"] == on.version


def _cells(group: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for metric, cell in group.get("shown", {}).items():
        if isinstance(cell, Mapping):
            yield metric, cell
    for output, head in group["heads"].items():
        for metric, cell in head["metrics"].items():
            yield f"{output}.{metric}", cell


def seen(paths: Paths) -> tuple[int, int] | None:
    """What tells whether the last report is another one."""
    with suppress(OSError):
        stat = (log.place(paths.home) / reports.FILE).stat()
        return stat.st_mtime_ns, stat.st_size
    return None
