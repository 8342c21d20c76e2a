"""Answers of kind amount: an expected value and its quantiles, such as the money that a customer leaves.

Shapes: N positions, D units. The distribution is a zero-inflated log-normal (Wang, Liu & Miao 2019): nothing with
probability 1 - p, else the logarithm is normal with mean m and deviation s.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clickflow.heads.head import LEVELS, Head
from clickflow.models.answers.answer import Answer, Encoded
from clickflow.params.models import HeadParams, Model

if TYPE_CHECKING:
    from clickflow.models.sizes import Sizes

NARROWEST, WIDEST = 0.05, 3.0
"""Bounds of s."""
LARGEST = 30.0
"""The log of an amount is held below."""
NEAREST = 1e-6
"""The normal's quantiles are asked this far from 0 and 1 at most."""


class Amounts(Answer):
    """A linear reading of the encoder for p, m and s."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.score = nn.Linear(units, 3)
        nn.init.zeros_(self.score.bias)

    @classmethod
    def of(cls, head: Head, params: HeadParams, spec: Model, sizes: "Sizes") -> "Amounts":  # noqa: ARG003
        """The module of a head of this kind."""
        return cls(spec.encoder.units)

    def forward(self, readouts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Readouts [..., D] to the log-odds of p, m and s, [...] each."""
        odds, mean, wide = self.score(readouts).unbind(-1)
        return odds, mean, nn.functional.softplus(wide).clamp(NARROWEST, WIDEST)

    def read(self, encoded: Encoded, table: Tensor, *, ahead: bool) -> Tensor:  # noqa: ARG002
        """The readouts."""
        return encoded.readouts

    def ask(self, name: str, reading: Tensor, row: Tensor, column: Tensor) -> dict[str, Tensor]:
        """[N, 4]: the expected value, and the quantiles `LEVELS`."""
        return {name: summed_up(*self(reading[row, column]))}


def summed_up(odds: Tensor, mean: Tensor, wide: Tensor) -> Tensor:
    """Expected value p exp(m + s^2 / 2) and quantiles of the distribution, [N, 1 + levels].

    The quantile of level q is 0 up to 1 - p, then exp(m + s z) with z the normal's quantile of (q - 1 + p) / p.
    """
    p = odds.sigmoid()
    columns = [p * (mean + wide.square() / 2).clamp(max=LARGEST).exp()]
    for level in LEVELS:
        share = (level - 1 + p) / p.clamp(min=NEAREST)
        quantile = (mean + wide * normal_quantile(share.clamp(NEAREST, 1 - NEAREST))).clamp(max=LARGEST).exp()
        columns.append(torch.where(share > 0, quantile, torch.zeros_like(quantile)))
    return torch.stack(columns, dim=-1)


def normal_quantile(p: Tensor) -> Tensor:
    """Of the standard normal, in operations that ONNX has (Acklam's rational functions, to 1.2e-9)."""
    central = p - 0.5
    square = central.square()
    middle = central * _polynomial(square, CENTRAL[0]) / _polynomial(square, CENTRAL[1])
    # the tails by symmetry
    tail = torch.minimum(p, 1 - p).clamp(min=1e-12)
    root = (-2 * tail.log()).sqrt()
    outer = _polynomial(root, OUTER[0]) / _polynomial(root, OUTER[1])
    outer = torch.where(central < 0, outer, -outer)
    return torch.where(tail > EDGE, middle, outer)


def _polynomial(x: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    value = torch.full_like(x, coefficients[0])
    for each in coefficients[1:]:
        value = value * x + each
    return value


EDGE = 0.02425
CENTRAL = (
    (
        -39.69683028665376,
        220.9460984245205,
        -275.9285104469687,
        138.357751867269,
        -30.66479806614716,
        2.506628277459239,
    ),
    (-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572, 1.0),
)
OUTER = (
    (
        -7.784894002430293e-3,
        -0.322396458041136,
        -2.40075827716184,
        -2.54973253934373,
        4.37466414146497,
        2.93816398269878,
    ),
    (7.784695709041462e-3, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1.0),
)
"""Coefficients of the two polynomials of each function, the highest power first; `EDGE`: where the tails begin."""
