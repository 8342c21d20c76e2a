"""What types alone do not say of params.yaml: ranges, and values that must fit each other.

Each function yields a line a fault, with its place.
"""

import codecs
import math
import re
from dataclasses import asdict, fields, replace
from fnmatch import fnmatchcase
from typing import Any, get_args

from clickflow.params.gate import ACCURACY, OTHERS, ROW_METRICS, place_of
from clickflow.params.models import Encoder, Model, RankingHead, model_keys
from clickflow.params.schema import Params, nearest
from clickflow.params.tuning import Tuned

NAME = re.compile(r"[a-z][a-z0-9_]*")
COMMIT_ALONE = ("gate", "promotion", "registry", "champion", "schedule", "runs")
"""Sections that no run changes: the judged party does not set the rules."""
CRON_NAMES = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


def rules(params: Params) -> Any:
    """What types alone do not say."""
    shares = {
        "sequences.valid_share": params.sequences.valid_share,
        "sequences.test_share": params.sequences.test_share,
        "simulator.dirt": params.simulator.dirt,
        "quality.max_null_user_share": params.quality.max_null_user_share,
        "quality.max_quarantine_share": params.quality.max_quarantine_share,
        "quality.max_duplicate_share": params.quality.max_duplicate_share,
        "quality.max_user_share": params.quality.max_user_share,
        "quality.max_session_share": params.quality.max_session_share,
        "quality.max_item_share": params.quality.max_item_share,
        "quality.max_unread_share": params.quality.max_unread_share,
        "ingest.max_file_quarantine_share": params.ingest.max_file_quarantine_share,
        "quality.max_single_event_share": params.quality.max_single_event_share,
        "quality.max_tie_share": params.quality.max_tie_share,
        "evaluation.confidence": params.evaluation.confidence,
        "gate.min_coverage": params.gate.min_coverage,
    }
    for name, value in shares.items():
        if not 0 <= value <= 1:
            yield f"{name}: {value} is not between 0 and 1"
    optional = {
        "sequences.min_known_share": params.sequences.min_known_share,
        "sequences.robots.max_log_share": params.sequences.robots.max_log_share,
    }
    for name, share in optional.items():
        if share is not None and not 0 < share <= 1:
            yield f"{name}: {share} is not between 0 and 1; null: not judged"
    most = {
        "sequences.min_part_sequences": params.sequences.min_part_sequences,
        "sequences.robots.max_steps_per_minute": params.sequences.robots.max_steps_per_minute,
        "sequences.robots.max_session_steps": params.sequences.robots.max_session_steps,
    }
    for name, bound in most.items():
        if bound is not None and bound <= 0:
            yield f"{name}: {bound} is not above 0; null: not judged"
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
        "training.processes": params.training.processes,
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
    yield from _runs_rules(params)
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
    yield from _pattern_rules(params.source.pattern)
    if not is_encoding(params.source.encoding):
        yield f"source.encoding: {params.source.encoding!r} is no encoding of text; utf-8, cp1252 and gb18030 are some"
    header = params.source.header or ()
    for name in sorted({name for name in header if header.count(name) > 1}):
        yield f"source.header: two columns are called {name!r}"
    if params.source.thousands is not None and (
        len(params.source.thousands) != 1
        or params.source.thousands == params.source.decimal
        or params.source.thousands in "+-eE0123456789"
    ):
        yield f"source.thousands: {params.source.thousands!r} must be one character: no digit, sign or decimal mark"
    if params.source.kind == "sql" and not params.source.sql_query:
        yield "source.sql_query: a table or a SELECT is needed where source.kind is sql"
    for name, model in params.models.items():
        at = f"models.{name}"
        if not NAME.fullmatch(name):
            yield f"{at}: a model's name is lower-case letters, digits and underscores"
        if name not in params.champion:
            yield f"champion.{name}: is missing; 0 says that there is none yet"
        if not model.heads:
            yield f"{at}.heads: a model needs at least one head"
        at_least_one |= {
            f"{at}.encoder.units": model.encoder.units,
            f"{at}.encoder.layers": model.encoder.layers,
            f"{at}.budget.epochs": 1 if model.budget.epochs is None else model.budget.epochs,
            f"{at}.budget.batch_tokens": model.budget.batch_tokens,
            f"{at}.budget.patience": model.budget.patience,
            f"{at}.budget.max_length": model.budget.max_length,
        }
        above_zero[f"{at}.optimiser.learning_rate"] = model.optimiser.learning_rate
        above_zero[f"{at}.optimiser.embedding_learning_rate"] = model.optimiser.embedding_learning_rate
        yield from _encoder_rules(f"{at}.encoder", model.encoder)
        yield from _augmentation_rules(at, model)
        for kind in dict.fromkeys(model.ensemble):
            for fault in _encoder_rules(f"{at}.encoder", replace(model.encoder, kind=kind)):
                yield f"{fault} (of the {kind} in {at}.ensemble)"
        for key, head in model.heads.items():
            if not isinstance(head, RankingHead):
                continue
            at_least_one[f"{at}.heads.{key}.horizon"] = head.horizon
            if head.loss != "full":
                at_least_one[f"{at}.heads.{key}.negatives"] = head.negatives
            yield from _loss_rules(f"{at}.heads.{key}", head)
    for name in params.champion:
        if name not in params.models:
            yield f"champion.{name}: no such model{nearest(name, params.models)}"
    for name, value in at_least_one.items():
        if value < 1:
            yield f"{name}: {value} is less than 1"
    for name, number in above_zero.items():
        if not number > 0:
            yield f"{name}: {number} is not above 0"


def _pattern_rules(pattern: str) -> Any:
    """A pattern finds files, and none outside the folder."""
    parts = pattern.split("/")
    if pattern.startswith("/") or ".." in parts:
        yield f"source.pattern: {pattern!r} leaves the folder source.path"
    elif pattern.strip("./") == "" or any("**" in part and part != "**" for part in parts):
        yield f"source.pattern: {pattern!r} is no pattern of files; such as '**/*' or '*.csv'"


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
            yield f"promotion.approve: there is no model {name!r}{nearest(name, params.models)}"


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
            yield f"watch.max_metric_drop: no metric {name!r} is measured{nearest(name, measured)}"
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


def _augmentation_rules(at: str, model: Model) -> Any:
    """Shares are shares, and a substitute must be known from somewhere."""
    for name, share in asdict(model.augmentation).items():
        if not 0 <= share < 1:
            yield f"{at}.augmentation.{name}: {share} is not in [0, 1)"
    counted = any(isinstance(head, RankingHead) and head.associations for head in model.heads.values())
    if model.augmentation.substitute and not counted:
        yield f"{at}.augmentation.substitute: takes items from the associations of a head, and no head has them on"


def _loss_rules(at: str, head: RankingHead) -> Any:
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


def _runs_rules(params: Params) -> Any:
    """The allow-list speaks of params that there are, and of none that no run may change."""
    sections = [one.name for one in fields(params)]
    for pattern in params.runs.overrides:
        section = pattern.partition(".")[0]
        if section in COMMIT_ALONE:
            yield f"runs.overrides: {pattern!r}: {section} comes from the commit alone; no run changes it"
        elif not any(fnmatchcase(name, section) for name in sections):
            yield f"runs.overrides: {pattern!r}: params.yaml has no {section!r}{nearest(section, sections)}"


def _gate_rules(params: Params) -> Any:
    """The gate speaks of metrics that the evaluation measures."""
    kinds = _ranked(params)
    ranked = [*kinds, *(f"{kind}_known" for kind in kinds)]
    gate = params.gate
    asked = [("gate.primary", gate.primary)]
    # what the other heads are measured by the gate checks when it reads it
    for where, names in (("gate.beat_baselines", gate.beat_baselines), ("gate.floors", gate.floors)):
        asked += [(where, name) for name in names if place_of(name)[0] == "next_item"]
    for where, name in asked:
        if name not in ranked:
            yield (
                f"{where}: no metric {name!r} is measured{nearest(name, ranked)}; by evaluation.cutoffs there is: "
                f"{', '.join(kinds) or 'none'}"
            )
    yield from _beaten_rules(params)
    if not 0.5 <= gate.champion.confidence < 1:
        yield f"gate.champion.confidence: {gate.champion.confidence} is not from 0.5 to below 1"
    for where, number in (("champion.margin", gate.champion.margin), ("max_slice_drop", gate.max_slice_drop)):
        if number < 0:
            yield f"gate.{where}: {number} is below 0"


def _beaten_rules(params: Params) -> Any:
    """Baselines are compared by means over rows, and are those that are evaluated."""
    for name, severities in params.gate.beat_baselines.items():
        of_actions = place_of(name)[0] == "next_action"
        if of_actions and name not in ROW_METRICS:
            yield (
                f"gate.beat_baselines: two systems cannot be compared by {name!r}{nearest(name, ROW_METRICS)}; of "
                f"next_action there is: {', '.join(ROW_METRICS)}"
            )
        own = params.evaluation.action_baselines if of_actions else params.evaluation.baselines
        place = "evaluation.action_baselines" if of_actions else "evaluation.baselines"
        for baseline in [] if isinstance(severities, str) else severities:
            if baseline not in (OTHERS, *own):
                yield (
                    f"gate.beat_baselines.{name}: no {baseline!r} is in {place}{nearest(baseline, own)}; "
                    f"there is: {', '.join(own) or 'none'}, and {OTHERS!r} for all others"
                )


def _tuning_rules(params: Params) -> Any:
    """Spaces speak of params that models have; whether their values fit a model is asked when it is tuned."""
    for name, number in (("epochs", params.tuning.epochs), ("max_sequences", params.tuning.max_sequences)):
        if number is not None and number < 1:
            yield f"tuning.{name}: {number} is less than 1"
    for name, space in params.tuning.space.items():
        if name != "*" and name not in params.models:
            yield f"tuning.space.{name}: no such model{nearest(name, params.models)}"
        for key, tuned in space.items():
            at = f"tuning.space.{name}.{key}"
            if key in model_keys():
                yield from _tuned_rules(at, tuned, model_keys()[key])
            else:
                yield f"{at}: a model has no such param{nearest(key, model_keys())}"


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


def is_encoding(name: str) -> bool:
    """Whether Python knows text of that encoding."""
    try:
        "".encode(codecs.lookup(name).name)
    except LookupError:
        return False
    return True
