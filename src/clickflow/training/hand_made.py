"""Hand-made features of the steps of a batch, where a network joins them to what it reads."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from clickflow import features
from clickflow.features import Spans

if TYPE_CHECKING:
    from clickflow.models.sizes import Sizes
    from clickflow.sequences.store import PackedSplit

KEPT = 1 << 26
"""Numbers of a split that are computed once and kept; of a larger one each batch computes its own."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass
class Reader:
    """The features of one unit's steps, all that it has."""

    unit: str
    sizes: "Sizes"
    kept: "WeakKeyDictionary[PackedSplit, Floats]" = field(default_factory=WeakKeyDictionary)

    def read(self, split: "PackedSplit", event: Ints) -> Floats:
        """[n, F] of questions asked at these steps, as of the time of each."""
        if split.n_events * len(self.sizes.hand_made) > KEPT:
            return self._compute(split, event)
        if split not in self.kept:
            self.kept[split] = self._compute(split, np.arange(split.n_events))
        return self.kept[split][event]

    def as_of(self, split: "PackedSplit", sequence: Ints) -> Floats:
        """[n, F] of what is asked about these sequences at their cut-offs."""
        if split.n_sequences * len(self.sizes.hand_made) > KEPT:
            return self._at_cut_off(split, sequence)
        if split not in self.kept:
            self.kept[split] = self._at_cut_off(split, np.arange(split.n_sequences))
        return self.kept[split][sequence]

    def _at_cut_off(self, split: "PackedSplit", sequence: Ints) -> Floats:
        assert split.cut_off is not None
        spans = Spans(*(np.asarray(each)[sequence] for each in (split.begin, split.end, split.cut_off)))
        table: Floats = features.compute(self.unit, split, spans, self.sizes, self.sizes.hand_made)
        return table

    def _compute(self, split: "PackedSplit", event: Ints) -> Floats:
        offsets = np.asarray(split.offsets, np.int64)
        begin = offsets[np.searchsorted(offsets, event, side="right") - 1]
        spans = Spans(begin, event + 1, np.asarray(split.time)[event])
        table: Floats = features.compute(self.unit, split, spans, self.sizes, self.sizes.hand_made)
        return table


def reader(network: Any) -> Reader | None:
    """Of a network, or an ensemble, that reads such features; None of another. One a network, for what it keeps."""
    if not network.sizes.hand_made:
        return None
    if "_hand_made_reader" not in vars(network):
        vars(network)["_hand_made_reader"] = Reader(network.spec.unit, network.sizes)
    own_reader: Reader = vars(network)["_hand_made_reader"]
    return own_reader
