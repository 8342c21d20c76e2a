"""The search space of params.yaml, checked against the model, and drawn from.

A setting is a mapping of dotted names below `models.<name>` to JSON values, one for every param of the space.
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clickflow.params.file import with_values
from clickflow.params.models import Model, RankingHead, model_keys, model_kinds
from clickflow.params.schema import Params
from clickflow.params.tuning import METRICS, Tuned
from clickflow.system.errors import UsageError

if TYPE_CHECKING:
    import optuna

Setting = dict[str, Any]

COMPANIONS = 256
"""Combinations of other params that are asked whether a value fits any of them."""
DIGITS = 3
"""Significant digits of a number that is drawn from a range: what is trained is what params.yaml will say."""
LIKELIHOODS = ("sampled", "full")
"""Losses whose log loss can be compared with that of another, see docs/reference/models.md."""


@dataclass(frozen=True)
class Space:
    """The params of `model` that are tuned; `section` of tuning.space says so, the model's name or `*`."""

    model: str
    section: str
    tuned: Mapping[str, Tuned]

    def place(self, key: str) -> str:
        """Where a param of the space stands in params.yaml."""
        return f"tuning.space.{self.section}.{key}"


def of(params: Params, name: str) -> Space:
    """The space of a model, its own, or what its kind reads of that of all. UsageError where there is none."""
    section = name if name in params.tuning.space else "*"
    tuned = params.tuning.space.get(section)
    if tuned and section == "*":
        tuned = {key: each for key, each in tuned.items() if _read(params.model(name), key)}
    if not tuned:
        raise UsageError(
            f"there is nothing to tune: tuning.space.{name} in params.yaml is {'empty' if tuned == {} else 'missing'}",
            next_step="say there what may vary, such as `encoder.units: {low: 48, high: 200, log: true}`",
        )
    return Space(name, section, tuned)


def _read(model: Model, key: str) -> bool:
    """Whether a model's kind has a param; heads that share no loss have none of their own to tune."""
    kinds, first = model_kinds(), key.partition(".")[0]
    of = [name for name, kind in kinds.items() if first in kind.reads]
    return model.kind in of if of else kinds[model.kind].one_loss or first != "heads"


def current(params: Params, space: Space) -> Setting:
    """What the params of the space are now."""
    values: Any = asdict(params.model(space.model))
    setting = {}
    for key in space.tuned:
        place = values
        for part in key.split("."):
            place = place[part]
        setting[key] = list(place) if isinstance(place, tuple) else place
    return setting


def check(params: Params, space: Space) -> None:
    """UsageError, with every fault by name, where the model refuses a value whatever the other params are, or where
    the objective cannot compare what is tuned.
    """
    faults = list(_objective_faults(params, space))
    for key, tuned in space.tuned.items():
        for value in tuned.choices if tuned.choices is not None else _ends(key, tuned):
            fault = _refused(params, space, key, value)
            faults += [f"{space.place(key)}: {value!r} is refused: {fault}"] if fault else []
    if faults:
        raise UsageError(
            f"params.yaml has {len(faults)} fault{'s' if len(faults) > 1 else ''}:\n"
            + "\n".join(f"  {fault}" for fault in faults),
            kept="no trial was started",
            next_step=f"correct tuning.space.{space.section}, or give {space.model} a space of its own",
        )


def _objective_faults(params: Params, space: Space) -> Iterator[str]:
    objective, heads = params.tuning.objective, params.model(space.model).heads
    head = objective.partition(".")[0]
    if objective in METRICS and not any(isinstance(each, RankingHead) for each in heads.values()):
        yield f"tuning.objective: {objective} is of a head that ranks items, and model {space.model} has none"
    elif objective not in ("loss", *METRICS) and head not in heads:
        yield f"tuning.objective: {objective} is of the head {head}, which model {space.model} does not have"
    for name in heads:
        key = f"heads.{name}.loss"
        losses = set(space.tuned[key].choices or ()) if key in space.tuned else set()
        if objective in (name, "loss") and losses - set(LIKELIHOODS):
            wrong = ", ".join(sorted(losses - set(LIKELIHOODS)))
            yield (
                f"{space.place(key)}: {wrong} is no likelihood, so tuning.objective {objective} cannot compare it with "
                "others; mrr@20 can"
            )
    if objective == "loss":
        for key in space.tuned:
            if key.endswith(".weight"):
                yield f"{space.place(key)}: the objective, loss, is weighted by it; choose one that is not"
    if params.tuning.epochs is not None and "budget.epochs" in space.tuned:
        yield f"{space.place('budget.epochs')}: tuning.epochs sets it for every trial; null there leaves it free"


def _refused(params: Params, space: Space, key: str, value: Any) -> str:
    """Why the model takes a value with no choice of other params; empty where it takes it with one."""
    others = {k: t.choices for k, t in space.tuned.items() if t.choices is not None and k != key}
    combinations = itertools.islice(itertools.product(*others.values()), COMPANIONS)
    first = ""
    for companions in itertools.chain([{}], (dict(zip(others, chosen, strict=True)) for chosen in combinations)):
        try:
            with_values(params, space.model, {**companions, key: value})
        except UsageError as error:
            first = first or error.what.splitlines()[0]
        else:
            return ""
    return first


def _whole(key: str) -> bool:
    return model_keys()[key] is int or int in getattr(model_keys()[key], "__args__", ())


def _ends(key: str, tuned: Tuned) -> list[float]:
    assert tuned.low is not None
    assert tuned.high is not None
    return [int(tuned.low), int(tuned.high)] if _whole(key) else [tuned.low, tuned.high]


def word(value: Any) -> Any:
    """A value as Optuna keeps a choice: text for a list."""
    return json.dumps(value) if isinstance(value, (list, tuple)) else value


def inside(space: Space, key: str, value: Any) -> bool:
    """Whether the space has a value of a param."""
    tuned = space.tuned[key]
    if tuned.choices is not None:
        return word(value) in [word(choice) for choice in tuned.choices]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    low, high = _ends(key, tuned)
    steps = (value - low) / tuned.step if tuned.step else 0.0
    return low <= value <= high and abs(steps - round(steps)) < 1e-6


def combinations(space: Space) -> int | None:
    """How many settings the space has; None where a param has a range."""
    choices = [tuned.choices for tuned in space.tuned.values() if tuned.choices is not None]
    if len(choices) < len(space.tuned):
        return None
    return math.prod(len({word(choice) for choice in each}) for each in choices)


def draw(trial: "optuna.Trial", space: Space, given: Mapping[str, Any]) -> Setting:
    """What a trial tries; `given` are values from outside the space, which are not drawn."""
    setting: Setting = {}
    for key, tuned in space.tuned.items():
        if key in given:
            setting[key] = given[key]
        elif tuned.choices is not None:
            known = {word(choice): choice for choice in tuned.choices}
            chosen = known[trial.suggest_categorical(key, list(known))]
            setting[key] = list(chosen) if isinstance(chosen, tuple) else chosen
        elif _whole(key):
            low, high = _ends(key, tuned)
            setting[key] = trial.suggest_int(key, int(low), int(high), step=int(tuned.step or 1), log=tuned.log)
        else:
            low, high = _ends(key, tuned)
            number = trial.suggest_float(key, low, high, step=tuned.step, log=tuned.log)
            setting[key] = round(number, 10) if tuned.step else float(f"{number:.{DIGITS}g}")
    return setting
