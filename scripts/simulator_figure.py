"""Draw docs/images/simulator.png: the process of the simulator, and what a log of it looks like.

python scripts/simulator_figure.py
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from clickflow.sources.simulator import shopper, simulate, truth

TARGET = Path(__file__).resolve().parents[1] / "docs/images/simulator.png"
SHOWN = shopper.INTENTS[: shopper.CRAWL]
COLOURS = ("#4477aa", "#66ccee", "#228833", "#ee6677", "#aa3377")


def intents(axes: Any) -> None:
    """Which intent follows which: the more often, the thicker the arrow."""
    angle = np.pi / 2 - 2 * np.pi * np.arange(len(SHOWN) + 1) / (len(SHOWN) + 1)
    place = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    names = [*SHOWN, "leave"]
    for a, row in enumerate(shopper.FOLLOWS[: len(SHOWN)]):
        for b, share in enumerate((*row[: len(SHOWN)], row[-1])):
            if share >= 0.04:
                style = {"arrowstyle": "-|>", "connectionstyle": "arc3,rad=0.12", "shrinkA": 24, "shrinkB": 24}
                style |= {"color": COLOURS[a], "lw": 0.5 + 6 * share, "alpha": 0.7}
                axes.annotate("", place[b], place[a], arrowprops=style)
    for k, name in enumerate(names):
        face = COLOURS[k] if k < len(SHOWN) else "#bbbbbb"
        circle = {"boxstyle": "circle,pad=0.35", "facecolor": face, "edgecolor": "white"}
        axes.text(*place[k], name, ha="center", va="center", color="white", fontsize=9, bbox=circle)
    axes.set(xlim=(-1.4, 1.4), ylim=(-1.35, 1.35), title="hidden intents, and what follows when one ends")
    axes.axis("off")


def durations(axes: Any) -> None:
    """How long an intent lasts."""
    steps = np.arange(1, 13)
    for k, name in enumerate(SHOWN):
        ends = shopper.HAZARD[k][np.minimum(steps - 1, shopper.ELAPSED - 1)]
        lasts = ends * np.concatenate(([1.0], np.cumprod(1 - ends)[:-1]))
        axes.plot(steps, lasts, marker="o", markersize=3, color=COLOURS[k], label=name)
    axes.set(xlabel="steps", ylabel="probability", title="how long an intent lasts (semi-Markov)")
    axes.legend(frameon=False, fontsize=8)


def rhythm(axes: Any, folder: Path) -> None:
    """Events by hour over the first two weeks."""
    time = duckdb.sql(f"SELECT epoch_us(time) AS t FROM '{folder}/truth/events.parquet'").fetchnumpy()["t"]
    hour = np.asarray(time) // 3_600_000_000
    counts = np.bincount(hour - hour.min())[: 14 * 24]
    axes.fill_between(np.arange(len(counts)) / 24, counts, color=COLOURS[0], alpha=0.7, lw=0)
    axes.set(xlabel="day (0: a Monday)", ylabel="events an hour", title="daily and weekly rhythm")


def popularity(axes: Any, folder: Path) -> None:
    """Places of some items in their group, day by day."""
    shop = truth.read_shop(folder / "truth")
    group = int(np.argmax(shop.group_size))
    start, size = shop.group_start[group], shop.group_size[group]
    place = np.argsort(shop.order[:, start : start + size], axis=1) + 1
    swing = np.argsort(-place.std(axis=0))[: len(COLOURS)]
    for colour, item in zip(COLOURS, swing.tolist(), strict=True):
        axes.plot(place[:, item], color=colour, drawstyle="steps-mid")
    axes.set(xlabel="day", ylabel="place by popularity", title="popularity drifts (five items of one group)")
    axes.invert_yaxis()


def main() -> None:
    """Simulate 300,000 events and draw."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        simulate.simulate(replace(simulate.DEFAULTS, events=300_000), folder)
        figure, axes = plt.subplots(2, 2, figsize=(10.5, 8), layout="constrained")
        intents(axes[0, 0])
        durations(axes[0, 1])
        rhythm(axes[1, 0], folder)
        popularity(axes[1, 1], folder)
    TARGET.parent.mkdir(exist_ok=True)
    figure.savefig(TARGET, dpi=110, metadata={"Software": None})
    print(TARGET.relative_to(TARGET.parents[2]))


if __name__ == "__main__":
    main()
