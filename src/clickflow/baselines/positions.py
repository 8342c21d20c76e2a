"""The input of baselines of classes: positions of sequences, each with its window and what came before in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.heads.head import NOTHING, Head, Store
from clickflow.sequences.features import FEATURES

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

ACTIONS_BACK, ITEMS_BACK = 3, 10
"""Steps back whose actions, and among which an item's return, are told apart."""


@dataclass(frozen=True)
class Positions:
    """Positions of the sequences of a split; whatever is read of them lies between `first` and `event`."""

    split: Any
    """A packed split (`clickflow.sequences.store.PackedSplit`)."""
    event: Ints
    """[N] the last step read, as an index into the flat columns."""
    first: Ints
    """[N] the first step of its window."""
    actions: int
    """Action codes are below."""
    target: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """[N] the answer of a head to each, as a code of its classes: only for training."""
    classes: int = 0
    """How many there are."""
    unit: str = ""
    """Whose features are read."""
    store: Any = None
    """What these need to know of the store, as its card says it."""
    begin: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """[N] the first step of its sequence, from which hand-made features are read."""
    now: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """[N] when each is asked, microseconds since 1970 UTC."""

    def __len__(self) -> int:
        return len(self.event)

    @property
    def last(self) -> Ints:
        """[N] the last action."""
        return self._column("action", self.event).astype(np.int64)

    @property
    def items(self) -> Ints:
        """[N] the item of the last step."""
        return self._column("item", self.event).astype(np.int64)

    def only(self, rows: "npt.NDArray[Any] | slice[int]") -> "Positions":
        """Some of them."""
        own: dict[str, Ints] = {name: getattr(self, name) for name in ("event", "first", "begin", "now", "target")}
        changed: dict[str, Any] = {name: values[rows] for name, values in own.items() if len(values)}
        return replace(self, **changed)

    def _column(self, name: str, at: Ints) -> npt.NDArray[Any]:
        return np.asarray(getattr(self.split, name)[at])


def training(split: Any, head: Head, store: Store, max_length: int) -> Positions:
    """Every position of a split at which `head`, of kind classes or probability, asks something, with windows of at
    most `max_length` steps.
    """
    event, start, end = split.questions()
    target = head.targets(split, event, end, store)
    every = Positions(
        split,
        event,
        np.maximum(start, event - max_length + 1),
        len(store.actions),
        target,
        len(head.names(store)),
        head.unit,
        store,
        start,
        _now(split, event),
    )
    return every if (target != NOTHING).all() else every.only(np.flatnonzero(target != NOTHING))


def _now(split: Any, event: Ints) -> Ints:
    """When each of `split.questions()` is asked: at the cut-off, or at the time of the last step read."""
    if split.cut_off is None:
        return np.asarray(split.time)[event]
    return np.asarray(split.cut_off)[np.asarray(split.end) > np.asarray(split.begin)]


def features(positions: Positions, popularity: Mapping[str, Floats]) -> Floats:
    """Numbers of each position [N, F] for models that read a table.

    The last `ACTIONS_BACK` actions one-hot; how often each action came in the window; whether the last item was seen
    shortly before; the length of the window; and the step features, as `FEATURES` says that tables read them, by the
    log counts `popularity` of the training part (`log_counts`) where it is frequency.
    """
    event, first = positions.event, positions.first
    column: list[npt.NDArray[Any]] = []
    for back in range(ACTIONS_BACK):
        at = event - back
        action = np.where(at >= first, positions._column("action", np.maximum(at, 0)), positions.actions)
        column += [action == code for code in range(positions.actions)]
    # how often each action came up to each step, and from the window's first step on
    flat = np.asarray(positions.split.action)
    for code in range(positions.actions):
        before = np.concatenate([[0], np.cumsum(flat == code)])
        column.append(np.log1p(before[event + 1] - before[first]))
    item = positions._column("item", event)
    again = np.zeros(len(positions), bool)
    for back in range(1, ITEMS_BACK + 1):
        at = event - back
        again |= (at >= first) & (positions._column("item", np.maximum(at, 0)) == item)
    column += [again, np.log1p(event - first)]
    for name, feature in FEATURES.items():
        if feature.tabular and hasattr(positions.split, name):
            column += _tabular(name, positions._column(name, event), popularity)
    table: Floats = np.stack([np.asarray(each, np.float64) for each in column], axis=1)
    return table


def _tabular(name: str, values: npt.NDArray[Any], popularity: Mapping[str, Floats]) -> list[npt.NDArray[Any]]:
    """The numbers of a step feature [N] that a table holds."""
    feature = FEATURES[name]
    if feature.tabular == "frequency":
        return [popularity[name][np.minimum(values, len(popularity[name]) - 1)]]
    if feature.tabular == "circle":
        angle = values * (2 * np.pi / int(feature.codes))
        return [np.sin(angle), np.cos(angle)]
    missing = [np.isnan(values)] if feature.optional else []
    return [*missing, np.log1p(np.maximum(np.nan_to_num(values), 0))]


def log_counts(split: Any) -> dict[str, Floats]:
    """The log of 1 + how often each value occurs, of the features whose frequency tables read; the last entry, 0, is
    for all that are beyond.
    """
    return {
        name: np.log1p(np.append(np.bincount(np.asarray(getattr(split, name))), 0).astype(np.float64))
        for name, feature in FEATURES.items()
        if feature.tabular == "frequency" and hasattr(split, name)
    }
