"""The oracle: the best possible answers on simulated data, from the true process that made the log.

The process behind a real log is not known, so there is no oracle. A head names its question to the true process.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from clickflow.evaluation.asking import ASKING
from clickflow.evaluation.held_out import HeldOut, Question, Training
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.system.files import read_json
from clickflow.system.moments import DAY

STAND_IN = "markov"
"""The baseline that answers where the truth knows no such event."""
TrueAnswers = tuple[Any, int]
"""The answers, in the form of their kind, and for how many of them something stands in."""


@dataclass(frozen=True)
class Truth:
    """data/truth of a simulated log."""

    folder: Path

    def answers(self, test: HeldOut, question: Question, training: Training) -> TrueAnswers | None:
        """The true process asked the same; None where it knows nothing of such a question."""
        name = question.head.truth
        return None if name is None else TRUTHS[name](self.folder, test, question, training)


def available(folder: Path) -> bool:
    """Whether data/truth says that the log is simulated."""
    card = folder / "card.json"
    return card.is_file() and bool(read_json(card).get("available"))


def _item(folder: Path, test: HeldOut, question: Question, training: Training) -> TrueAnswers:
    """The rank [n] of the item that followed, among the candidate's items; 0 where it has none."""
    from pyarrow import parquet

    items = parquet.read_table(test.folder / "vocabulary.parquet", columns=["item_id"])
    names: list[str] = ["", "", *items.column("item_id").to_pylist()]
    ranks = _truth(folder).oracle_ranks(
        folder,
        _moments(folder, test, question),
        [names[item] for item in question.target[:, 0]],
        _kept(test),
        names[FIRST_ITEM : training.card.known],
    )
    return ranks.astype(np.int32), 0


def _action(folder: Path, test: HeldOut, question: Question, training: Training) -> TrueAnswers:
    """Log-probabilities [n, actions + 1]; the stand-in's where the truth knows no such event."""
    actions = _truth(folder).action_probabilities(folder, _moments(folder, test, question), _kept(test))
    with np.errstate(divide="ignore"):
        logs = np.maximum(np.log(actions), np.log(1e-12)).astype(np.float32)
    if np.isnan(logs).any():
        other, _ = ASKING["classes"].baseline(STAND_IN, question, test, training, lambda _: None)
        return np.where(np.isnan(logs), other, logs), int(np.isnan(logs[:, 0]).sum())
    return logs, 0


def _click(folder: Path, test: HeldOut, question: Question, training: Training) -> TrueAnswers:
    """Log-probabilities [n, 2] that an impression is not, and is, clicked; the stand-in's as `_action`."""
    yes = _truth(folder).click_probabilities(folder, _moments(folder, test, question))
    return _no_or_yes(yes, test, question, training)


def _bought(folder: Path, test: HeldOut, question: Question, training: Training) -> TrueAnswers:
    """Log-probabilities [n, 2] that no purchase, and that one, follows in the visit; the stand-in's as `_action`."""
    yes = _truth(folder).purchase_probabilities(folder, _moments(folder, test, question))
    return _no_or_yes(yes, test, question, training)


def _stays_away(folder: Path, test: HeldOut, question: Question, training: Training) -> TrueAnswers:
    """Log-probabilities [n, 2] that a purchase, and that none, follows in the days after the cut-off."""
    from pyarrow import parquet

    rows = test.questions.sequence[question.at]
    users = parquet.read_table(test.folder / "test" / "sequences.parquet", columns=["user_id"])["user_id"]
    who, cut_off = np.array(users.to_pylist(), object)[rows], np.asarray(test.split.cut_off)[rows]
    start = np.datetime64(read_json(folder / "card.json")["settings"]["start"], "us").astype(np.int64)
    horizon = float(test.card.own_settings["horizon_days"])
    yes = np.full(len(rows), np.nan)
    for moment in np.unique(cut_off).tolist():
        ahead = _truth(folder).customers(folder, (moment - int(start)) / DAY, horizon, spend=False)
        known = dict(zip(ahead.user_id, ahead.no_purchase.tolist(), strict=True))
        here = np.flatnonzero(cut_off == moment)
        yes[here] = [known.get(name, np.nan) for name in who[here].tolist()]
    return _no_or_yes(yes, test, question, training)


def _no_or_yes(yes: np.ndarray[Any, Any], test: HeldOut, question: Question, training: Training) -> TrueAnswers:
    logs = np.log(np.clip(np.stack([1 - yes, yes], axis=1), 1e-12, 1)).astype(np.float32)
    if not (unknown := np.isnan(yes)).any():
        return logs, 0
    other, _ = ASKING["probability"].baseline(STAND_IN, question, test, training, lambda _: None)
    return np.where(unknown[:, None], other, logs), int(unknown.sum())


TRUTHS: Mapping[str, Callable[[Path, HeldOut, Question, Training], TrueAnswers]] = {
    "item": _item,
    "action": _action,
    "click": _click,
    "bought": _bought,
    "stays_away": _stays_away,
}
"""What the true process can be asked, by the name that a head has for it (`Head.truth`)."""


def _truth(folder: Path) -> Any:
    """How the truth is asked: each kind of source with one has a way; only that of this log is a dependency."""
    return import_module(f"clickflow.sources.{read_json(folder / 'card.json')['source']}.truth")


def _moments(folder: Path, test: HeldOut, question: Question) -> Any:
    from pyarrow import parquet

    sessions = parquet.read_table(test.folder / "test" / "sequences.parquet", columns=["session_id"])
    questions = test.questions
    return _truth(folder).Moments(
        session_id=sessions.column("session_id").take(_indexes(questions.sequence[question.at])).to_pylist(),
        time=np.asarray(test.split.time)[questions.event[question.at]],
    )


def _kept(test: HeldOut) -> Sequence[str]:
    """The event types that the store's sequences keep; all, where the store does not say."""
    return tuple(test.card.own_settings.get("event_types", test.card.actions))


def _indexes(values: Any) -> Any:
    import pyarrow as pa

    return pa.array(values)
