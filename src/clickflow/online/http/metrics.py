"""Prometheus metrics of the server, of all its workers together where PROMETHEUS_MULTIPROC_DIR names their folder."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


Mode = Literal["livesum", "livemax", "livemostrecent"]
GAUGES: Mapping[str, tuple[str, tuple[str, ...], Mode]] = {
    "clickflow_state": ("Visitors that are kept in memory", ("count",), "livesum"),
    "clickflow_serving_version": ("Version that answers; 0: none", ("model",), "livemax"),
    "clickflow_champion_version": ("Version that should answer, by the ledger; 0: none", ("model",), "livemax"),
    "clickflow_wrong": ("1 where health says that something is wrong", ("what",), "livemax"),
    "clickflow_live_queue": ("Rows of the log of answers that wait to be written", (), "livesum"),
    "clickflow_live_unseen": ("Requests that the shadow had no time for, since the start", (), "livesum"),
    "clickflow_live_report_timestamp_seconds": ("When `clickflow live` made its last report; 0: never", (), "livemax"),
    "clickflow_live_value": (
        "A live metric of the version that answers, as of the last report",
        ("model", "arm", "metric"),
        "livemostrecent",
    ),
    "clickflow_live_low": ("The lower end of its interval", ("model", "arm", "metric"), "livemostrecent"),
    "clickflow_live_high": ("The upper end of its interval", ("model", "arm", "metric"), "livemostrecent"),
    "clickflow_live_requests": ("Requests in the last report", ("model", "arm"), "livemostrecent"),
    "clickflow_live_not_judged": ("Answers whose outcome cannot be known yet", ("output",), "livemostrecent"),
    "clickflow_live_moved": ("Dimensions that drifted, as of the last report", ("model", "group"), "livemostrecent"),
    "clickflow_watch_report_timestamp_seconds": (
        "When `clickflow watch` wrote its last report; 0: never",
        (),
        "livemax",
    ),
    "clickflow_watch_retrain": (
        "1 where it calls for retraining: the data or the answers have moved",
        ("model",),
        "livemostrecent",
    ),
    "clickflow_watch_stale": ("1 where its newest event was older than watch.max_age_hours", (), "livemostrecent"),
    "clickflow_watch_newest_event_timestamp_seconds": ("Of the newest event that it saw", (), "livemostrecent"),
    "clickflow_canary_started_timestamp_seconds": ("When a canary began; 0: none is on", ("model",), "livemax"),
    "clickflow_canary_ends_timestamp_seconds": (
        "When it is to end at the latest; 0: none is on",
        ("model",),
        "livemax",
    ),
}
"""What is shown as it is now: what it says, its labels, and how those of several workers are one."""
GONE = {"clickflow_wrong": 0.0, "clickflow_live_moved": 0.0, "clickflow_watch_retrain": 0.0}
"""What a gauge shows of labels that are there no more, where that is a number."""


@dataclass(frozen=True)
class Metrics:
    """The metrics of an application; each is of prometheus_client."""

    registry: Any
    requests: Any
    """By route and status."""
    seconds: Any
    """By route."""
    answers: Any
    """By model, version and fallback."""
    unknown: Any
    """What questions named and the model did not know, by model and place in the question."""
    batches: Any
    """Questions that were answered together."""
    swaps: Any
    """By model."""
    dropped: Any
    """Answers that observers were not told of."""
    failed: Any
    """By observer; `canary`: it could not answer, and the champion did; `shadow`: it could not answer."""
    lost: Any
    """Rows of the log of answers that were dropped."""
    gauges: Mapping[str, Any]
    """Of `GAUGES`, by name."""

    def show(self, name: str, values: Mapping[tuple[str, ...], float]) -> None:
        """Set a gauge, by its labels. What it showed and is not there any more is not a number from here on."""
        gauge, before = self.gauges[name], self._shown.get(name, set())
        for labels in before - set(values):
            gauge.labels(*labels).set(GONE.get(name, float("nan")))
        for labels, value in values.items():
            (gauge.labels(*labels) if labels else gauge).set(value)
        self._shown[name] = before | set(values)

    answered: dict[str, int] = field(default_factory=dict)
    """The version that answered when it was looked at last, by model."""
    _shown: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return bytes(generate_latest(self.registry))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return bytes(generate_latest(registry))


ROOM = 1 << 20
"""Bytes of a file that prometheus_client begins with."""


def take_room(folder: Path) -> None:
    """Have the room on disk in which this worker will count: it counts through memory maps, and a disk that is full
    would kill it there. What gauges showed of workers that are gone goes. Raises OSError where there is no room.
    """
    for file in folder.glob("gauge_live*_*.db"):
        if not Path("/proc", file.stem.rpartition("_")[2]).exists():
            file.unlink(missing_ok=True)
    for kind in ("counter", "histogram", *dict.fromkeys(f"gauge_{mode}" for _, _, mode in GAUGES.values())):
        file = folder / f"{kind}_{os.getpid()}.db"
        try:
            with file.open("ab") as room:
                os.posix_fallocate(room.fileno(), 0, ROOM)
        except OSError:
            file.unlink(missing_ok=True)  # a short one could not be read
            raise


def new() -> Metrics:
    """New ones, at 0."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    own = CollectorRegistry()
    by_route = ("route", "status")
    failed = Counter("clickflow_observers_failed", "Faults of observers", ("observer",), registry=own)
    for name in ("canary", "shadow"):
        failed.labels(name)  # 0 from the start: an alert sees the first fault
    return Metrics(
        registry=own,
        requests=Counter("clickflow_requests", "Requests", by_route, registry=own),
        seconds=Histogram(
            "clickflow_request_seconds",
            "From the request's head to the answer",
            ("route",),
            buckets=SECONDS,
            registry=own,
        ),
        answers=Counter("clickflow_answers", "Questions answered", ("model", "version", "fallback"), registry=own),
        unknown=Counter(
            "clickflow_unknown",
            "Items, actions and categories that the model does not know",
            ("model", "where"),
            registry=own,
        ),
        batches=Histogram("clickflow_batch_size", "Questions answered together", buckets=SIZES, registry=own),
        swaps=Counter("clickflow_swaps", "Versions swapped in", ("model",), registry=own),
        dropped=Counter("clickflow_observations_dropped", "Answers that observers were not told of", registry=own),
        failed=failed,
        lost=Counter("clickflow_live_dropped", "Rows of the log of answers that were dropped", registry=own),
        gauges={
            name: Gauge(name, about, labels, registry=own, multiprocess_mode=mode)
            for name, (about, labels, mode) in GAUGES.items()
        },
    )
