"""What Prometheus is told; of several workers together where PROMETHEUS_MULTIPROC_DIR says where they keep theirs."""

import os
from dataclasses import dataclass
from typing import Any

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


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
    """By observer."""
    state: Any
    """By what is counted."""
    serving: Any
    """The version that answers, by model."""

    def text(self) -> bytes:
        """In Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest, multiprocess

        if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            return bytes(generate_latest(self.registry))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return bytes(generate_latest(registry))


def made() -> Metrics:
    """New ones, at 0."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    own = CollectorRegistry()
    by_route = ("route", "status")
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
        failed=Counter("clickflow_observers_failed", "Faults of observers", ("observer",), registry=own),
        state=Gauge("clickflow_state", "Visitors that are kept", ("count",), registry=own, multiprocess_mode="livesum"),
        serving=Gauge(
            "clickflow_serving_version", "Version that answers", ("model",), registry=own, multiprocess_mode="livemax"
        ),
    )
