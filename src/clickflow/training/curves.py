"""The figure of the learning curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clickflow.heads.head import Kind


def draw(
    history: Sequence[Mapping[str, Any]], heads: Mapping[str, Kind], best_epochs: Sequence[int], path: Path
) -> None:
    """Losses of the heads and ranking metrics by epoch, as a PNG; the same history gives the same bytes."""
    from matplotlib.figure import Figure

    epochs = [record["epoch"] for record in history]
    panels = [name for name in heads if name in history[0]["train"]]
    ranked = "recall@20" in history[0].get("valid", {})
    ranking = next((name for name, kind in heads.items() if kind == "ranking"), "")
    figure = Figure(figsize=(4.2 * (len(panels) + ranked), 3.4), layout="constrained")
    axes = figure.subplots(1, len(panels) + ranked, squeeze=False)[0]
    for axis, head in zip(axes, panels, strict=False):
        for part in ("train", "valid"):
            if head in history[0].get(part, {}):
                axis.plot(epochs, [record[part][head] for record in history], marker="o", markersize=3, label=part)
        axis.set(title=f"{head}: loss", xlabel="epoch", ylabel="nats per question")
    if ranked:
        for name in ("recall@20", "mrr@20"):
            axes[-1].plot(epochs, [record["valid"][name] for record in history], marker="o", markersize=3, label=name)
        axes[-1].set(title=f"{ranking}: validation sample", xlabel="epoch", ylim=(0, None))
    for axis in axes:
        for epoch in best_epochs:
            axis.axvline(epoch, color="grey", linewidth=0.8, linestyle=":")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.savefig(path, dpi=120, metadata={"Software": None})
