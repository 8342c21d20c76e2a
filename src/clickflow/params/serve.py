"""Section `serve` of params.yaml: how `clickflow serve` answers. No run changes it, and no stage reads it."""

from dataclasses import dataclass
from typing import Annotated, Literal

from clickflow.params.meta import Meta


@dataclass(frozen=True, kw_only=True)
class Serve:
    """How `clickflow serve` answers: docs/howto/serve.md."""

    host: Annotated[str, Meta("address that it listens on; another than loopback needs keys")] = "127.0.0.1"
    port: Annotated[int, Meta("its port; 0: any free one", le=65_535)] = 8600
    workers: Annotated[int, Meta("processes that answer; several need serve.redis", ge=1, le=256)] = 1
    models: Annotated[tuple[str, ...], Meta("that are served; none named: all that have a champion")] = ()
    index: Annotated[
        Literal["exact", "approximate"],
        Meta("how the best items are found: all are scored, or lists of neighbours (faiss), see docs/howto/serve.md"),
    ] = "exact"
    recall: Annotated[
        float,
        Meta("share of the best 20 items that an approximate index has to find; below, all are scored", gt=0, le=1),
    ] = 0.95
    refresh_seconds: Annotated[
        float, Meta("until a new champion, or a rollback, is seen", "seconds", gt=0, le=3600)
    ] = 2.0
    redis: Annotated[
        str | None, Meta("address of a Redis that keeps what visitors did, redis://…; null: this process does")
    ] = None
    subjects: Annotated[int, Meta("visitors and customers that a process keeps; the longest idle go first", ge=1)] = (
        100_000
    )
    steps: Annotated[int, Meta("latest steps that are kept of each", "steps", ge=1)] = 500
    keep_hours: Annotated[float, Meta("that the steps of who does nothing more are kept", "hours", gt=0)] = 72
    max_body_kb: Annotated[int, Meta("largest body of a request, in kB", ge=1, le=102_400)] = 1024
    max_history: Annotated[int, Meta("steps of a history that a request may carry", "steps", ge=1)] = 2000
    max_items: Annotated[int, Meta("items that a request may name in a list, and that it may ask for", ge=1)] = 1000
    max_batch: Annotated[int, Meta("questions of a batch", ge=1)] = 256
    queue: Annotated[
        int, Meta("questions that wait for a model, at most, and for a second; more get 503 at once", ge=1)
    ] = 512
    rate: Annotated[float | None, Meta("requests a second of one key, on average; null: any", gt=0)] = None
    burst: Annotated[int, Meta("requests of one key at once, above that", ge=1)] = 200
    timeout_seconds: Annotated[float, Meta("after which a request is given up", "seconds", gt=0)] = 5
    log_requests: Annotated[bool, Meta("a line a request in the log; false: only of those that failed")] = False

    @property
    def least_recall(self) -> float | None:
        """That of an approximate index; None: exact."""
        return self.recall if self.index == "approximate" else None
