"""One evaluation: candidate, champion, baselines and, for simulated data, the best possible, on the same rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import Artefact
from clickflow.baselines.history import History
from clickflow.baselines.positions import Positions
from clickflow.evaluation import calibration, customers, metrics, ranking, scoring, seen, slices
from clickflow.evaluation.examples import Example
from clickflow.evaluation.metrics import Resampling
from clickflow.evaluation.oracle import Best
from clickflow.evaluation.scoring import HeldOut
from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION, ONE_STEP, ORACLE
from clickflow.params.evaluation import Evaluation
from clickflow.sequences.card import iso
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.console import Advance


@dataclass(frozen=True)
class Measured:
    """What was found about all systems; the files of the report are made of it."""

    test: HeldOut
    ranks: Mapping[str, ranking.Ranks]
    """By system, the rank [len(test.followed)] of the item that followed; empty without the head next_item."""
    ahead: Mapping[str, ranking.Ranks]
    """By system, the ranks [len(test.followed), horizon] of the items of the next steps; empty without next_items."""
    actions: Mapping[str, npt.NDArray[np.float32]]
    """By system, log-probabilities [len(test.asked), actions + 1]; empty without the head next_action."""
    item_slices: slices.Slicing
    """Of the rows `test.followed`."""
    metrics: dict[str, Any]
    """What metrics.json holds, without artefact and champion version; see docs/reference/metrics.md."""
    seen: Mapping[str, npt.NDArray[np.bool_] | None] = field(default_factory=dict)
    """By earlier version, whether it may have learned from a row of `test.followed`; None where that is not known."""
    examples: Sequence[Example] = ()
    """A few sessions for the report; none without the head next_item."""


def measure(
    test: HeldOut,
    past: History,
    train: Positions,
    candidate: Artefact,
    champion: Artefact | None,
    settings: Evaluation,
    seed: int,
    advance: Advance,
    *,
    best_champion: Artefact | None = None,
    best: Best | None = None,
) -> Measured:
    """Ask every system every question, and sum up.

    `past` and `train` are the training part, for baselines of items and of actions; `past` is in the candidate's
    vocabulary, which is the store's. `best`: the true process, where it is known; where it has no action
    probabilities, those of the Markov baseline stand in.
    """
    horizon = int(candidate.card["spec"]["heads"]["next_item"]["horizon"]) if "next_items" in candidate.outputs else 1
    own = scoring.answer(test, candidate, advance, horizon=horizon)
    theirs = scoring.answer(test, champion, advance, horizon=horizon) if champion else None
    ranks: dict[str, ranking.Ranks] = {}
    ahead: dict[str, ranking.Ranks] = {}
    actions: dict[str, npt.NDArray[np.float32]] = {}
    not_converged: list[str] = []
    if own.ranks is not None:
        of_all = {CANDIDATE: own.ranks}
        if theirs is not None and theirs.ranks is not None:
            of_all[CHAMPION] = theirs.ranks
        if best_champion is not None and (older := scoring.answer(test, best_champion, advance).ranks) is not None:
            of_all[BEST] = np.repeat(older, own.ranks.shape[1], axis=1)
        for name in settings.baselines:
            of_all[name] = scoring.baseline_ranks(test, past, name, advance, horizon=horizon)
        ranks = {system: each[:, 0] for system, each in of_all.items()}
        if own.ahead is not None:
            answered = {CHAMPION: theirs.ahead} if theirs is not None and theirs.ahead is not None else {}
            rest = {name: each for name, each in of_all.items() if name not in (CANDIDATE, CHAMPION, BEST)}
            ahead = {CANDIDATE: own.ahead, **answered, ONE_STEP: own.ranks, **rest}
        if best is not None:
            ranks[ORACLE] = best.ranks
    if own.actions is not None:
        actions[CANDIDATE] = own.actions
        if theirs is not None and theirs.actions is not None:
            actions[CHAMPION] = theirs.actions
        for baseline in settings.action_baselines:
            actions[baseline], converged = scoring.baseline_actions(test, train, baseline, advance)
            if not converged:
                not_converged.append(baseline)
        if best is not None:
            actions[ORACLE] = best.actions
            if np.isnan(best.actions).any():
                stand_in, _ = scoring.baseline_actions(test, train, "markov", lambda _: None)
                actions[ORACLE] = np.where(np.isnan(best.actions), stand_in, best.actions)
    made = _summed_up(test, past, ranks, ahead, actions, settings, seed)
    made.metrics["not_converged"] = not_converged
    made.metrics["seen"] = None
    earlier = {name: each for name, each in ((CHAMPION, champion), (BEST, best_champion)) if each is not None}
    if earlier:
        made = replace(made, seen={name: seen.rows(test, each) for name, each in earlier.items()})
        made.metrics["seen"] = {name: seen.summary(each, made.seen[name]) for name, each in earlier.items()}
    if best is not None:
        heads = {head: (made.metrics[head] or {}).pop(ORACLE, None) for head in ("next_item", "next_action")}
        made.metrics["oracle"] = heads | {"unanswered": int(np.isnan(best.actions[:, 0]).sum())}
    return made


def work(test: HeldOut, settings: Evaluation, champion: bool) -> int:
    """How much `measure` will tell `advance` in all."""
    asked = len(test.asked) * ((2 if champion else 1) + len(settings.action_baselines))
    return asked + len(test.followed) * len(settings.baselines)


def _summed_up(
    test: HeldOut,
    past: History,
    ranks: Mapping[str, ranking.Ranks],
    ahead: Mapping[str, ranking.Ranks],
    actions: Mapping[str, npt.NDArray[np.float32]],
    settings: Evaluation,
    seed: int,
) -> Measured:
    how = Resampling(settings.bootstrap, settings.confidence, seed)
    rows, asked, split = test.followed, test.asked, test.split
    targets = test.next_item[rows]
    known = (targets >= FIRST_ITEM) & (targets < past.known)
    # the day and hour at which the question is asked, not those of the answer
    time, hour = np.asarray(split.time)[asked.event], np.asarray(split.hour)[asked.event]
    clock = test.card.clock
    by_item = slices.slicing(
        asked.length[rows], time[rows], hour[rows], slices.popularity(past.counts, targets), clock=clock
    )
    by_action = slices.slicing(asked.length, time, hour, None, clock=clock)
    names = [*test.card.actions, "exit"]
    customer = test.customer[asked.sequence]
    next_item = next_items = next_action = per_action = reliability = None
    cut: dict[str, Any] = {}
    if ranks:
        next_item = metrics.next_item(ranks, customer[rows], known, settings.cutoffs, how)
        next_item.setdefault(CHAMPION, None)  # type: ignore[arg-type]
        cut["next_item"] = slices.of_ranks(by_item, ranks, max(settings.cutoffs))
    if ahead:
        next_items = _several(test, past, ahead, settings, how)
    if actions:
        next_action = metrics.next_action(actions, test.next_action, customer, how)
        next_action.setdefault(CHAMPION, None)  # type: ignore[arg-type]
        logs = actions[CANDIDATE]
        per_action = metrics.per_action(logs, test.next_action, names)
        reliability = calibration.curve(
            np.exp(logs.max(axis=1)).astype(np.float64), logs.argmax(axis=1) == test.next_action
        )
        cut["next_action"] = slices.of_actions(by_action, actions, test.next_action)
    found = {
        "next_item": next_item,
        "next_items": next_items,
        "next_action": next_action,
        "per_action": per_action,
        "reliability": reliability,
        "slices": cut,
        "oracle": None,
        "coverage": round(float(known.mean()), 6) if len(known) else None,
        "predictions": len(rows),
        "positions": len(asked),
        "sequences": len(np.unique(asked.sequence)),
        "resampled": customers.count(customer),
        "window": {"from": iso(int(time.min())), "to": iso(int(time.max()))} if len(time) else None,
    }
    return Measured(test, ranks, ahead, actions, by_item, found)


def _several(
    test: HeldOut, past: History, ahead: Mapping[str, ranking.Ranks], settings: Evaluation, how: Resampling
) -> dict[str, Any]:
    """The metrics of `next_items`: a prediction is an item of one of the next steps, as far as the sequence goes."""
    horizon = next(iter(ahead.values())).shape[1]
    items = test.ahead(horizon)
    there = items >= 0
    customer = np.broadcast_to(test.customer[test.asked.sequence[test.followed]][:, None], items.shape)[there]
    known = (items[there] >= FIRST_ITEM) & (items[there] < past.known)
    ranks = {system: each[there] for system, each in ahead.items()}
    found: dict[str, Any] = metrics.next_item(ranks, customer, known, settings.cutoffs, how)
    found.setdefault(CHAMPION, None)
    return found
