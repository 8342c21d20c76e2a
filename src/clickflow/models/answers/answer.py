"""The interface of every kind of answer: a module that reads an encoder's states, and answers at some of the steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Encoded:
    """Sequences as an encoder has read them: the raw `inputs` and `items` [B, T], items that are not known being 1;
    `states` and `readouts` [B, T, D].
    """

    inputs: Mapping[str, Tensor]
    items: Tensor
    states: Tensor
    readouts: Tensor


class Answer(nn.Module):
    """A head of a network."""

    def outputs(self, name: str) -> list[str]:
        """The names of what the head of that name answers."""
        return [name]

    def read(self, encoded: Encoded, table: Tensor, *, ahead: bool) -> Any:
        """What `ask` needs of sequences; `table` [rows, D] the unit vectors of all items, `ahead`: of every output."""
        raise NotImplementedError

    def ask(self, name: str, reading: Any, row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """The outputs at the steps (row, column), [N, answers] each, as log-probabilities."""
        raise NotImplementedError
