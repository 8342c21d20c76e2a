"""Rules of params.yaml beyond types and bounds: the form of texts, and values that must fit each other.

Each function yields a line a fault, with its place.
"""

import codecs
import re
from dataclasses import asdict, fields, replace
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any, get_args

from clickflow.params.meta import default_of
from clickflow.params.models import (
    TAUGHT,
    Distillation,
    Encoder,
    Model,
    RankingHead,
    feature_names,
    has_features,
    heads,
    model_keys,
    model_kinds,
    units,
)
from clickflow.params.schema import Params
from clickflow.params.source import Source
from clickflow.params.tuning import METRICS, Tuned
from clickflow.system.errors import nearest

NAME = re.compile(r"[a-z][a-z0-9_]*")
COMMIT_ALONE = ("gate", "promotion", "registry", "champion", "schedule", "runs", "serve", "live", "score")
"""Sections that no run changes: the judged party does not set the rules."""
MOST_DELIMITER = 4
PART = 255
"""The most bytes of one part of a path."""
CRON_NAMES = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")


def rules(params: Params) -> Any:
    """What types and bounds alone do not say."""
    if params.sequences.valid_share + params.sequences.test_share >= 1:
        yield "sequences: valid_share and test_share leave nothing to train on"
    yield from _running_rules(params)
    yield from _watch_rules(params)
    yield from _score_rules(params)
    yield from _runs_rules(params)
    yield from _tuning_rules(params)
    # the room of heads stands above this one: heads join it from outside, so it is asked late
    yield from import_module("clickflow.heads.checks").checks(params)
    yield from _sequences_rules(params)
    yield from _source_rules(params.source)
    yield from _unit_rules(params.units)
    yield from _hand_made_rules(params)
    for name, model in params.models.items():
        yield from _model_rules(params, name, model)
    for name in params.champion:
        if name not in params.models:
            yield f"champion.{name}: no such model{nearest(name, params.models)}"


def _sequences_rules(params: Params) -> Any:
    parts = 1 + bool(params.sequences.valid_share) + bool(params.sequences.test_share)
    for unit in (units()[name] for name in params.units if name in units() and units()[name].as_of):
        days = unit.as_of(getattr(params.sequences, unit.section)).horizon_days
        least = parts * days + 2
        if params.source.kind == "simulator" and params.simulator.days < least:
            yield (
                f"units: {unit.name}: {params.simulator.days} days of simulator.days are too few for a horizon of "
                f"{days}: the answers of {parts} parts stand one after the other, which needs {least}"
            )
    if "purchase" not in params.sequences.customer.event_types:
        yield "sequences.customer.event_types: purchase is missing; whoever bought is a customer"
    plan = params.sequences.series.plan
    if plan and (PurePosixPath(plan).is_absolute() or ".." in PurePosixPath(plan).parts or not plan.endswith(".csv")):
        yield f"sequences.series.plan: {plan!r} is no CSV file below plans/series, named from there"
    if params.sequences.session.max_length < params.sequences.session.min_length:
        yield "sequences.session.max_length: is less than min_length"


def _source_rules(source: Source) -> Any:
    if source.delimiter is not None and (
        not 0 < len(source.delimiter.encode()) <= MOST_DELIMITER or set(source.delimiter) & set('"\r\n')
    ):
        yield f"source.delimiter: {source.delimiter!r} is not one plain character, or a few"
    yield from _pattern_rules(source.pattern)
    if any(len(part.encode()) > PART for part in source.path.split("/")):
        yield f"source.path: a part of the path has more than {PART} bytes"
    if not is_encoding(source.encoding):
        yield f"source.encoding: {source.encoding!r} is no encoding of text; utf-8, cp1252 and gb18030 are some"
    header = source.header or ()
    for name in sorted({name for name in header if header.count(name) > 1}):
        yield f"source.header: two columns are called {name!r}"
    if source.thousands is not None and (
        len(source.thousands) != 1 or source.thousands == source.decimal or source.thousands in "+-eE0123456789"
    ):
        yield f"source.thousands: {source.thousands!r} must be one character: no digit, sign or decimal mark"
    if source.kind == "sql" and not source.sql_query:
        yield "source.sql_query: a table or a SELECT is needed where source.kind is sql"


def _model_rules(params: Params, name: str, model: Model) -> Any:
    at = f"models.{name}"
    if not NAME.fullmatch(name):
        yield f"{at}: a model's name is lower-case letters, digits and underscores"
    for what, chosen, table in (("unit", model.unit, units()), ("kind", model.kind, model_kinds())):
        if chosen not in table:
            known = ", ".join(table)
            yield f"{at}.{what}: there is no {what} {chosen!r}; there is: {known}{nearest(chosen, table)}"
    if model.unit in units() and model.unit not in params.units:
        listed = ", ".join((*params.units, model.unit))
        yield f"{at}.unit: {model.unit!r} is not among units, so that its store is not made: units: [{listed}]"
    elsewhere = {column for unit in units().values() for column in unit.columns}
    for feature in model.encoder.features:
        if model.unit in units() and feature in elsewhere - set(units()[model.unit].columns):
            yield f"{at}.encoder.features: the unit {model.unit!r} has no {feature!r}"
    if name not in params.champion:
        yield f"champion.{name}: is missing; 0 says that there is none yet"
    if not model.heads:
        yield f"{at}.heads: a model needs at least one head"
    if model.kind in model_kinds():
        yield from _kind_rules(at, model)
    yield from _encoder_rules(f"{at}.encoder", model.encoder)
    yield from _augmentation_rules(at, model)
    for part, kinds in (("ensemble", model.ensemble), ("distillation.teacher", model.distillation.teacher)):
        for kind in dict.fromkeys(kinds):
            for fault in _encoder_rules(f"{at}.encoder", replace(model.encoder, kind=kind)):
                yield f"{fault} (of the {kind} in {at}.{part})"
    yield from _distillation_rules(f"{at}.distillation", model)
    if model.loss_weights == "learned" and len(model.heads) < 2:
        yield f"{at}.loss_weights: weighs several heads against each other, and this model has one; given leaves it"
    for key, head in model.heads.items():
        if isinstance(head, RankingHead):
            yield from _loss_rules(f"{at}.heads.{key}", head)
        if isinstance(head, RankingHead) and head.associations and not heads()[key].next_step:
            yield (
                f"{at}.heads.{key}.associations: are counted of the very next step, which this head does not ask "
                "about; false leaves them out"
            )


def _unit_rules(listed: tuple[str, ...]) -> Any:
    """Units that there are, each once: a stage is made of each."""
    for unit in dict.fromkeys(listed):
        if unit not in units():
            yield f"units: there is no unit {unit!r}; there is: {', '.join(units())}{nearest(unit, units())}"
        elif listed.count(unit) > 1:
            yield f"units: {unit!r} is listed twice"


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
    for name in params.promotion.approve:
        if name not in params.models:
            yield f"promotion.approve: there is no model {name!r}{nearest(name, params.models)}"


def _score_rules(params: Params) -> Any:
    if not NAME.fullmatch(params.score.sql_prefix):
        yield f"score.sql_prefix: {params.score.sql_prefix!r} is not of lower-case letters, digits and _"
    if not params.score.sql_url_env:
        yield "score.sql_url_env: names no environment variable"


def _watch_rules(params: Params) -> Any:
    """Windows can breach, and speak of metrics that the evaluation measures."""
    watch = params.watch
    if not 1 <= watch.breaches <= watch.windows:
        yield f"watch.breaches: {watch.breaches} is not from 1 to watch.windows, {watch.windows}"


def _encoder_rules(at: str, encoder: Encoder) -> Any:
    """What a kind of encoder does not read must not be given, and its sizes must fit together."""
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
    elif encoder.units % encoder.attention_heads:
        fitting = [str(n) for n in range(1, encoder.units + 1) if encoder.units % n == 0][:8]
        yield (
            f"{at}.attention_heads: {encoder.units} units cannot be divided by {encoder.attention_heads}; "
            f"there is: {', '.join(fitting)}"
        )


def _kind_rules(at: str, model: Model) -> Any:
    """A model has the params of its own kind, answers what that can, and reads features that there are."""
    kind, given = model_kinds()[model.kind], {each.name: default_of(each) for each in fields(Model)}
    for name, default in given.items():
        of = [other for other, each in model_kinds().items() if name in each.reads]
        if of and model.kind not in of and getattr(model, name) != default:
            yield f"{at}.{name}: is a param of kind {' and '.join(of)}; this model is of kind {model.kind}"
    for key, head in model.heads.items():
        answer = heads()[key].kind
        if answer not in kind.answers:
            able = " or ".join(other for other, each in model_kinds().items() if answer in each.answers)
            yield f"{at}.heads.{key}: kind {model.kind} gives no answer of kind {answer}; kind {able} does"
        elif "forecast" in kind.answers and not (heads()[key].column or heads()[key].of_forecast):
            yield f"{at}.heads.{key}: kind {model.kind} answers what a forecast tells, and {key} is nothing of the kind"
        elif answer == "ranking" and not kind.one_loss and head != heads()[key].params():
            yield f"{at}.heads.{key}: its params are of kind network; kind {model.kind} reads none of them: {key}: {{}}"
        if not kind.one_loss and head.weight != 1:
            yield f"{at}.heads.{key}.weight: weighs losses against each other; kind {model.kind} learns each head alone"
    if kind.as_of and model.unit in units() and units()[model.unit].as_of is None:
        yield f"{at}.kind: {model.kind} counts the days before a cut-off, and the unit {model.unit} has none"
    if "features" not in kind.reads or model.unit not in units():
        return
    if not has_features(model.unit):
        yield f"{at}.kind: {model.kind} reads hand-made features, and the unit {model.unit} has none"
    elif model.features == ():
        yield f"{at}.features: there is none; `all` reads all of the unit {model.unit}"
    elif model.features != "all":
        known = feature_names(model.unit)
        for name in model.features:
            if name not in known:
                yield f"{at}.features: the unit {model.unit} has no feature {name!r}{nearest(name, known)}"


def _augmentation_rules(at: str, model: Model) -> Any:
    """A substitute must be known from somewhere."""
    counted = any(isinstance(head, RankingHead) and head.associations for head in model.heads.values())
    if model.augmentation.substitute and not counted:
        yield f"{at}.augmentation.substitute: takes items from the associations of a head, and no head has them on"


def _distillation_rules(at: str, model: Model) -> Any:
    """A teacher teaches one network, what that can learn of it, and of steps as they were."""
    how = model.distillation
    if not how.teacher:
        if how != Distillation():
            yield f"{at}: has no effect without {at}.teacher, such as [gru, gru, gru]"
        return
    if model.ensemble:
        yield f"{at}: a teacher's pupil is one network; ensemble: [] leaves the others out"
    if not any(heads()[key].kind in TAUGHT for key in model.heads):
        yield f"{at}: no head of this model gives a distribution over answers, which is what a teacher teaches"
    for key, head in model.heads.items():
        if isinstance(head, RankingHead) and head.loss not in ("sampled", "full"):
            yield f"{at}: the scores of loss {head.loss} ({key}) are no probabilities to be taught; sampled has such"
    if model.augmentation.reorder or model.augmentation.substitute:
        yield f"{at}: augmentation changes steps, and the teacher's answers are to the steps as they were"


def _loss_rules(at: str, head: RankingHead) -> Any:
    """What a loss does not read must not be given."""
    if head.loss != "full" and head.negatives < 1:
        yield f"{at}.negatives: {head.negatives} is less than 1"
    owners = {"regularisation": ("bpr_max", head.regularisation), "calibration": ("bce", head.calibration)}
    for name, (owner, value) in owners.items():
        if value is not None and head.loss != owner:
            yield f"{at}.{name}: only loss {owner} reads it, and this is {head.loss}; null leaves it out"
    if head.label_smoothing and head.loss not in ("sampled", "full"):
        yield f"{at}.label_smoothing: loss {head.loss} has no labels to smooth; sampled and full have, 0 leaves it out"


def _hand_made_rules(params: Params) -> Any:
    """Hand-made features are of a unit that has some, and of the steps up to the one that is asked at."""
    for name, model in params.models.items():
        if model.kind != "network" or not model.encoder.hand_made:
            continue
        at = f"models.{name}.encoder.hand_made"
        if not has_features(model.unit):
            yield f"{at}: the unit {model.unit} has no hand-made features"
        if model.augmentation.reorder:
            yield (
                f"{at}: augmentation.reorder moves questions to other steps, and hand-made features are of the steps "
                "as they were; 0 there, or false here"
            )


def _runs_rules(params: Params) -> Any:
    """The allow-list speaks of params that there are, and of none that no run may change."""
    sections = [one.name for one in fields(params)]
    for pattern in params.runs.overrides:
        section = pattern.partition(".")[0]
        if section in COMMIT_ALONE:
            yield f"runs.overrides: {pattern!r}: {section} comes from the commit alone; no run changes it"
        elif not any(fnmatchcase(name, section) for name in sections):
            yield f"runs.overrides: {pattern!r}: params.yaml has no {section!r}{nearest(section, sections)}"


def _tuning_rules(params: Params) -> Any:
    """Spaces speak of params that models have; whether their values fit a model is asked when it is tuned."""
    rankings = [name for name, head in heads().items() if head.kind == "ranking"]
    known = ["loss", *heads(), *METRICS, *(f"{name}.{metric}" for name in rankings for metric in METRICS)]
    if params.tuning.objective not in known:
        yield (
            f"tuning.objective: no {params.tuning.objective!r} is measured{nearest(params.tuning.objective, known)}; "
            f"there is: {', '.join(known)}"
        )
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
        yield f"{at}: is not a number; give choices"
    elif tuned.low is None or tuned.high is None:
        yield f"{at}.{'high' if tuned.high is None else 'low'}: is missing; a range has low and high, or give choices"
    elif not tuned.low < tuned.high:
        yield f"{at}.low: {tuned.low} is not below high, {tuned.high}"
    elif tuned.log and not tuned.low > 0:
        yield f"{at}.low: {tuned.low} is not above 0, as log needs"
    elif tuned.log and tuned.step is not None:
        yield f"{at}.step: a range with log has none"
    elif float not in kinds and any(number % 1 for number in (tuned.low, tuned.high, tuned.step or 1)):
        yield f"{at}: low, high and step are whole numbers, as the param is"


def is_encoding(name: str) -> bool:
    """Whether Python knows text of that encoding."""
    try:
        "".encode(codecs.lookup(name).name)
    except LookupError:
        return False
    return True
