"""params.yaml, typed, frozen, and checked before any work starts.

The dataclasses are plain (standard library only), so that the training core can be used where pydantic is not;
`params_file` checks a file against them and needs pydantic and PyYAML.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, Literal, get_args, get_type_hints

from clickflow.system.errors import UsageError

Preset = Literal["rees46", "taobao", "retailrocket", "yoochoose", "otto", "uci_retail", "recbole", "hm", "session_tsv"]
Format = Literal["csv", "tsv", "jsonl", "parquet"]
Unit = Literal["session"]
Feature = Literal["action", "hour", "weekday", "gap", "since_start", "price", "category"]
ItemFeature = Literal["category", "brand", "price", "popularity"]
Baseline = Literal["popularity", "decayed_popularity", "repeat", "markov", "itemknn", "vsknn", "vstan", "vstan_returns"]
ActionBaseline = Literal["majority", "markov", "logistic", "forest", "boosting"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the log comes from."""

    kind: Literal["simulator", "files", "sql"]
    path: str
    pattern: str
    preset: Preset | None
    format: Format | None
    delimiter: str | None
    encoding: str
    header: tuple[str, ...] | None
    columns: Mapping[str, str]
    explode: str | None
    event_types: Mapping[str, str]
    decimal: Literal[".", ","]
    thousands: str | None
    currency: tuple[str, ...]
    nulls: Mapping[str, tuple[str, ...]]
    time_format: str | None
    timezone: str
    sql_url_env: str
    sql_query: str | None
    as_of: datetime | None


@dataclass(frozen=True, kw_only=True)
class Simulator:
    """The size and dirt of the simulated log."""

    events: int
    users: int | None
    items: int
    categories: int
    days: int
    start: date
    dirt: float


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


@dataclass(frozen=True, kw_only=True)
class SessionUnit:
    """What one sequence of the unit `session` is."""

    gap_minutes: float
    event_types: tuple[str, ...]
    drop_repeats: bool
    min_length: int
    max_length: int
    baskets: bool


@dataclass(frozen=True, kw_only=True)
class Robots:
    """What no visitor of flesh does; null: any."""

    max_steps_per_minute: float | None
    max_session_steps: int | None
    max_log_share: float | None


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """How events become sequences."""

    engine: Literal["duckdb"]
    memory_gb: float
    valid_share: float
    test_share: float
    embargo_minutes: float
    min_item_count: int
    min_known_share: float | None
    min_part_sequences: int | None
    since: datetime | None
    until: datetime | None
    robots: Robots
    session: SessionUnit

    @property
    def window(self) -> tuple[datetime | None, datetime | None]:
        """`since` and `until` with their zone, UTC where they name none."""
        since, until = (
            None if moment is None else moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            for moment in (self.since, self.until)
        )
        return since, until


Kind = Literal["rnn", "gru", "lstm", "mingru", "transformer", "attention"]
"""Of an encoder."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """The network that reads a sequence."""

    kind: Kind
    units: int
    layers: int
    dropout: float
    attention: Literal["none", "bilinear", "additive", "self"]
    attention_heads: int | None
    positions: Literal["relative", "learned"] | None
    features: tuple[Feature, ...]
    item_features: tuple[ItemFeature, ...]


@dataclass(frozen=True, kw_only=True)
class NextItemHead:
    """Which item comes next."""

    weight: float
    loss: Literal["sampled", "full", "bpr_max", "bce"]
    negatives: int
    label_smoothing: float
    regularisation: float | None
    calibration: float | None
    output: Literal["tied", "separate"]
    copy: bool
    associations: bool
    horizon: int


@dataclass(frozen=True, kw_only=True)
class NextActionHead:
    """Which action comes next, `exit` among them."""

    weight: float


@dataclass(frozen=True, kw_only=True)
class Heads:
    """The questions a model answers; several are trained together."""

    next_item: NextItemHead | None = None
    next_action: NextActionHead | None = None


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """How weights are updated."""

    kind: Literal["adamw", "adam", "sgd", "adagrad"]
    learning_rate: float
    embedding_learning_rate: float
    weight_decay: float
    warmup_share: float
    clip_norm: float


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long training may go on; `epochs` None: as the valid part bears out (`training.budget`)."""

    epochs: int | None
    batch_tokens: int
    patience: int
    max_length: int
    checkpoint_seconds: float


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How sequences are changed while a model learns."""

    crop: float
    mask: float
    reorder: float
    substitute: float
    adversarial: float


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model: what it reads, how, and what it answers."""

    unit: Unit
    encoder: Encoder
    heads: Heads
    optimiser: Optimiser
    augmentation: Augmentation
    budget: Budget
    ensemble: tuple[Kind, ...]


@dataclass(frozen=True, kw_only=True)
class Training:
    """Where training runs."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "float32", "bfloat16"]
    threads: int
    processes: int


@dataclass(frozen=True, kw_only=True)
class Export:
    """How the artefact is checked."""

    tolerance: float
    latency_batch: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is measured."""

    cutoffs: tuple[int, ...]
    bootstrap: int
    confidence: float
    max_sequences: int
    baselines: tuple[Baseline, ...]
    action_baselines: tuple[ActionBaseline, ...]


Severity = Literal["reject", "hold", "warn"]
"""What a rule that fails leads to."""
OTHERS = "*"
"""Every baseline that `gate.beat_baselines` does not name for a metric."""


@dataclass(frozen=True, kw_only=True)
class ChampionRule:
    """How a candidate is held against the champion."""

    rule: Literal["non_inferior", "better"]
    margin: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a candidate must reach; `beat_baselines`: by metric what failing leads to, for all baselines or by name."""

    primary: str
    floors: Mapping[str, float]
    beat_baselines: Mapping[str, Severity | Mapping[str, Severity]]
    champion: ChampionRule
    max_slice_drop: float
    min_coverage: float
    min_slice: int
    max_calibration_error: float
    max_latency_ms: float
    max_size_mb: float


@dataclass(frozen=True, kw_only=True)
class Registry:
    """Where models are registered."""

    mlflow_uri: str | None


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """Whose word a promotion needs, beside the gate's."""

    approve: tuple[str, ...]
    wait_hours: float


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When DAGs start by themselves; cron lines."""

    retrain: str | None
    watch: str | None
    score: str | None
    backfill: str | None
    backfill_days: float | None
    deadline_hours: float


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What a run may set that its commit does not, and which files it may read."""

    overrides: tuple[str, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MaxDrift:
    """How far a window may lie from the champion's training data, by what is compared."""

    event_types: float | None
    popularity: float | None
    unknown_items: float | None
    session_length: float | None
    hour: float | None
    price: float | None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """When retraining is called for."""

    window_days: float
    windows: int
    breaches: int
    min_sequences: int
    confidence: float
    max_age_hours: float | None
    max_drift: MaxDrift
    max_metric_drop: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What one param of a model may be in a trial: a number from `low` to `high`, or one of `choices`."""

    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What `clickflow tune` tries, and how it judges."""

    objective: Literal["next_item", "next_action", "loss", "mrr@20", "recall@20"]
    pruning: Literal["median", "halving", "none"]
    epochs: int | None
    max_sequences: int | None
    space: Mapping[str, Mapping[str, Tuned]]


@dataclass(frozen=True, kw_only=True)
class Params:
    """All of params.yaml."""

    seed: int
    source: Source
    simulator: Simulator
    ingest: Ingest
    quality: Quality
    sequences: Sequences
    models: Mapping[str, Model]
    training: Training
    tuning: Tuning
    export: Export
    evaluation: Evaluation
    gate: Gate
    registry: Registry
    promotion: Promotion
    schedule: Schedule
    runs: Runs
    watch: Watch
    champion: Mapping[str, int]

    def model(self, name: str) -> Model:
        """The model of that name; an unknown name is an error that lists the known ones."""
        if name not in self.models:
            raise UsageError(
                f"no model is called {name!r} in params.yaml; there is: {', '.join(sorted(self.models))}"
                f"{nearest(name, self.models)}"
            )
        return self.models[name]


ACCURACY = "next_action.accuracy"
"""The metric of next_action that watching speaks of."""
ROW_METRICS = (ACCURACY, "next_action.log_loss")
"""Metrics of next_action that are means over rows, which two systems can be compared by."""
OTHER_HEADS = ("next_items", "next_action")
"""The heads whose metrics carry their name."""


def place_of(metric: str) -> tuple[str, str]:
    """The head that a metric is of, and its name there: `recall@20` is of next_item, `next_action.accuracy` is not."""
    head, _, key = metric.partition(".")
    return (head, key) if head in OTHER_HEADS else ("next_item", metric)


@cache
def model_keys() -> Mapping[str, Any]:
    """Dotted name of every param of a model to its type."""
    return dict(_leaves(Model, ""))


def _leaves(kind: Any, prefix: str) -> Any:
    for name, hint in get_type_hints(kind).items():
        inner = next((a for a in (hint, *get_args(hint)) if is_dataclass(a)), None)
        if inner:
            yield from _leaves(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", hint


def nearest(name: str, known: Any) -> str:
    """A hint at the one of the `known` names that may have been meant; empty where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
