"""Whether questions, answers and outcomes are distributed as they were: the last day beside the days before, and a
canary or shadow beside the champion.

All is counted by visitor, and the distance is that of `clickflow.monitoring.drift`: total variation, with the noise
that so many visitors have by themselves, who are drawn whole. A dimension has moved where distance > bound + noise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from clickflow.events.contract import EVENT_TYPES
from clickflow.monitoring import drift
from clickflow.online.live import log
from clickflow.online.live.metrics import Ints, Joined, Values
from clickflow.params.schema import Params
from clickflow.system.moments import DAY

if TYPE_CHECKING:
    import pyarrow as pa

BOUND = 0.1
"""So much of one distribution may be otherwise."""
STEPS = (0, 1, 2, 4, 8, 16)
"""Histories by length, from so many steps on."""
FIRST = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Rankings by the score of the first item, from so much on."""
ACTIONS = (*EVENT_TYPES, "none")
LAST_DAY = "last day"


@dataclass(frozen=True)
class Dimensions:
    """Dimensions of a vector of cells, each with so many."""

    sizes: Mapping[str, int]

    def shares(self, totals: Values) -> dict[str, Values]:
        """As `monitoring.drift.Cells`."""
        shares = {}
        for (name, size), end in zip(self.sizes.items(), accumulate(self.sizes.values()), strict=True):
            part = totals[..., end - size : end]
            with np.errstate(all="ignore"):
                shares[name] = part / part.sum(axis=-1, keepdims=True)
        return shares


def moved(params: Params, joined: Joined, outcomes: "pa.Table", now: int) -> list[dict[str, Any]]:
    """By model, group and dimension: distance, noise, and whether that is beyond the bound."""
    at = joined.answers["at"].cast("int64").to_numpy()
    arms = np.array([group.arm for group in joined.groups], dtype=str)[joined.group]
    of = np.array([group.model for group in joined.groups], dtype=str)[joined.group]
    result = []
    for model in params.models:
        mine = of == model
        champion = mine & (arms == log.CHAMPION)
        sides = {LAST_DAY: (champion & (at > now - DAY), champion & (at <= now - DAY))}
        sides |= {arm: (mine & (arms == arm), champion) for arm in (log.CANARY, log.SHADOW)}
        for name, (rows, others) in sides.items():
            if name != LAST_DAY and rows.any():
                others &= at >= at[rows].min()  # of the same time
            result += list(_compared(params, joined, outcomes, model, name, rows, others))
    return result


def _compared(
    params: Params, joined: Joined, outcomes: "pa.Table", model: str, name: str, rows: Any, others: Any
) -> Iterator[dict[str, Any]]:
    least = params.watch.min_sequences
    if min(len(np.unique(joined.owner[side])) for side in (rows, others)) < least:
        return
    both = np.flatnonzero(rows | others)
    cells, counts = _counted(joined, both, _acted(outcomes) if name != log.SHADOW else {})
    new, old = (_by_visitor(joined.owner[both][side[both]], counts[side[both]]) for side in (rows, others))
    shares = cells.shares(old.sum(axis=0))
    kept = {dimension: share for dimension, share in shares.items() if not np.isnan(share).any()}
    if not kept:
        return
    reference = {**shares, **kept}
    level = (1 - params.watch.confidence) / len(kept)
    distances = drift.distances(cells, new, reference, sequences=len(old), alpha=level, seed=params.seed)
    for dimension, each in distances.items():
        if dimension in kept and not (name == log.SHADOW and dimension in ("asked", "steps")):  # the same requests
            yield {
                "model": model,
                "group": name,
                "dimension": dimension,
                "visitors": len(new),
                "distance": round(each.value, 6),
                "noise": round(each.noise, 6),
                "moved": bool(each.value > BOUND + each.noise),
            }


def _by_visitor(owner: Ints, counts: Values) -> Values:
    people, place = np.unique(owner, return_inverse=True)
    summed = np.zeros((len(people), counts.shape[1]))
    np.add.at(summed, place, counts)
    return summed


def _acted(outcomes: "pa.Table") -> dict[str, list[str]]:
    """By session, or customer where there is none, the actions that were told."""
    actions: dict[str, list[str]] = {}
    columns = (outcomes[name].to_pylist() for name in ("kind", "session_id", "user_id", "action"))
    for kind, session, user, action in zip(*columns, strict=True):
        if kind == log.STEP and (who := session or user):
            actions.setdefault(who, []).append(action)
    return actions


def _counted(joined: Joined, rows: Ints, acted: Mapping[str, Sequence[str]]) -> tuple[Dimensions, Values]:
    """Each of these rows in cells, [n, cells]. What is asked, and done, counts once a request."""
    names = ["request", "arm", "session_id", "user_id", "steps", "last_action", "output", "kind", "labels", "scores"]
    table = joined.answers.select(names).take(rows).to_pylist()
    classes: dict[str, list[str]] = {}
    for row in table:
        if row["kind"] in ("classes", "probability"):
            own = classes.setdefault(row["output"], [])
            own += [label for label in row["labels"] if label not in own]
    sizes = {"asked": len(ACTIONS), "steps": len(STEPS)}
    sizes |= {f"answer {name}": len(own) for name, own in sorted(classes.items())}
    ranked = sorted({row["output"] for row in table if row["kind"] == "ranking"})
    sizes |= {f"answer {name}": len(FIRST) for name in ranked} | ({"outcome": len(EVENT_TYPES)} if acted else {})
    starts = dict(zip(sizes, [0, *accumulate(sizes.values())], strict=False))
    counts = np.zeros((len(table), sum(sizes.values())))
    requests: set[tuple[str, str]] = set()
    for at, row in enumerate(table):
        start = starts.get(f"answer {row['output']}")
        if start is not None and row["kind"] == "ranking" and row["scores"]:
            counts[at, start + np.searchsorted(FIRST, row["scores"][0], side="right") - 1] += 1
        elif start is not None:
            for label, score in zip(row["labels"], row["scores"], strict=True):
                counts[at, start + classes[row["output"]].index(label)] += score
        if (key := (row["request"], row["arm"])) in requests:
            continue
        requests.add(key)
        action = row["last_action"] if row["last_action"] in EVENT_TYPES else "none"
        counts[at, ACTIONS.index(action)] += 1
        counts[at, starts["steps"] + np.searchsorted(STEPS, row["steps"] or 0, side="right") - 1] += 1
        for action_of in acted.get(row["session_id"] or row["user_id"] or "", ()):
            if action_of in EVENT_TYPES:
                counts[at, starts["outcome"] + EVENT_TYPES.index(action_of)] += 1
    return Dimensions(sizes), counts
