"""The latest time windows of a log, and which sequences began in each."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from clickflow.evaluation.distributions import Ints
from clickflow.sequences.card import SPLITS
from clickflow.sequences.store import PackedSplit, open_split
from clickflow.system.moments import DAY


@dataclass(frozen=True)
class Window:
    """One stretch, `(since, until]`, microseconds since 1970 UTC, and by split the sequences that began in it.

    `available` is how many there are; `parts` may hold fewer, evenly spread over them.
    """

    since: int
    until: int
    available: int
    parts: Mapping[str, Ints]

    @property
    def sequences(self) -> int:
        """How many are looked at."""
        return sum(len(chosen) for chosen in self.parts.values())

    def after(self, moment: int, splits: Mapping[str, PackedSplit]) -> "Window":
        """The same with those sequences alone that began after a moment."""
        parts = {name: chosen[_starts(splits[name], chosen) > moment] for name, chosen in self.parts.items()}
        return Window(self.since, self.until, sum(map(len, parts.values())), parts)


def splits(store: Path) -> dict[str, PackedSplit]:
    """Every split of a store; where its boundaries lie does not matter here."""
    return {name: open_split(store, name) for name in SPLITS}


def newest(parts: Mapping[str, PackedSplit], as_of: int | None) -> int | None:
    """The last event of a store, at or before `as_of`; None where there is none."""
    times = [np.asarray(split.time) for split in parts.values()]
    latest = [int(time[time <= as_of].max(initial=-1)) if as_of else int(time.max(initial=-1)) for time in times]
    return max(latest) if max(latest) >= 0 else None


def spacing(stored: Mapping[str, PackedSplit]) -> float:
    """The days from one cut-off of a store to the next; 0 where it has fewer than two."""
    cut_offs = [np.unique(split.cut_off) for split in stored.values() if split.cut_off is not None]
    gaps = np.diff(np.unique(np.concatenate(cut_offs))) if cut_offs else np.zeros(0)
    return float(gaps.min()) / DAY if len(gaps) else 0.0


def cut(stored: Mapping[str, PackedSplit], *, until: int, days: float, number: int, most: int) -> list[Window]:
    """`number` windows of `days` days, the oldest first, the last ending at `until`; at most `most` sequences each."""
    # what is asked as of a cut-off is of the window in which its answer is there
    starts = {name: _starts(split, np.arange(split.n_sequences)) + split.horizon for name, split in stored.items()}
    ends = [until - round(back * days * DAY) for back in range(number, -1, -1)]
    cut_windows = []
    for since, end in pairwise(ends):
        parts = {name: np.flatnonzero((start > since) & (start <= end)) for name, start in starts.items()}
        cut_windows.append(Window(since, end, sum(map(len, parts.values())), _thinned(parts, most)))
    return cut_windows


def _starts(split: PackedSplit, chosen: Ints) -> Ints:
    if split.cut_off is not None:
        return np.asarray(split.cut_off[chosen])
    return np.asarray(split.time[split.begin[chosen]])


def _thinned(parts: Mapping[str, Ints], most: int) -> dict[str, Ints]:
    total = sum(map(len, parts.values()))
    if total <= most:
        return dict(parts)
    kept = np.zeros(total, bool)
    kept[np.linspace(0, total - 1, most).astype(np.int64)] = True
    ends = np.cumsum([len(chosen) for chosen in parts.values()])
    return {
        name: chosen[kept[end - len(chosen) : end]] for (name, chosen), end in zip(parts.items(), ends, strict=True)
    }
