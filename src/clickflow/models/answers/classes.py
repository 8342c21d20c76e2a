"""Answers of kind classes: one of a few, such as what the visitor does next; of kind probability: one of two.

Shapes: B sequences, T steps, N positions, D units, C classes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clickflow.heads.head import Head
from clickflow.models.answers.answer import Answer, Encoded
from clickflow.models.hand_made import NAME, HandMade
from clickflow.params.models import HeadParams, Model

if TYPE_CHECKING:
    from clickflow.models.sizes import Sizes

RECENT = 4
"""Actions that the answer is read off, each by a table of its own."""
QUICK = 5.0
"""How much faster than other weights those of few classes are learned: they must go far, and are seen in every step."""


class Classes(Answer):
    """One of a few classes.

    A linear reading of the encoder, and beside it tables of the last actions, each for itself: what a logistic
    regression on them knows needs no sequences to learn by heart (wide and deep: Cheng et al. 2016).
    """

    def __init__(self, units: int, classes: int, codes: int, *, recent: bool, hand_made: int = 0) -> None:
        super().__init__()
        self.codes = codes
        self.score = nn.Linear(units, classes)
        nn.init.zeros_(self.score.bias)
        self.recent = nn.Embedding(RECENT * codes, classes) if recent else None
        if self.recent is not None:
            nn.init.zeros_(self.recent.weight)
        self.hand_made = HandMade(hand_made, classes) if hand_made else None

    @classmethod
    def of(cls, head: Head, params: HeadParams, spec: Model, sizes: "Sizes") -> "Classes":  # noqa: ARG003
        """The module of a head of this kind; `codes`: of actions, and one more for what stands before the first."""
        if not (classes := head.names(sizes)):
            raise TypeError(f"the head {head.name} is of kind {head.kind} and names no classes")
        features = spec.encoder.features
        return cls(
            spec.encoder.units,
            len(classes),
            len(sizes.actions) + 1,
            recent="action" in features,
            hand_made=len(sizes.hand_made),
        )

    def forward(self, readouts: Tensor) -> Tensor:
        """Readouts [..., D] to logits [..., C]."""
        return nn.functional.linear(readouts, self.score.weight, QUICK * self.score.bias)

    def beside(self, inputs: Mapping[str, Tensor]) -> Tensor | None:
        """What the last actions and hand-made features add to the logits, [B, T, C]; None where none are read."""
        added = self._of_actions(inputs["action"]) if self.recent is not None else None
        if self.hand_made is None:
            return added
        own: Tensor = self.hand_made(inputs[NAME])
        return own if added is None else own + added

    def _of_actions(self, actions: Tensor) -> Tensor:
        assert self.recent is not None
        # what is not known is read as action 0
        steps, codes = actions.shape[1], self.codes
        actions = torch.where(actions < codes - 1, actions, torch.zeros_like(actions))
        added = torch.zeros((), device=actions.device)
        for back in range(RECENT):
            then = nn.functional.pad(actions, (back, 0), value=codes - 1)[:, :steps]
            added = added + self.recent(then + back * codes)
        return QUICK * added

    def read(self, encoded: Encoded, table: Tensor, *, ahead: bool) -> tuple[Tensor, Tensor | None]:  # noqa: ARG002
        """The readouts, and what `beside` adds."""
        return encoded.readouts, self.beside(encoded.inputs)

    def ask(self, name: str, reading: tuple[Tensor, Tensor | None], row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """As `Answer.ask`."""
        readouts, beside = reading
        logits = self(readouts[row, column])
        if beside is not None:
            logits = logits + beside[row, column]
        return {name: logits.log_softmax(-1)}
