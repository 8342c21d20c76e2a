"""What a ranking of items with several right answers says of their categories: which of these are bought.

A category is as likely as its items together, so nothing is learned for it. An item without a category is in none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clickflow.artefact.artefact import Artefact
from clickflow.heads import outputs
from clickflow.heads.head import NOTHING, grouped
from clickflow.sequences.indexes import FIRST_ITEM, PADDING, UNKNOWN

Ints = npt.NDArray[np.int64]
LEAST = 1e-38
"""The least probability whose logarithm is told."""


@dataclass(frozen=True)
class Groups:
    """The categories of a store, and those that are right answers."""

    folder: Path
    names: tuple[str, ...]
    """The categories, by code less `FIRST_ITEM`."""
    code: Ints
    """[items of the store]: the code of its category; UNKNOWN: it has none."""
    target: Ints
    """[n, most] the different categories of the right items, in their order; NOTHING behind the last."""

    @property
    def size(self) -> int:
        """Codes are below."""
        return FIRST_ITEM + len(self.names)

    def of(self, artefact: Artefact) -> Ints:
        """[known items of an artefact]: the store's code of their category, by its name."""
        return _codes(artefact.folder, self.names)[: artefact.known]

    def summed(self, scores: npt.NDArray[Any], code: Ints) -> npt.NDArray[np.float64]:
        """[n, size] the scores [n, items] of each category's items together."""
        member = np.zeros((len(code), self.size))
        member[np.arange(len(code)), code] = code >= FIRST_ITEM
        summed: npt.NDArray[np.float64] = np.asarray(scores[:, : len(code)], np.float64) @ member
        return summed


def of(folder: Path, items: Ints) -> Groups | None:
    """Of the right items [n, most] of questions about the store in `folder`; None where it has fewer than two
    categories: there is nothing to tell apart.
    """
    from pyarrow import parquet

    names = parquet.read_table(folder / "categories.parquet", columns=["category"])["category"].to_pylist()
    if len(names) < 2:
        return None
    code = _codes(folder, names)
    return Groups(folder, tuple(names), code, _different(np.where(items >= 0, code[items], UNKNOWN)))


@dataclass(frozen=True)
class Own:
    """The categories that an artefact knows, of whose items it ranks several right ones.

    `names`: by code, as if they were items; empty where there are fewer than two, or no such ranking.
    """

    names: tuple[str, ...]
    code: Ints
    """[known items]: the code of its category; UNKNOWN: it has none."""
    of: Mapping[str, str]
    """By output for categories, the output of items that it is made of."""

    @classmethod
    def by(cls, artefact: Artefact) -> "Own":
        """Those of an artefact."""
        from pyarrow import parquet

        several = [each for each in outputs.of(artefact.outputs) if each.head.all_targets is not None]
        items_output = {grouped(each.head.name): each.name for each in several if not each.second}
        if not items_output:
            return cls((), np.zeros(0, np.int64), {})
        names = parquet.read_table(artefact.folder / "categories.parquet", columns=["category"])["category"].to_pylist()
        if len(names) < 2:
            return cls((), np.zeros(0, np.int64), {})
        return cls(("", "?", *names), _codes(artefact.folder, names)[: artefact.known], items_output)

    def added(self, scores: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
        """With the log-probabilities [N, categories] of each category's items together."""
        with_categories = dict(scores)
        order = np.argsort(self.code, kind="stable")
        there, begins = np.unique(self.code[order], return_index=True)
        for name, items in self.of.items():
            summed = np.zeros((len(scores[items]), len(self.names)))
            summed[:, there] = np.add.reduceat(np.exp(scores[items].astype(np.float64))[:, order], begins, axis=1)
            with_categories[name] = np.log(np.maximum(summed, LEAST)).astype(np.float32)
        return with_categories


def _codes(folder: Path, names: Any) -> Ints:
    """[items of the vocabulary in `folder`]: the place of their category among `names`."""
    from pyarrow import parquet

    there = {name: number for number, name in enumerate(names, FIRST_ITEM)}
    called = parquet.read_table(folder / "categories.parquet", columns=["category"])["category"].to_pylist()
    place = np.array([UNKNOWN, UNKNOWN, *(there.get(name, UNKNOWN) for name in called)], np.int64)
    own = parquet.read_table(folder / "vocabulary.parquet", columns=["category"])["category"].to_numpy()
    return np.concatenate([[PADDING, UNKNOWN], place[own]]).astype(np.int64)


def _different(code: Ints) -> Ints:
    """Of each row [n, most] the codes from `FIRST_ITEM` on, each once, first things first; NOTHING behind."""
    again = np.tril(code[:, :, None] == code[:, None, :], -1).any(-1)
    kept = (code >= FIRST_ITEM) & ~again
    order = np.argsort(~kept, axis=1, kind="stable")
    return np.take_along_axis(np.where(kept, code, NOTHING), order, axis=1)
