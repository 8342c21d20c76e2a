"""The report's figures, as PNG; the same measurements give the same bytes. On a dark page CSS inverts them."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

TITLES = {
    "candidate": "candidate",
    "champion": "champion",
    "best_champion": "best champion so far",
    "one_step": "its next item alone",
    "popularity": "popularity",
    "decayed_popularity": "popularity of late",
    "repeat": "repeat (own past)",
    "markov": "Markov",
    "itemknn": "item-kNN",
    "vsknn": "V-SKNN",
    "vstan": "VSTAN",
    "vstan_returns": "VSTAN, returns",
    "majority": "majority",
    "logistic": "logistic regression",
    "forest": "random forest",
    "boosting": "boosted trees",
    "seasonal_naive": "seasonal naive",
    "ets": "exponential smoothing",
    "sarima": "seasonal ARIMA",
    "croston_sba": "Croston-SBA",
    "tsb": "TSB",
    "theta": "Theta",
    "moving_average": "moving average",
    "oracle": "best possible",
    "everybody": "everybody",
}
"""What a system is called in figures and tables."""
COLOURS = {
    "candidate": "#1259c3",
    "champion": "#c2500d",
    "oracle": "#1a7f37",
    "vsknn": "#6f42c1",
    "vstan": "#a3267f",
    "vstan_returns": "#7a1f5c",
    "itemknn": "#8a4b32",
    "boosting": "#6f42c1",
    "forest": "#0f7c86",
    "logistic": "#a3267f",
    "markov": "#8a6d00",
    "repeat": "#0f7c86",
    "popularity": "#6b7280",
    "majority": "#6b7280",
}
"""A colour of its own for every system, dark enough to be told from white."""
TEXT, GRID = "#1c2128", "#d0d7de"
STYLES = {"candidate": "-", "champion": "--", "oracle": ":"}
Draw = Callable[[Any], None]
"""Draws on an empty matplotlib figure."""


@dataclass(frozen=True)
class Figure:
    """A figure, and what it shows in words."""

    name: str
    title: str
    alt: str
    png: bytes


def title(system: str) -> str:
    """A system's name for people."""
    return TITLES.get(system, system)


def colour(system: str) -> str:
    """A system's colour; a system without one of its own is grey."""
    return COLOURS.get(system, COLOURS["popularity"])


def bars(panels: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> Draw:
    """Horizontal bars with intervals, {metric: {system: {value, low, high}}}, the best at the top."""

    def draw(page: Any) -> None:
        for axes, (metric, systems) in zip(_row(page, len(panels)), panels.items(), strict=True):
            order = sorted(systems, key=lambda system: systems[system]["value"] or 0.0)
            for place, system in enumerate(order):
                value = systems[system]["value"] or 0.0
                axes.barh(place, value, color=colour(system), height=0.62)
                ends = systems[system]["low"], systems[system]["high"]
                if ends[0] is not None and ends[1] is not None:
                    axes.plot(ends, [place, place], color=TEXT, linewidth=2)
                reach = max(value, ends[1] or 0.0)
                axes.annotate(f"{value:.3f}", (reach, place), (6, 0), textcoords="offset points", va="center")
            axes.set_yticks(range(len(order)), [title(system) for system in order])
            axes.set_title(metric)
            axes.margins(x=0.16)
            axes.grid(axis="x")

    return draw


def curves(lines: Mapping[str, npt.NDArray[np.float64]]) -> Draw:
    """Recall against the length of the list, {system: recall at 1, 2, …}."""

    def draw(page: Any) -> None:
        (axes,) = _row(page, 1)
        for system, values in lines.items():
            axes.plot(range(1, len(values) + 1), values, **_line(system))
        axes.set_xscale("log")
        ticks = [k for k in (1, 2, 5, 10, 20, 50, 100) if k <= max(len(v) for v in lines.values())]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.minorticks_off()
        axes.set_xlabel("length of the list, k")
        axes.set_ylabel("recall@k")
        axes.set_ylim(bottom=0)
        axes.grid()
        axes.legend(loc="upper left")

    return draw


def over(
    labels: Sequence[str], lines: Mapping[str, Sequence[float | None]], counts: Sequence[int], metric: str
) -> Draw:
    """A metric along labels in order (days, hours), {system: values}; how many predictions stand below."""

    def draw(page: Any) -> None:
        upper, lower = page.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        for system, values in lines.items():
            numbers = [np.nan if value is None else value for value in values]
            upper.plot(range(len(labels)), numbers, marker="o", markersize=3.5, **_line(system))
        upper.set_ylabel(metric)
        highest = max((value for values in lines.values() for value in values if value), default=0.0)
        upper.set_ylim(0, 1.1 * highest or 1.0)
        upper.grid()
        _legend(page)
        lower.bar(range(len(labels)), counts, color=GRID)
        lower.set_ylabel("predictions")
        step = max(1, len(labels) // 12)
        lower.set_xticks(range(0, len(labels), step), list(labels)[::step])

    return draw


def groups(panels: Mapping[str, tuple[Sequence[str], Mapping[str, Sequence[float | None]]]], metric: str) -> Draw:
    """Grouped bars, {dimension: (slices, {system: values})}."""

    def draw(page: Any) -> None:
        for axes, (dimension, (labels, systems)) in zip(_row(page, len(panels)), panels.items(), strict=True):
            width = 0.8 / max(len(systems), 1)
            for place, (system, values) in enumerate(systems.items()):
                at = np.arange(len(labels)) - 0.4 + width * (place + 0.5)
                numbers = [value or 0.0 for value in values]
                axes.bar(at, numbers, width * 0.92, color=colour(system), label=title(system))
            axes.set_xticks(range(len(labels)), list(labels))
            axes.set_title(dimension)
            axes.set_ylabel(metric)
            axes.grid(axis="y")
        _legend(page)

    return draw


def reliability(curve: Sequence[Mapping[str, Any]], said: str = "probability given to the predicted action") -> Draw:
    """What was said against what came true, and how often each confidence was given; `said`: what is a confidence."""

    def draw(page: Any) -> None:
        upper, lower = page.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        used = [each for each in curve if each["n"]]
        upper.plot([0, 1], [0, 1], color=GRID, linewidth=2, label="perfect")
        upper.plot(
            [each["confidence"] for each in used],
            [each["accuracy"] for each in used],
            marker="o",
            **_line("candidate"),
        )
        upper.set_ylabel("share that came true")
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1)
        upper.grid()
        upper.legend(loc="upper left")
        middle = [(each["from"] + each["to"]) / 2 for each in curve]
        lower.bar(middle, [each["n"] for each in curve], 0.9 / len(curve), color=colour("candidate"))
        lower.set_xlabel(said)
        lower.set_ylabel("positions")

    return draw


def precision_recall(lines: Mapping[str, Mapping[str, Sequence[float]]], share: float) -> Draw:
    """Precision against recall, {system: {recall, precision}}, and the `share` of yes among all."""

    def draw(page: Any) -> None:
        (axes,) = _row(page, 1)
        axes.axhline(share, color=GRID, linewidth=2, label="all rows")
        for system, line in lines.items():
            axes.plot(line["recall"], line["precision"], **_line(system))
        axes.set_xlabel("recall: part of all yes that is found")
        axes.set_ylabel("precision")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.grid()
        _legend(page)

    return draw


def deciles(cells: Sequence[Mapping[str, Any]], parts: tuple[str, str], words: tuple[str, str, str]) -> Draw:
    """Tenths of the rows: what was said and what came, the `parts` of a cell, and the part of all up to there.

    `words`: what is said, what all of it is, and which rows come first.
    """

    def draw(page: Any) -> None:
        left, right = _row(page, 2)
        at = np.arange(len(cells))
        left.bar(at - 0.2, [each[parts[0]] for each in cells], 0.38, color=GRID, label="said")
        left.bar(at + 0.2, [each[parts[1]] for each in cells], 0.38, color=colour("candidate"), label="came true")
        left.set_ylabel(words[0])
        right.plot(range(len(cells) + 1), [0, *(each["found"] for each in cells)], marker="o", **_line("candidate"))
        right.plot([0, len(cells)], [0, 1], color=GRID, linewidth=2)
        right.set_ylabel(f"part of {words[1]} found")
        for axes, ticks in ((left, at), (right, np.arange(len(cells) + 1))):
            axes.set_xlabel(f"tenths of the rows, {words[2]} first")
            axes.set_xticks(ticks, [str(each["decile"]) for each in cells] if axes is left else [str(k) for k in ticks])
            axes.grid(axis="y")
        left.legend(loc="upper right")

    return draw


def bands(shown: Sequence[Any]) -> Draw:
    """Series as of an origin (`bands.Band`), one below the other: the past, what came, the forecast and its band."""

    def draw(page: Any) -> None:
        for axes, each in zip(page.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True):
            before, steps = np.arange(-len(each.past), 0), np.arange(len(each.came))
            mean, low, middle, high = each.forecast.T
            axes.fill_between(steps, low, high, color=colour("candidate"), alpha=0.18, linewidth=0, label=".1 to .9")
            axes.plot(before, each.past, color=TEXT, linewidth=1)
            axes.plot(steps, each.came, color=TEXT, linewidth=1, marker="o", markersize=3, label="sold")
            axes.plot(steps, middle, color=colour("candidate"), linewidth=1.3, label="middle")
            axes.plot(steps, mean, **{**_line("candidate"), "label": "expected", "linestyle": ":"})
            axes.axvline(-0.5, color=GRID)
            axes.set_title(each.name)
            axes.set_ylim(bottom=0)
            axes.grid(axis="y")
        axes.set_xlabel("steps after the origin")
        _legend(page)

    return draw


def ahead(pinball_rows: Sequence[Mapping[str, Any]]) -> Draw:
    """Loss and coverage along the steps ahead, of one system."""

    def draw(page: Any) -> None:
        for axes, name in zip(_row(page, 2), ("weighted_quantile_loss", "coverage_80"), strict=True):
            values = [np.nan if each[name] is None else each[name] for each in pinball_rows]
            axes.plot([each["step"] for each in pinball_rows], values, marker="o", markersize=3.5, **_line("candidate"))
            axes.set_title(name)
            axes.set_xlabel("steps ahead")
            axes.set_ylim(bottom=0)
            axes.grid(axis="y")
            if name == "coverage_80":
                axes.axhline(0.8, color=GRID, linewidth=2)

    return draw


def _line(system: str) -> dict[str, Any]:
    strong = system in STYLES
    return {
        "color": colour(system),
        "label": title(system),
        "linestyle": STYLES.get(system, "-"),
        "linewidth": 2.2 if strong else 1.3,
        "alpha": 1.0 if strong else 0.9,
        "zorder": 3 if strong else 2,
    }


def _legend(page: Any) -> None:
    """Beside the axes, where it hides nothing."""
    page.legend(*page.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=6)


def _row(page: Any, count: int) -> list[Any]:
    return list(page.subplots(1, count, squeeze=False)[0])


def png(draw: Draw, size: tuple[float, float]) -> bytes:
    """Draw a figure of `size` inches."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Page

    style = {
        "font.family": "DejaVu Sans",
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.edgecolor": GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), TEXT),
    }
    # not the reader's own settings: the same bytes everywhere
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        page = Page(figsize=size, dpi=130, layout="constrained")
        FigureCanvasAgg(page)
        draw(page)
        written = io.BytesIO()
        page.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()
