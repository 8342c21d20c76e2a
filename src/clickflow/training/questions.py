"""What models of hand-made features learn from: questions drawn from a part of a store, each as of a moment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clickflow.features import Spans
from clickflow.heads import named
from clickflow.heads.head import steps_of
from clickflow.models import estimators
from clickflow.params.models import Model
from clickflow.sequences.features import Array
from clickflow.sequences.store import Card, PackedSplit
from clickflow.system.moments import DAY


@dataclass(frozen=True)
class Drawn:
    """N questions of a split, of `of` that it has."""

    split: PackedSplit
    spans: Spans
    until: Array
    """[N] the index after the last step that answers come from."""
    of: int
    owner: Array
    """[N] whose each is, by a number that is the same in every part (`store.owners`)."""

    def targets(self, head: str, card: Card) -> Array:
        """[N] the answers of a head; NOTHING where it asks nothing."""
        return np.asarray(named(head).targets(self.split, self.spans.end - 1, self.until, card))


def drawn(split: PackedSplit, spec: Model, seed: int, owner: Array) -> Drawn:
    """At most `spec.max_questions` of a split, evenly spread by chance, in their order; `owner` [n]: of sequences."""
    last = split.asks == "last"
    where = np.flatnonzero(np.asarray(split.end) > np.asarray(split.begin)) if last else np.arange(split.n_events)
    of = len(where)
    if of > spec.max_questions:
        where = where[np.sort(np.random.default_rng(seed).choice(of, spec.max_questions, replace=False))]
    sequence = where if last else np.searchsorted(np.asarray(split.offsets), where, side="right") - 1
    begin, end, until = (np.asarray(each[sequence], np.int64) for each in (split.begin, split.end, split.until))
    end = end if last else where + 1
    now = split.time[end - 1] if split.cut_off is None else split.cut_off[sequence]
    return Drawn(split, Spans(begin, end, np.asarray(now, np.int64)), until, of, owner[sequence])


def half_of(spec: Model, card: Card, chosen: tuple[str, ...], parts: Sequence[Drawn]) -> int:
    """The days of half the horizon of a store, where a model of the `chosen` features learns from answers of these too
    (`models.*.blend.half_horizon`), for the parts that it learns from are few horizons long; 0: it does not.
    """
    horizon = int(card.own_settings.get("horizon_days", 0))
    wanted = spec.kind == "blend" and spec.blend.half_horizon and any(named(head).of_purchases for head in spec.heads)
    if not (wanted and horizon and estimators.reads_histories(chosen)):
        return 0
    first = min(int(rows.split.time[rows.spans.begin].min()) for rows in parts)
    last = max(int(rows.spans.now.max()) for rows in parts)
    return horizon // 2 if estimators.few_answers((last - first) / DAY + horizon, horizon) else 0


def halves(rows: Drawn, half: int, card: Card) -> tuple[Drawn, Drawn]:
    """Questions about the first `half` days of the answers of others, and, of who is asked about as of then, about as
    many at their end; the answers that these belong to hold both. Who bought for the first time in between is missing:
    the part does not hold them.
    """
    start = rows.spans.now
    middle = start + (int(card.own_settings["horizon_days"]) - half) * DAY
    first = Drawn(rows.split, rows.spans, _before(rows, start + half * DAY), rows.of, rows.owner)
    end = _before(rows, middle)
    bought, until = steps_of(rows.split, card, "purchase")
    latest = rows.split.time[bought[until[end] - 1]]
    kept = np.flatnonzero(latest >= middle - int(card.own_settings["active_days"]) * DAY)
    spans = Spans(rows.spans.begin[kept], end[kept], middle[kept])
    return first, Drawn(rows.split, spans, rows.until[kept], rows.of, rows.owner[kept])


def _before(rows: Drawn, moment: Array) -> Array:
    """The index after the last step of each answer before a moment [N], by halving; steps are in the order of time."""
    time, low, high = rows.split.time, rows.spans.end.copy(), rows.until.copy()
    while (unsure := low < high).any():
        middle = (low + high) // 2
        earlier = unsure & (time[np.minimum(middle, len(time) - 1)] < moment)
        low, high = np.where(earlier, middle + 1, low), np.where(unsure & ~earlier, middle, high)
    return low
