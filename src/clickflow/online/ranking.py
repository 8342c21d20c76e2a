"""The items that are recommended: the best by a model's answer, as rules allow; and what is recommended where there is
no answer.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from msgspec import Struct, structs

from clickflow.artefact.windows import Ints
from clickflow.online import likeness
from clickflow.online.cut import Ranked
from clickflow.online.history import Question, Step
from clickflow.online.merchandising import Boost, Pin, placed
from clickflow.online.served import NO_CATEGORY, Served, Within
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.serving.forms import highest
from clickflow.system.errors import UsageError

SPARE = 20
"""So many more are looked at, because items of the history may be worth less than their score."""
NONE = np.zeros(0, np.int64)
RARE = 8
"""Where more than one in so many items is asked for, all are."""
POOL = 5
"""Where some of the best items may be passed over, so many times as many are looked at first."""
Fallback = Literal["category", "popularity_by_hour", "popularity"]
Reason = Literal["no_history", "unknown_actions", "unknown_items", "no_vectors"]

HOUR = 3_600_000_000
ELSEWHERE = 1e-6
"""Of a fallback by category, what the items of all others weigh."""


class Rules(Struct, frozen=True, kw_only=True):
    """What may be recommended."""

    k: int = 20
    output: str | None = None
    """Which ranking of the model; None: its first."""
    exclude: frozenset[str] = frozenset()
    """Items."""
    only: frozenset[str] | None = None
    """Items; None: all."""
    exclude_seen: bool = False
    """Whether items of the history are left out."""
    categories: frozenset[str] | None = None
    """Of items; None: all."""
    price: tuple[float | None, float | None] = (None, None)
    """Least and most; items without a price are left out where a bound is given."""
    per_category: int | None = None
    """So many items of a category at most; items without one are not counted."""
    diversity: float = 0.0
    """0: by score alone; 1: as unlike each other as can be, among the best `POOL` times k (maximal marginal relevance,
    Carbonell & Goldstein 1998).
    """
    pins: tuple[Pin, ...] = ()
    """Of different items and places, the places from 1 to k. No other rule has a say in them; a limit of a category
    counts them, and diversity looks at them as at what stands already.
    """
    boosts: tuple[Boost, ...] = ()
    """What the others are ordered by is the score, times the factors of those that name the item."""
    candidates: tuple[str, ...] | None = None
    """Items that are scored, all of them; None: the best k of all."""
    groups: bool = False
    """Whether what is made of it for categories is asked too (`Served.groups`): then all items are scored."""

    @property
    def open(self) -> int:
        """How many places no pin has."""
        return self.k - len(self.pins)

    def out(self, question: Question) -> frozenset[str]:
        """The items that the model may not recommend, pinned ones among them."""
        if not self.exclude_seen and not self.pins:
            return self.exclude
        seen = [step.item for step in question.steps] if self.exclude_seen else []
        return self.exclude.union(seen, [pin.item for pin in self.pins])


class Ranking(Struct, frozen=True):
    """The best first."""

    items: tuple[str, ...]
    scores: tuple[float, ...]
    """Probabilities; of a fallback the shares in the steps of training; of similar items their likeness, -1 to 1."""
    fallback: Fallback | None
    """None: the model's own answer; else what answered in its place: `category` (of the items in the history, by
    popularity at this hour), `popularity_by_hour`, `popularity` (of all hours, where the hour is not known).
    """
    model: str
    version: int
    reason: Reason | None = None
    """Why so, where it is a fallback: `no_history`, `unknown_actions` (no step is of a type that the model reads),
    `unknown_items` (the model knows no item of the history), `no_vectors` (of similar items).
    """
    approximate: bool = False
    """Whether an index found them: some of the best may be missing, and scores are near (`Served.index` says how)."""
    indexes: tuple[int, ...] = ()
    """Of the items, in the vocabulary of the version that answered; 0 of a pinned one that it does not know, whose
    score is NaN.
    """
    pinned: frozenset[str] = frozenset()
    """Those that stand where a pin says, and not by the model."""
    factors: tuple[float, ...] = ()
    """By item what boosts came to; none: there were none."""


def recommend(served: Served, question: Question, rules: Rules, logs: npt.NDArray[np.float32] | None = None) -> Ranking:
    """What `served` recommends; `logs`: what it answers about all items, where that is known already. Raises UsageError
    where it ranks nothing.
    """
    name = rules.output or served.ranking
    allowed = _allowed(served, question, rules)
    reason, fallback = lacking(served, question), None
    if reason:
        logs, fallback = _instead(served, question)
    elif logs is None:
        logs = served.answers([question])[name][0]
    worth = logs + served.items.weights(rules.boosts).logs if rules.boosts else logs
    best = _chosen(served, np.where(allowed, worth, -np.inf), int(allowed.sum()), rules)
    ranking = _named(served, best, logs[best], fallback, reason)
    return _as_merchants_say(served, ranking, rules, logs) if rules.pins or rules.boosts else ranking


def needed(served: Served, question: Question, rules: Rules) -> tuple[int, Ints] | None:
    """What `few` needs: how many of the best items, and which others; None: it has to be all."""
    if rules.groups:
        return None
    also = _pinned(served, rules)
    if rules.only is not None or rules.candidates is not None:
        wanted = _indexes(served, _wanted(rules))
        return 0, np.union1d(wanted, also) if len(also) else wanted
    within = _within(served, rules)
    if within is not None and within.few is not None:
        return 0, np.union1d(within.few, also) if len(also) else within.few
    passed_over = POOL if rules.per_category is not None or rules.diversity else 1
    out = len(rules.exclude) + (len(question.steps) if rules.exclude_seen else 0) + len(also)
    if rules.boosts:
        weighed = served.items.weights(rules.boosts).few
        if weighed is None:
            return None
        also, out = np.union1d(weighed, also), out + len(weighed)
    most = passed_over * rules.open + out + min(len(question.steps), SPARE)
    if within is not None:  # as many as there would be of all items, and half as many again
        most = math.ceil(1.5 * most * len(served.items) / within.count)
    return (most, also) if most * RARE < len(served.items) or within is None else None


def few(served: Served, question: Question, rules: Rules, ranked: Ranked) -> Ranking | None:
    """As `recommend`, of what `needed` says alone; None where that is too little to say it."""
    out, near = rules.out(question), served.approximate
    items, logs, within = ranked.items, ranked.logs, _within(served, rules)
    named, gone = rules.only is not None or rules.candidates is not None, _indexes(served, out)
    whole = named or (within is not None and within.few is not None)  # all that are allowed are here
    worth = logs
    if rules.boosts:
        items, logs, worth = _weighed(served, rules, ranked, whole=whole)
    elif not whole:
        items, worth = items[: ranked.sure], logs[: ranked.sure]
        logs = worth
    kept = np.isin(items, _indexes(served, _wanted(rules))) if named else None
    if len(gone):
        there = np.isin(items, gone, invert=True)
        kept = there if kept is None else kept & there
    if within is not None:
        kept = within.allowed[items] if kept is None else kept & within.allowed[items]
    if whole:
        allowed = len(items) if kept is None else int(kept.sum())
    elif within is None:
        allowed = len(served.items) - FIRST_ITEM - len(gone)
    else:
        allowed = within.count - int(within.allowed[gone].sum())
    if kept is not None:
        items, logs, worth = items[kept], logs[kept], worth[kept]
    best = _best_of(served, rules, (items, worth), allowed)
    if best is None:
        return None
    ranking = _named(served, items[best], logs[best], approximate=near)
    if not rules.pins and not rules.boosts:
        return ranking
    of = dict(zip(ranked.items.tolist(), ranked.logs.tolist(), strict=True))
    return _as_merchants_say(served, ranking, rules, of)


def _best_of(
    served: Served, rules: Rules, ordered: tuple[Ints, npt.NDArray[np.float32]], allowed: int
) -> Ints | slice | None:
    """The places of those of the items, the best first with what they are worth, that are recommended; `allowed`: so
    many there are in all. None: it takes more of them to say.
    """
    items, worth = ordered
    most = min(rules.open, allowed)
    if rules.per_category is None and not rules.diversity:
        return slice(most) if len(items) >= most else None
    width = min(POOL * most, allowed)
    if len(items) < width:
        return None
    pool = _few_of_each(np.arange(width), served.items.category[items[:width]], rules, served)
    if len(pool) < most and width < allowed:
        return None
    chosen: Ints = pool[_unlike(served, items[pool], worth[pool], most, rules)] if rules.diversity else pool[:most]
    return chosen


def _weighed(
    served: Served, rules: Rules, ranked: Ranked, *, whole: bool
) -> tuple[Ints, npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Items with their logs, and with what they are worth by boosts, by which they stand; where they are not all that
    are allowed, only those that are worth more than what is not here can be.
    """
    own = served.items.weights(rules.boosts).logs[ranked.items]
    worth = ranked.logs + own
    if whole:
        kept = np.arange(len(worth))
    else:
        sure = np.arange(len(worth)) < ranked.sure
        least = ranked.logs[ranked.sure - 1] if ranked.sure else np.inf  # without a boost nothing else is worth more
        kept = np.flatnonzero((worth > least) | (sure & (own == 0)))
    kept = kept[np.lexsort((ranked.items[kept], -worth[kept]))]
    return ranked.items[kept], ranked.logs[kept], worth[kept]


def _as_merchants_say(
    served: Served, ranking: Ranking, rules: Rules, logs: npt.NDArray[np.float32] | Mapping[int, float]
) -> Ranking:
    """With the pinned items in their places, and what boosts came to; `logs`: by index, of the pinned items too."""
    pinned = []
    for pin in rules.pins:
        index = served.items.index_of.get(pin.item, 0)
        pinned.append((pin.item, math.exp(logs[index]) if index else math.nan, index, 1.0))
    factors = [1.0] * len(ranking.items)
    if rules.boosts:
        own = served.items.weights(rules.boosts).factors[np.array(ranking.indexes, np.int64)]
        factors = [round(float(factor), 6) for factor in own]
    others = zip(ranking.items, ranking.scores, ranking.indexes, factors, strict=True)
    rows = placed(rules.pins, pinned, tuple(others))
    return structs.replace(
        ranking,
        items=tuple(row[0] for row in rows),
        scores=tuple(row[1] for row in rows),
        indexes=tuple(row[2] for row in rows),
        pinned=frozenset(pin.item for pin in rules.pins),
        factors=tuple(row[3] for row in rows) if rules.boosts else (),
    )


def _named(
    served: Served,
    best: Ints,
    logs: npt.NDArray[np.float32],
    fallback: Fallback | None = None,
    reason: Reason | None = None,
    *,
    approximate: bool = False,
) -> Ranking:
    ids = served.items.ids
    scores = tuple(np.exp(logs).tolist())
    indexes = tuple(best.tolist())
    names = tuple([ids[index] for index in indexes])
    return Ranking(names, scores, fallback, served.model, served.version, reason, approximate, indexes)


def _wanted(rules: Rules) -> frozenset[str]:
    """The items that are allowed, where they are named."""
    named = [frozenset(each) for each in (rules.only, rules.candidates) if each is not None]
    return frozenset.intersection(*named)


def _within(served: Served, rules: Rules) -> Within | None:
    """The items that are allowed by category and price; None: all."""
    if rules.categories is None and rules.price == (None, None):
        return None
    return served.items.within(rules.categories, *rules.price)


def _indexes(served: Served, names: frozenset[str]) -> Ints:
    index_of = served.items.index_of
    return np.array([index_of[name] for name in names if name in index_of], np.int64)


def lacking(served: Served, question: Question, read: Sequence[Step] | None = None) -> Reason | None:
    """Why the model's own ranking would say nothing; None: it does. `read`: the steps that it reads, if known."""
    if not question.steps:
        return "no_history"
    read = served.steps(question) if read is None else read
    if not read:
        known = any(step.action in served.action_of for step in question.steps)
        return "no_history" if known else "unknown_actions"
    return None if any(step.item in served.items.index_of for step in read) else "unknown_items"


def _instead(served: Served, question: Question) -> tuple[npt.NDArray[np.float32], Fallback]:
    """Log-shares by popularity at the hour of the question, and what that is called: of the categories of the history,
    where it has some, as often as each is met; other items come after theirs.
    """
    items = served.items
    last = question.steps[-1].time if question.steps else None
    now = last if question.now is None else question.now
    hour = None if now is None or not items.hourly else now // HOUR % 24
    share = items.shares(hour)
    met = Counter(_category(served, step) for step in question.steps)
    del met[NO_CATEGORY]
    weight = np.zeros(max(len(items.categories), FIRST_ITEM), np.float32)
    of_category = np.bincount(items.category, share, len(weight))
    for code, steps in met.items():
        if of_category[code] > 0:
            weight[code] = steps / of_category[code]
    if not weight.any():
        return _logs(share), "popularity" if hour is None else "popularity_by_hour"
    of_each = weight / (weight @ of_category) * (1 - ELSEWHERE) + ELSEWHERE
    return _logs(share * of_each[items.category]), "category"


def _logs(share: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    logs: npt.NDArray[np.float32] = np.log(np.maximum(share, 1e-12)).astype(np.float32)
    logs[:FIRST_ITEM] = -np.inf
    return logs


def _category(served: Served, step: Step) -> int:
    """That of a step, or of its item."""
    items = served.items
    if step.category is None and (index := items.index_of.get(step.item)) is not None:
        return int(items.category[index])
    return items.category_of.get(step.category or "", NO_CATEGORY)


def _chosen(served: Served, logs: npt.NDArray[np.float32], allowed: int, rules: Rules) -> npt.NDArray[np.int64]:
    """The indexes that are recommended, of so many that are allowed; the others have logs of minus infinity."""
    most = min(rules.open, allowed)
    if not most:
        return np.zeros(0, np.int64)
    width = most if rules.per_category is None and not rules.diversity else min(POOL * most, allowed)
    while True:
        best = highest(logs[None], width)[0][0].astype(np.int64)
        best = _few_of_each(best, served.items.category[best], rules, served)
        if len(best) >= most or width == allowed:
            break
        width = min(2 * width, allowed)
    chosen: Ints = best[_unlike(served, best, logs[best], most, rules)] if rules.diversity else best[:most]
    return chosen


def _few_of_each(best: Ints, category: Ints, rules: Rules, served: Served) -> Ints:
    """The first `per_category` of each category, less the pinned ones of it, in their order; items without a category
    are not counted.
    """
    most = rules.per_category
    if most is None:
        return best
    met = Counter(served.items.category[_pinned(served, rules)].tolist())
    kept = []
    for each, code in zip(best.tolist(), category.tolist(), strict=True):
        met[code] += 1
        if code < FIRST_ITEM or met[code] <= most:
            kept.append(each)
    return np.array(kept, np.int64)


def _unlike(served: Served, pool: Ints, logs: npt.NDArray[np.float32], most: int, rules: Rules) -> Ints:
    """Maximal marginal relevance: again and again that item of the pool whose score, less its likeness to what stands
    already, is best; scores are probabilities, as a share of the best one's. The places in the pool.
    """
    if not len(pool):
        return NONE
    weight, score = rules.diversity, np.exp(logs - logs.max())
    near, alike = np.zeros(len(pool), np.float32), likeness.among(served, pool)
    for index in _pinned(served, rules).tolist():
        near = np.maximum(near, likeness.to(served, index, pool))
    left, chosen = np.ones(len(pool), bool), []
    for _ in range(min(most, len(pool))):
        worth = np.where(left, (1 - weight) * score - weight * near, -np.inf)
        place = int(np.argmax(worth))
        left[place] = False
        chosen.append(place)
        near = np.maximum(near, alike(place))
    return np.array(chosen, np.int64)


def _pinned(served: Served, rules: Rules) -> Ints:
    return _indexes(served, frozenset(pin.item for pin in rules.pins)) if rules.pins else NONE


def similar(served: Served, item: str, k: int) -> Ranking:
    """The `k` items most like one, by `likeness`; where the model has no vectors, the most popular of its category (the
    fallback `category`). Raises UsageError where the model does not know the item.
    """
    index = served.items.index_of.get(item)
    if index is None:
        raise UsageError(
            f"{served.model}, version {served.version}, does not know the item {item!r}",
            kept="nothing was answered",
            next_step="ask for one of its vocabulary",
        )
    likest = likeness.nearest(served, index, k)
    if likest is None:
        every = np.arange(len(served.items))
        alike = every[(likeness.to(served, index, every) > 0) & (every != index)]
        order = alike[np.argsort(-served.items.count[alike], kind="stable")][:k]
        score = np.ones(len(order), np.float32)
    else:
        order, score = likest
    return Ranking(
        tuple(served.items.ids[at] for at in order.tolist()),
        tuple(score.tolist()),
        "category" if likest is None else None,
        served.model,
        served.version,
        "no_vectors" if likest is None else None,
        indexes=tuple(order.tolist()),
    )


def _allowed(served: Served, question: Question, rules: Rules) -> npt.NDArray[np.bool_]:
    within = _within(served, rules)
    allowed = np.ones(len(served.items), bool) if within is None else within.allowed.copy()
    allowed[:FIRST_ITEM] = False
    if rules.only is not None:
        allowed &= _marked(served, rules.only)
    if rules.candidates is not None:
        allowed &= _marked(served, frozenset(rules.candidates))
    allowed &= ~_marked(served, rules.out(question))
    return allowed


def _marked(served: Served, names: frozenset[str]) -> npt.NDArray[np.bool_]:
    marks = np.zeros(len(served.items), bool)
    marks[_indexes(served, names)] = True
    return marks
