"""Figures of a watch: bounds over windows, and the latest window beside the training data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clickflow.evaluation.distributions import Values
from clickflow.evaluation.figures import COLOURS, Draw
from clickflow.monitoring.rule import DRIFT, Bound

COLUMNS = 3
FEW = 16
"""With more cells a dimension is drawn as lines, and only some cells are named."""
OWN, BROKEN, PAST = COLOURS["candidate"], COLOURS["champion"], COLOURS["popularity"]


def windows(labels: Sequence[str], lines: Mapping[str, Sequence[Bound]]) -> Draw:
    """A panel a bound: its value window by window, and where it breaches."""

    def draw(page: Any) -> None:
        for axes, (name, bounds) in zip(_grid(page, len(lines)), lines.items(), strict=False):
            at = [place for place, bound in enumerate(bounds) if bound.value is not None]
            values = [bounds[place].value for place in at]
            axes.plot(at, values, marker="o", markersize=4, color=OWN, linewidth=1.8)
            broken = [place for place in at if bounds[place].breach]
            axes.plot(broken, [bounds[place].value for place in broken], "o", markersize=8, color=BROKEN, zorder=4)
            axes.plot(at, [bounds[place].limit for place in at], color=BROKEN, linewidth=1.4, linestyle="--")
            first = bounds[at[0]]
            if first.kind != DRIFT:
                axes.vlines(at, [bounds[p].low for p in at], [bounds[p].high for p in at], color=OWN, linewidth=1.4)
                axes.axhline(first.expected, color=PAST, linewidth=1.2, linestyle=":")
            else:
                axes.set_ylim(bottom=0)
            axes.set_xticks(range(len(labels)), list(labels))
            axes.set_xlim(-0.4, len(labels) - 0.6)
            axes.set_title(name)
            axes.grid(axis="y")

    return draw


def beside(panels: Mapping[str, tuple[Sequence[str], Values, Values]]) -> Draw:
    """A panel a dimension: the cells' shares in training and in the latest window."""

    def draw(page: Any) -> None:
        for axes, (name, (cells, past, now)) in zip(_grid(page, len(panels)), panels.items(), strict=False):
            at = np.arange(len(cells))
            if len(cells) > FEW:
                axes.plot(at, past, color=PAST, linewidth=1.6, label="training")
                axes.plot(at, now, color=OWN, linewidth=1.6, label="latest window")
            else:
                axes.bar(at - 0.2, past, 0.4, color=PAST, label="training")
                axes.bar(at + 0.2, now, 0.4, color=OWN, label="latest window")
            step = -(-len(cells) // FEW)
            turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if len(max(cells, key=len)) > 4 else {}
            axes.set_xticks(at[::step], list(cells)[::step], fontsize=8, **turned)
            axes.set_title(name)
            axes.set_ylim(bottom=0)
            axes.grid(axis="y")
        page.legend(*page.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)

    return draw


def _grid(page: Any, number: int) -> list[Any]:
    """`number` axes in rows of three."""
    rows = -(-number // COLUMNS)
    axes = list(page.subplots(rows, min(number, COLUMNS), squeeze=False).ravel())
    for unused in axes[number:]:
        unused.set_axis_off()
    return axes[:number]
