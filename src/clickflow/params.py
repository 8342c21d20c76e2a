"""params.yaml, typed, frozen, and checked before any work starts.

The dataclasses are plain (standard library only), so that the training core can be used where pydantic is not;
`load` checks a file against them and needs pydantic and PyYAML.
"""

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from clickflow.errors import UsageError

Preset = Literal["rees46", "taobao", "retailrocket", "yoochoose", "otto", "uci_retail", "session_tsv"]
Format = Literal["csv", "tsv", "jsonl", "parquet"]
Unit = Literal["session"]
Feature = Literal["action", "hour", "weekday", "gap", "since_start", "price", "category"]
ItemFeature = Literal["category", "price", "popularity"]
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
    columns: Mapping[str, str]
    event_types: Mapping[str, str]
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
    require_user: bool


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Bounds of the expectations."""

    memory_gb: float
    min_events: int
    max_null_user_share: float
    max_quarantine_share: float
    max_age_days: float | None
    volume_ratio: tuple[float, float]
    type_mix_distance: float
    max_single_event_share: float
    max_session_events: int


@dataclass(frozen=True, kw_only=True)
class SessionUnit:
    """What one sequence of the unit `session` is."""

    gap_minutes: float
    event_types: tuple[str, ...]
    drop_repeats: bool
    min_length: int
    max_length: int


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """How events become sequences."""

    engine: Literal["duckdb"]
    memory_gb: float
    valid_share: float
    test_share: float
    embargo_minutes: float
    min_item_count: int
    since: datetime | None
    until: datetime | None
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
    """How long training may go on."""

    epochs: int
    batch_tokens: int
    patience: int
    max_length: int
    checkpoint_seconds: float


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model: what it reads, how, and what it answers."""

    unit: Unit
    encoder: Encoder
    heads: Heads
    optimiser: Optimiser
    budget: Budget
    ensemble: tuple[Kind, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training:
    """Where training runs."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "float32", "bfloat16"]
    threads: int


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


@dataclass(frozen=True, kw_only=True)
class ChampionRule:
    """How a candidate is held against the champion."""

    rule: Literal["non_inferior", "better"]
    margin: float
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a candidate must reach."""

    primary: str
    floors: Mapping[str, float]
    beat_baselines: tuple[str, ...]
    champion: ChampionRule
    max_slice_drop: float
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
    watch: Watch
    champion: Mapping[str, int]

    def model(self, name: str) -> Model:
        """The model of that name; an unknown name is an error that lists the known ones."""
        if name not in self.models:
            raise UsageError(
                f"no model is called {name!r} in params.yaml; there is: {', '.join(sorted(self.models))}"
                f"{_nearest(name, self.models)}"
            )
        return self.models[name]


NAME = re.compile(r"[a-z][a-z0-9_]*")
ACCURACY = "next_action.accuracy"
"""The metric of next_action that watching speaks of."""
CRON_NAMES = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


def load(path: Path) -> Params:
    """Read and check params.yaml.

    Raises UsageError where the file is missing, is no YAML, has an unknown key, lacks one, or holds a value of the
    wrong type or range; every fault is named, with its place.
    """
    import yaml

    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no {path.name} in {path.parent}", next_step="run clickflow inside a clone of the repository"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from error
    return check(raw, str(path.name))


def check(raw: Any, where: str = "params.yaml") -> Params:
    """A parsed params.yaml as `Params`; see `load`."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

    for kind in _dataclasses(Params):
        with_config(ConfigDict(extra="forbid", strict=False))(kind)
    try:
        params = TypeAdapter(Params).validate_python(raw)
    except ValidationError as error:
        faults = [_fault(fault) for fault in error.errors()]
        raise UsageError(
            f"{where} has {len(faults)} fault{'s' if len(faults) > 1 else ''}:\n"
            + "\n".join(f"  {fault}" for fault in faults),
            kept="nothing was run",
        ) from error
    faults = list(_rules(params))
    if faults:
        raise UsageError(
            f"{where} has {len(faults)} fault{'s' if len(faults) > 1 else ''}:\n"
            + "\n".join(f"  {fault}" for fault in faults),
            kept="nothing was run",
        )
    return params


@cache
def _model_adapter() -> Any:
    from pydantic import ConfigDict, TypeAdapter, with_config

    for kind in _dataclasses(Model):
        with_config(ConfigDict(extra="forbid", strict=False))(kind)
    return TypeAdapter(Model)


def with_values(params: Params, name: str, values: Mapping[str, Any]) -> Params:
    """`params` with other values at dotted names below `models.<name>`, checked as `check` does.

    Raises UsageError, with a line for every fault.
    """
    from pydantic import ValidationError

    raw = asdict(params.model(name))
    faults: list[str] = []
    for key, value in values.items():
        *path, last = key.split(".")
        place: Any = raw
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            place[last] = value
        else:
            faults.append(f"models.{name}.{key}: this model has no such param")
    try:
        changed = replace(params, models={**params.models, name: _model_adapter().validate_python(raw)})
    except ValidationError as error:
        faults += [_fault({**fault, "loc": ("models", name, *fault["loc"])}) for fault in error.errors()]
    else:
        faults += _rules(changed)
    if faults:
        raise UsageError("\n".join(faults), kept="nothing was run")
    return changed


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


def _tuning_rules(params: Params) -> Any:
    """Spaces speak of params that models have; whether their values fit a model is asked when it is tuned."""
    for name, number in (("epochs", params.tuning.epochs), ("max_sequences", params.tuning.max_sequences)):
        if number is not None and number < 1:
            yield f"tuning.{name}: {number} is less than 1"
    for name, space in params.tuning.space.items():
        if name != "*" and name not in params.models:
            yield f"tuning.space.{name}: no such model{_nearest(name, params.models)}"
        for key, tuned in space.items():
            at = f"tuning.space.{name}.{key}"
            if key in model_keys():
                yield from _tuned_rules(at, tuned, model_keys()[key])
            else:
                yield f"{at}: a model has no such param{_nearest(key, model_keys())}"


def _tuned_rules(at: str, tuned: Tuned, kind: Any) -> Any:
    """A range of numbers, or choices, and not both."""
    if tuned.choices is not None:
        if tuned.low is not None or tuned.high is not None or tuned.step is not None or tuned.log:
            yield f"{at}: choices stand alone; low, high, step and log are of a range"
        if not tuned.choices:
            yield f"{at}.choices: there is none"
        return
    kinds = {kind, *get_args(kind)}
    if not kinds & {int, float}:
        yield f"{at}: is no number; give choices"
    elif tuned.low is None or tuned.high is None:
        yield f"{at}.{'high' if tuned.high is None else 'low'}: is missing; a range has low and high, or give choices"
    elif not (math.isfinite(tuned.low) and math.isfinite(tuned.high) and math.isfinite(tuned.step or 0)):
        yield f"{at}: low, high and step are finite numbers"
    elif not tuned.low < tuned.high:
        yield f"{at}.low: {tuned.low} is not below high, {tuned.high}"
    elif tuned.log and not tuned.low > 0:
        yield f"{at}.low: {tuned.low} is not above 0, as log needs"
    elif tuned.log and tuned.step is not None:
        yield f"{at}.step: a range with log has none"
    elif tuned.step is not None and not tuned.step > 0:
        yield f"{at}.step: {tuned.step} is not above 0"
    elif float not in kinds and any(number % 1 for number in (tuned.low, tuned.high, tuned.step or 1)):
        yield f"{at}: low, high and step are whole numbers, as the param is"


def _rules(params: Params) -> Any:
    """What types alone do not say."""
    shares = {
        "sequences.valid_share": params.sequences.valid_share,
        "sequences.test_share": params.sequences.test_share,
        "simulator.dirt": params.simulator.dirt,
        "quality.max_null_user_share": params.quality.max_null_user_share,
        "quality.max_quarantine_share": params.quality.max_quarantine_share,
        "quality.max_single_event_share": params.quality.max_single_event_share,
        "evaluation.confidence": params.evaluation.confidence,
    }
    for name, value in shares.items():
        if not 0 <= value <= 1:
            yield f"{name}: {value} is not between 0 and 1"
    if params.sequences.valid_share + params.sequences.test_share >= 1:
        yield "sequences: valid_share and test_share leave nothing to train on"
    at_least_one = {
        "simulator.events": params.simulator.events,
        "simulator.items": params.simulator.items,
        "simulator.categories": params.simulator.categories,
        "simulator.days": params.simulator.days,
        "sequences.min_item_count": params.sequences.min_item_count,
        "sequences.session.max_length": params.sequences.session.max_length,
        "evaluation.max_sequences": params.evaluation.max_sequences,
        "export.latency_batch": params.export.latency_batch,
        "training.threads": params.training.threads,
    }
    above_zero: dict[str, float] = {
        "ingest.memory_gb": params.ingest.memory_gb,
        "quality.memory_gb": params.quality.memory_gb,
        "sequences.memory_gb": params.sequences.memory_gb,
        "sequences.session.gap_minutes": params.sequences.session.gap_minutes,
    }
    above_zero |= {
        "promotion.wait_hours": params.promotion.wait_hours,
        "schedule.deadline_hours": params.schedule.deadline_hours,
    }
    yield from _gate_rules(params)
    yield from _running_rules(params)
    yield from _watch_rules(params)
    yield from _tuning_rules(params)
    if params.sequences.session.min_length < 2:
        yield "sequences.session.min_length: a sequence needs two steps, one to read and one to predict"
    if params.sequences.session.max_length < params.sequences.session.min_length:
        yield "sequences.session.max_length: is less than min_length"
    if params.sequences.embargo_minutes < 0:
        yield f"sequences.embargo_minutes: {params.sequences.embargo_minutes} is less than 0"
    if params.source.delimiter is not None and (
        len(params.source.delimiter.encode()) != 1 or params.source.delimiter in '"\r\n'
    ):
        yield f"source.delimiter: {params.source.delimiter!r} is not one plain character"
    if params.source.kind == "sql" and not params.source.sql_query:
        yield "source.sql_query: a table or a SELECT is needed where source.kind is sql"
    for name, model in params.models.items():
        at = f"models.{name}"
        if not NAME.fullmatch(name):
            yield f"{at}: a model's name is lower-case letters, digits and underscores"
        if name not in params.champion:
            yield f"champion.{name}: is missing; 0 says that there is none yet"
        if not model.heads.next_item and not model.heads.next_action:
            yield f"{at}.heads: a model needs at least one head"
        at_least_one |= {
            f"{at}.encoder.units": model.encoder.units,
            f"{at}.encoder.layers": model.encoder.layers,
            f"{at}.budget.epochs": model.budget.epochs,
            f"{at}.budget.batch_tokens": model.budget.batch_tokens,
            f"{at}.budget.patience": model.budget.patience,
            f"{at}.budget.max_length": model.budget.max_length,
        }
        above_zero[f"{at}.optimiser.learning_rate"] = model.optimiser.learning_rate
        above_zero[f"{at}.optimiser.embedding_learning_rate"] = model.optimiser.embedding_learning_rate
        if model.heads.next_item and model.heads.next_item.loss != "full":
            at_least_one[f"{at}.heads.next_item.negatives"] = model.heads.next_item.negatives
        yield from _encoder_rules(f"{at}.encoder", model.encoder)
        for kind in dict.fromkeys(model.ensemble):
            for fault in _encoder_rules(f"{at}.encoder", replace(model.encoder, kind=kind)):
                yield f"{fault} (of the {kind} in {at}.ensemble)"
        if model.heads.next_item:
            at_least_one[f"{at}.heads.next_item.horizon"] = model.heads.next_item.horizon
            yield from _loss_rules(f"{at}.heads.next_item", model.heads.next_item)
    for name in params.champion:
        if name not in params.models:
            yield f"champion.{name}: no such model{_nearest(name, params.models)}"
    for name, value in at_least_one.items():
        if value < 1:
            yield f"{name}: {value} is less than 1"
    for name, number in above_zero.items():
        if not number > 0:
            yield f"{name}: {number} is not above 0"


def _running_rules(params: Params) -> Any:
    """Windows, schedules and approvals make sense."""
    since, until = params.sequences.window
    if since and until and since >= until:
        yield f"sequences.until: {until.isoformat()} is not after sequences.since, {since.isoformat()}"
    for name, cron in asdict(params.schedule).items():
        if isinstance(cron, str) and cron not in CRON_NAMES and len(cron.split()) != 5:
            yield (
                f"schedule.{name}: {cron!r} is no cron line: minute, hour, day of the month, month, day of the week, "
                f"such as '30 4 * * 1', or one of {', '.join(CRON_NAMES)}"
            )
    if params.schedule.backfill_days is not None and not params.schedule.backfill_days > 0:
        yield f"schedule.backfill_days: {params.schedule.backfill_days} is not above 0"
    for name in params.promotion.approve:
        if name not in params.models:
            yield f"promotion.approve: there is no model {name!r}{_nearest(name, params.models)}"


def _watch_rules(params: Params) -> Any:
    """Windows can breach, and speak of metrics that the evaluation measures."""
    watch = params.watch
    if not 1 <= watch.breaches <= watch.windows:
        yield f"watch.breaches: {watch.breaches} is not from 1 to watch.windows, {watch.windows}"
    if not 0.5 <= watch.confidence < 1:
        yield f"watch.confidence: {watch.confidence} is not from 0.5 to below 1"
    if watch.min_sequences < 2:
        yield f"watch.min_sequences: {watch.min_sequences} is less than 2; noise cannot be told from fewer"
    for name, number in (("window_days", watch.window_days), ("max_age_hours", watch.max_age_hours)):
        if number is not None and not number > 0:
            yield f"watch.{name}: {number} is not above 0"
    for name, bound in asdict(watch.max_drift).items():
        if bound is not None and not 0 <= bound <= 1:
            yield f"watch.max_drift.{name}: {bound} is not between 0 and 1"
    measured = [*_ranked(params), ACCURACY]
    for name, bound in watch.max_metric_drop.items():
        if name not in measured:
            yield f"watch.max_metric_drop: no metric {name!r} is measured{_nearest(name, measured)}"
        if not 0 <= bound <= 1:
            yield f"watch.max_metric_drop.{name}: {bound} is not between 0 and 1"


def _ranked(params: Params) -> list[str]:
    """The metrics of next_item, by evaluation.cutoffs."""
    return [f"{kind}@{cutoff}" for cutoff in params.evaluation.cutoffs for kind in ("recall", "mrr", "ndcg")]


def _encoder_rules(at: str, encoder: Encoder) -> Any:
    """What a kind of encoder does not read must not be given, and its sizes must fit together."""
    if not 0 <= encoder.dropout < 1:
        yield f"{at}.dropout: {encoder.dropout} is not in [0, 1)"
    if encoder.kind == "attention" and encoder.layers > 1:
        yield f"{at}.layers: kind attention has one layer; kinds mingru and transformer can be stacked"
    if encoder.positions is not None and encoder.kind != "transformer":
        yield f"{at}.positions: only kind transformer reads it, and this is {encoder.kind}; null leaves it out"
    if encoder.attention_heads is None:
        return
    if encoder.kind != "transformer" and encoder.attention != "self":
        yield (
            f"{at}.attention_heads: only kind transformer and attention self have heads, and this is kind "
            f"{encoder.kind} with attention {encoder.attention}; null leaves it out"
        )
    elif encoder.attention_heads < 1 or encoder.units % encoder.attention_heads:
        fitting = [str(n) for n in range(1, encoder.units + 1) if encoder.units % n == 0][:8]
        yield (
            f"{at}.attention_heads: {encoder.units} units cannot be divided by {encoder.attention_heads}; "
            f"there is: {', '.join(fitting)}"
        )


def _loss_rules(at: str, head: NextItemHead) -> Any:
    """What a loss does not read must not be given."""
    owners = {"regularisation": ("bpr_max", head.regularisation), "calibration": ("bce", head.calibration)}
    for name, (owner, value) in owners.items():
        if value is None:
            continue
        if head.loss != owner:
            yield f"{at}.{name}: only loss {owner} reads it, and this is {head.loss}; null leaves it out"
        elif not 0 <= value <= (1 if name == "calibration" else math.inf):
            yield f"{at}.{name}: {value} is {'not between 0 and 1' if name == 'calibration' else 'below 0'}"
    if not 0 <= head.label_smoothing < 1:
        yield f"{at}.label_smoothing: {head.label_smoothing} is not in [0, 1)"
    elif head.label_smoothing and head.loss not in ("sampled", "full"):
        yield f"{at}.label_smoothing: loss {head.loss} has no labels to smooth; sampled and full have, 0 leaves it out"


def _gate_rules(params: Params) -> Any:
    """The gate speaks of metrics that the evaluation measures."""
    kinds = _ranked(params)
    ranked = [*kinds, *(f"{kind}_known" for kind in kinds)]
    gate = params.gate
    asked = [("gate.primary", gate.primary), *(("gate.beat_baselines", name) for name in gate.beat_baselines)]
    # the head next_action is measured by metrics whose names the gate checks when it reads them
    asked += [("gate.floors", name) for name in gate.floors if not name.startswith("next_action.")]
    for where, name in asked:
        if name not in ranked:
            yield (
                f"{where}: no metric {name!r} is measured{_nearest(name, ranked)}; by evaluation.cutoffs there is: "
                f"{', '.join(kinds) or 'none'}"
            )
    if not 0.5 <= gate.champion.confidence < 1:
        yield f"gate.champion.confidence: {gate.champion.confidence} is not from 0.5 to below 1"
    for where, number in (("champion.margin", gate.champion.margin), ("max_slice_drop", gate.max_slice_drop)):
        if number < 0:
            yield f"gate.{where}: {number} is below 0"


def _fault(fault: Any) -> str:
    """One line for one of pydantic's errors; an unknown key names the nearest valid one."""
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "unexpected_keyword_argument":
        known = _keys_at(fault["loc"][:-1])
        return f"{where}: unknown key{_nearest(str(fault['loc'][-1]), known)}"
    if fault["type"] == "missing":
        return f"{where}: is missing"
    return f"{where}: {fault['msg'].lower()}, not {fault['input']!r}"


def _nearest(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _keys_at(location: tuple[Any, ...]) -> list[str]:
    """The keys that may stand at a place of params.yaml."""
    kind: Any = Params
    for part in location:
        hints = get_type_hints(kind) if is_dataclass(kind) else {}
        kind = hints.get(str(part), kind)
        inner = [a for a in get_args(kind) if is_dataclass(a)]
        kind = inner[0] if inner else kind
    return [f.name for f in fields(kind)] if is_dataclass(kind) else []


def _dataclasses(kind: Any) -> list[Any]:
    """`kind` and every dataclass its fields lead to."""
    found, todo = [], [kind]
    while todo:
        current = todo.pop()
        todo.extend(get_args(current))
        if isinstance(current, type) and is_dataclass(current) and current not in found:
            found.append(current)
            todo.extend(get_type_hints(current).values())
    return found
