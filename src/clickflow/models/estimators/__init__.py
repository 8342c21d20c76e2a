"""Classical models of a table of features: logistic regression, boosted trees, and a blend of both.

`fit` fits one, `load` brings back what an `Estimator` saved. Kinds of answer as in the heads: `probability` and
`classes` give log-probabilities, `amount` an expected value and its quantiles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from clickflow.models.estimators import blending
from clickflow.models.estimators.estimator import Estimator, Member, extended, load
from clickflow.models.estimators.further import fit_further, fit_growth
from clickflow.models.estimators.hurdle import Fit, fit_hurdle, has_hurdle
from clickflow.models.estimators.lifetime import COLUMNS, READS, fit_lifetime
from clickflow.models.estimators.linear import fit_column, fit_linear
from clickflow.models.estimators.problem import Folds, Problem
from clickflow.models.estimators.trees import fit_trees
from clickflow.sequences.features import Array
from clickflow.system.errors import DataError, UsageError, nearest
from clickflow.system.moments import DAY

__all__ = [
    "ANSWERS",
    "KINDS",
    "PARAMS",
    "Estimator",
    "Rows",
    "ceiling",
    "few_answers",
    "fit",
    "fit_horizons",
    "load",
    "reads_histories",
    "recency",
]

KINDS: dict[str, tuple[str, ...]] = {
    "logistic": ("linear",),
    "boosting": ("boosting",),
    "blend": ("linear", "core", "lifetime", "sharp", "shallow"),
}
"""By kind of model, the members that are fitted; `core` and `lifetime` where the features have what they read."""
OF_AMOUNTS = ("core", "lifetime", "boosting", "shallow", "hurdle", "linear_hurdle")
"""The members of a blend of amounts. Regressions read few features or the logs of what is spent: one of money on all
features ranks the few who spend most worse than trees do.

Both hurdles part whether somebody spends from how much: one large order does not say that its like come back.
"""
AMOUNT_L2 = 10
"""How much stronger `l2` is for amounts, of which a few are very large."""
AMOUNT_SHRINKAGE = 100
"""So is `shrinkage`: which member foresaw the few largest orders is chance, and the weights stay near equal."""
HUGE = 20
"""Times the 99th percentile of what is spent: more than that is learned from as that (`ceiling`)."""
CORE = (
    "recency_days",
    "tenure_days",
    "purchases",
    "repeat_days",
    "amount",
    "amount_mean",
    "purchases_30d",
    "purchases_90d",
    "purchases_180d",
    "gap_mean_days",
    "overdue",
)
"""What the member `core` reads beside the columns of `lifetime`: few features, for few customers."""
MONEY = (
    *CORE,
    "purchases_7d",
    "purchases_365d",
    "purchases_decayed_30d",
    "purchases_decayed_90d",
    "purchases_decayed_365d",
    "purchase_rate",
    "active_blocks",
    "season_30d",
    "season_90d",
    "amount_largest",
    "amount_last",
    "amount_variation",
    "amount_day_mean",
    "amount_decayed_90d",
    "amount_30d",
    "amount_90d",
    "amount_180d",
    "amount_365d",
)
"""And what `linear_hurdle` reads, where they are there; else all."""
SHALLOW = {"leaves": 6, "random_thresholds": True, "learning_rate": 0.06, "min_rows": 30, "most_rounds": 400}
"""What differs in the member `shallow`: small trees whose thresholds are drawn, which differ more from each other."""
SHARP = {"feature_share": 1.0, "row_share": 1.0, "leaf_l2": 0.001, "bins": 255, "boosters": 1}
"""And in `sharp`: nothing is left to chance, and thresholds are fine. Who is billed every month is gone a few
days after the day on which the bill was due.
"""
PRICES = {"sharp": 0.001}
"""What a unit of a member's weight costs, in nats, where members are weighed on other days too: it is in the blend of
shops whose habits are sharp, and not of others, whose days it learns (docs/decisions/0030-a-price-of-sharp-trees.md).
"""
TREES: dict[str, dict[str, Any]] = {"boosting": {}, "shallow": SHALLOW, "sharp": SHARP}
"""By member that is of boosted trees, the params of its own."""
ANSWERS = ("probability", "classes", "amount")
"""Kinds of answer that an estimator gives."""
PARAMS: dict[str, Any] = {
    "horizon_days": 0,
    "asked_days": 0,
    "classes": 0,
    "folds": 3,
    "most_rows": 50_000,
    "l2": 0.003,
    "learning_rate": 0.05,
    "most_rounds": 200,
    "patience": 20,
    "leaves": 15,
    "random_thresholds": False,
    "min_rows": 50,
    "feature_share": 0.5,
    "row_share": 0.7,
    "leaf_l2": 20.0,
    "bins": 63,
    "boosters": 2,
    "shrinkage": 0.003,
    "threads": 1,
}
"""What `fit` may be told, and the defaults. `horizon_days`: adds the columns of `lifetime`, where the features
have what it reads; 0: not. `asked_days`: the horizon that is asked about, where it is longer than that of the answers
(`further`); 0: the same. `classes`: how many; 0: as the target has.
"""


HALF_LIFE_DAYS = 120
"""By how much older a cut-off is that counts half as much."""


def recency(times: Array) -> Array:
    """Weights [N] of rows by the times of asking, int64 [N] microseconds: 1 for the latest, .5 for 120 days before.

    Shops change with the season: of cut-offs weeks and months back the later ones say more of the next.
    """
    weights: Array = 0.5 ** ((times.max(initial=0) - times) / (HALF_LIFE_DAYS * DAY))
    return weights


def ceiling(target: Array) -> float:
    """The amount that larger ones of a target [N] are learned from as: `HUGE` times the 99th percentile of those above
    0; inf where there is none. An order of a billion, mostly a slip, would be all that trees and weights are fitted to.
    """
    some = target[target > 0]
    return HUGE * float(np.quantile(some, 0.99)) if len(some) else float("inf")


def fit(
    kind: str,
    x: Array,
    target: Array,
    *,
    kind_of_answer: str,
    valid: tuple[Array, Array] | None = None,
    groups: Array | None = None,
    weights: Array | None = None,
    times: Array | None = None,
    names: Sequence[str] = (),
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
) -> Estimator:
    """Fit a `kind` of model to features x [N, F] and a target [N]; what is below 0 in it is nobody's and left out. An
    amount counts up to `ceiling`.

    How many rounds and which weights of members is decided by folds over `groups` (customers, visits; none given: each
    row is its own), so that no answer is judged by a model that saw it. With the `times` of asking, int64 [N], of
    `FEWEST_TIMED` rows or more, a third of them is judged by models of other days too (`Problem.folds`).
    `valid` (x, target) joins the rows at their end; `groups`, `weights` and `times` are then of both. `names` of the
    features let it find those that `lifetime` reads.
    Raises UsageError for an unknown kind or param, and where answers are of a shorter horizon than is asked about and
    those features are not there; DataError where the rows cannot teach anything.
    """
    import scipy.optimize  # noqa: F401
    import sklearn.linear_model  # noqa: F401 - what is loaded later would have all threads
    from threadpoolctl import threadpool_limits

    settings = _settings(kind, kind_of_answer, params or {})
    problem = _problem(x, target, valid, groups, weights, times, kind_of_answer, settings)
    problem = problem.part(_drawn(len(problem), int(settings["most_rows"]), seed))
    # one thread: the same digits on every machine, and no waiting for a core that others use
    with threadpool_limits(1):
        return _fit(kind, problem, kind_of_answer, names, seed, settings)


def _fit(
    kind: str,
    problem: Problem,
    kind_of_answer: str,
    names: Sequence[str],
    seed: int,
    settings: dict[str, Any],
) -> Estimator:
    features = problem.x.shape[1]
    if kind_of_answer == "amount":
        settings["l2"] *= AMOUNT_L2
        settings["shrinkage"] *= AMOUNT_SHRINKAGE
    lifetime, reads = None, _reads(names) if settings["horizon_days"] else ()
    if reads:
        latest = _latest(problem, reads[2])
        history = problem.x[latest][:, reads].astype(np.float64)
        lifetime = fit_lifetime(history, float(settings["horizon_days"]))
        problem = _with_columns(problem, extended(problem.x, lifetime, reads))
        names = (*names, *COLUMNS)
    days = float(settings["asked_days"])
    shorter = days > settings["horizon_days"]
    if shorter and not lifetime:
        raise UsageError(f"answers about {days:g} days from those of fewer need a horizon and {', '.join(READS)}")
    kinds, dated = _kinds(kind, kind_of_answer), problem.times is not None
    problem = _timed(problem, int(settings["folds"]))
    folds, other_days = _folds(problem, int(settings["folds"]), seed) if _judged(kinds, problem) else ([], np.empty(0))
    members, scores = _members(kinds, problem, settings, folds, seed, names)
    judged = np.flatnonzero(~np.isnan(scores[0, :, 0]))
    if len(members) > 1 or kind_of_answer == "amount":
        share, bias, levels = blending.blend(
            scores[:, judged],
            problem.part(judged),
            float(settings["shrinkage"]),
            other_days[judged],
            [PRICES.get(member, 0.0) if problem.times is not None else 0.0 for member in members],
        )
    else:
        share, bias, levels = (1.0,) * len(members), 0.0, None
    curves = further = growth = None
    if kind_of_answer == "amount":
        rows = problem.part(judged)
        if shorter and lifetime:
            growth = fit_growth(lifetime, rows.x[:, reads].astype(np.float64), rows.weights, days)
            bias += float(np.log(growth.more))
        log_mean = np.tensordot(np.array(share), scores[:, judged, 0], axes=1) + bias
        curves = blending.curves(log_mean, rows, growth)
    elif shorter:
        further = fit_further(problem, names.index("bgnbd_buys"), days)
    if levels and (horizon := float(settings["horizon_days"])):
        bias += levels.season(horizon, max(horizon, days))
    return Estimator(
        kind=kind,
        answer=kind_of_answer,
        features=features,
        classes=problem.classes,
        members=members,
        weights=share,
        bias=bias,
        curves=curves,
        lifetime=lifetime,
        reads=reads,
        further=further,
        rows=len(problem),
        other_days=problem.times is not None if dated and _judged(kinds, problem) else None,
    )


@dataclass(frozen=True)
class Rows:
    """N questions and what came of each within `days`; as `fit` takes them."""

    x: Array
    target: Array
    groups: Array
    weights: Array
    days: float
    times: Array | None = None


def fit_horizons(
    kind: str,
    rows: Rows,
    nearer: Rows | None,
    *,
    horizon: float,
    kind_of_answer: str,
    names: Sequence[str] = (),
    seed: int = 0,
    params: Mapping[str, Any] | None = None,
) -> Estimator:
    """Fit a `kind` to answers within the `horizon` that is asked about, or within a shorter one, moved on to the whole
    of it; with the rows of a `nearer` one beside them, to each: what is answered is the mean. Answers of half a horizon
    are there of later days, and of more of them.

    Where the nearer ones cannot teach anything, the others are all that there is: the estimator has no `nearer` then.
    Raises what `fit` raises for `rows`; those of a shorter horizon need features as `reads_histories` says.
    """

    def fitted(each: Rows) -> Estimator:
        settings = dict(params or {}) | {"horizon_days": each.days, "asked_days": horizon}
        return fit(
            kind,
            each.x,
            each.target,
            kind_of_answer=kind_of_answer,
            groups=each.groups,
            weights=each.weights,
            times=each.times,
            names=names,
            seed=seed,
            params=settings,
        )

    estimator = fitted(rows)
    if nearer is None:
        return estimator
    try:
        return replace(estimator, nearer=fitted(nearer))
    except DataError:
        return estimator


MANY = 6
"""Horizons of log, from which on answers of half of one tell nothing that whole ones do not."""


def few_answers(log_days: float, horizon: float) -> bool:
    """Whether a log of so many days before the day that is asked about is short for its horizon, so that a `nearer` one
    is worth its time: there are few moments with whole answers then, and the last of them lies far back.
    """
    return log_days < MANY * horizon


def reads_histories(names: Sequence[str]) -> bool:
    """Whether features have what BG/NBD reads, without which no answer is moved to a longer horizon."""
    return bool(_reads(names))


def _kinds(kind: str, answer: str) -> tuple[str, ...]:
    return OF_AMOUNTS if (kind, answer) == ("blend", "amount") else KINDS[kind]


def _settings(kind: str, answer: str, params: Mapping[str, Any]) -> dict[str, Any]:
    for what, name, known in (("kind of model", kind, KINDS), ("kind of answer", answer, ANSWERS)):
        if name not in known:
            raise UsageError(f"there is no {what} {name!r}; there is: {', '.join(known)}{nearest(name, known)}")
    for name in params:
        if name not in PARAMS:
            raise UsageError(f"an estimator has no param {name!r}{nearest(name, PARAMS)}")
    return PARAMS | dict(params)


def _problem(
    x: Array,
    target: Array,
    valid: tuple[Array, Array] | None,
    groups: Array | None,
    weights: Array | None,
    times: Array | None,
    answer: str,
    settings: Mapping[str, Any],
) -> Problem:
    if valid is not None and len(valid[1]):
        x, target = np.concatenate([x, valid[0]]), np.concatenate([target, valid[1]])
    x, target = np.ascontiguousarray(x, np.float32), np.asarray(target, np.float64)
    n = len(target)
    for name, given in (("x", x), ("groups", groups), ("weights", weights), ("times", times)):
        if given is not None and len(given) != n:
            raise ValueError(f"{n} targets and {len(given)} {name}")
    kept = np.flatnonzero(target >= 0)
    if len(kept) < 2:
        raise DataError(f"{len(kept)} rows have an answer: nothing can be learned", next_step="take a longer log")
    classes = 0
    if answer != "amount":
        classes = 2 if answer == "probability" else max(int(settings["classes"]), int(target.max()) + 1, 2)
        present = np.unique(target[kept])
        if len(present) < 2:
            only = ("no", "yes")[int(present[0])] if answer == "probability" else f"class {int(present[0])}"
            raise DataError(f"all {len(kept):,} questions are answered by {only}: nothing can be learned")
    elif not (target[kept] > 0).any():
        raise DataError(f"the amount is 0 in all {len(kept):,} answers: nothing can be learned")
    else:
        target = np.minimum(target, ceiling(target))
    return Problem(
        x=x[kept],
        target=target[kept],
        weights=np.ones(len(kept)) if weights is None else np.asarray(weights, np.float64)[kept],
        groups=kept if groups is None else np.asarray(groups)[kept],
        answer=answer,
        classes=classes,
        plain=(False,) * x.shape[1],
        times=None if times is None else np.asarray(times)[kept],
    )


def _reads(names: Sequence[str]) -> tuple[int, ...]:
    return tuple(names.index(name) for name in READS) if set(READS) <= set(names) else ()


def _latest(problem: Problem, tenure: int) -> Array:
    """The latest row of each group: that of the longest tenure."""
    order = np.lexsort((np.nan_to_num(problem.x[:, tenure], nan=-1.0), problem.groups))
    last = np.append(problem.groups[order][1:] != problem.groups[order][:-1], True)
    latest: Array = order[last]
    return latest


def _with_columns(problem: Problem, x: Array) -> Problem:
    return replace(problem, x=x, plain=problem.plain + (True,) * len(COLUMNS))


def _members(
    kinds: tuple[str, ...], problem: Problem, settings: dict[str, Any], folds: Folds, seed: int, names: Sequence[str]
) -> tuple[dict[str, Member], Array]:
    """The members, fitted to all rows, and their scores [M, N, S] of rows that they were not fitted to."""
    scored: dict[str, tuple[Member, Array]] = {}
    l2 = float(settings["l2"])
    for kind in kinds:
        if kind == "linear":
            scored[kind] = fit_linear(problem, l2, folds)
        elif kind == "core":
            if columns := _columns((*CORE, *COLUMNS), names):
                scored[kind] = fit_linear(problem, l2, folds, columns)
        elif kind == "lifetime":
            column = "bgnbd_spend" if problem.answer == "amount" else "bgnbd_buys"
            if column in names and problem.width == 1:
                scored[kind] = fit_column(problem, names.index(column))
        elif kind in ("hurdle", "linear_hurdle"):
            if has_hurdle(problem, folds):
                scored[kind] = fit_hurdle(problem, *_parts(kind, settings, folds, seed, names))
        else:
            scored[kind] = fit_trees(problem, settings | TREES[kind], folds, seed)
    members = {kind: member for kind, (member, _) in scored.items()}
    return members, np.stack([scores for _, scores in scored.values()])


def _judged(kinds: tuple[str, ...], problem: Problem) -> bool:
    """Whether rounds, weights or quantiles follow from answers that a member did not see."""
    return len(kinds) > 1 or kinds == ("boosting",) or problem.answer == "amount"


def _timed(problem: Problem, n: int) -> Problem:
    """The problem, without times where it has too few rows or moments for folds of n spans of time."""
    enough = problem.times is not None and len(problem) >= FEWEST_TIMED and len(np.unique(problem.times)) >= n
    return problem if enough else replace(problem, times=None)


def _columns(wanted: Sequence[str], names: Sequence[str]) -> list[int] | None:
    """Where they stand among `names`; None unless all do."""
    return [names.index(name) for name in wanted] if {*wanted} <= {*names} else None


def _parts(kind: str, settings: dict[str, Any], folds: Folds, seed: int, names: Sequence[str]) -> tuple[Fit, Fit]:
    """How a hurdle fits whether and how much."""
    if kind == "hurdle":
        trees = partial(fit_trees, params=settings | SHALLOW, folds=folds, seed=seed)
        return trees, trees
    l2 = float(settings["l2"])
    linear = partial(fit_linear, folds=folds, columns=_columns((*MONEY, *COLUMNS), names))
    return partial(linear, l2=l2 / AMOUNT_L2), partial(linear, l2=l2)


def _drawn(n: int, most: int, seed: int) -> Array:
    """Numbers of at most so many rows, drawn by chance, in order."""
    rows: Array = np.arange(n) if n <= most else np.sort(np.random.default_rng(seed).permutation(n)[:most])
    return rows


def _folds(problem: Problem, n: int, seed: int) -> tuple[Folds, Array]:
    """Folds whose rows to fit on can teach something, those of spans of time among them where the problem has times;
    and which rows [N] are asked by those. DataError where there is none.
    """
    folds, other_days = [], np.zeros(len(problem), bool)
    for number, (fitted, held) in enumerate(problem.folds(n, seed)):
        target = problem.target[fitted]
        if len(held) and len(fitted) > 1 and len(np.unique(target)) > 1 and (target > 0).any():
            folds.append((fitted, held))
            other_days[held] = number >= n
    if not folds:
        raise DataError(
            f"{len(np.unique(problem.groups)):,} customers or visits are too few to learn from",
            next_step="take a longer log",
        )
    return folds, other_days


FEWEST_TIMED = 3000
"""Rows, of fewer of which none is asked by folds of time: a third of them would say too little."""
