"""The report a shop's engineer reads: one HTML file without links to load, and a table for the console."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clickflow.evaluation import figures, headline, ranking
from clickflow.evaluation.examples import Example
from clickflow.evaluation.figures import Figure
from clickflow.evaluation.measure import Measured
from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION, ORACLE
from clickflow.params.evaluation import Evaluation
from clickflow.sequences.store import SPLITS, Card

ACTION_COLUMNS = ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "ece")
DIMENSIONS = {
    "length": "Session length (steps)",
    "popularity": "Popularity of the next item",
    "day": "Day (UTC)",
    "hour": "Hour (UTC)",
}


def systems(content: Mapping[str, Any], head: str) -> dict[str, Any]:
    """{system: metrics} of a head, in the order in which they are shown; the best possible last."""
    found = {name: each for name, each in (content[head] or {}).items() if each}
    others = sorted(found.keys() - {CANDIDATE, CHAMPION}, key=lambda name: (_strength(found[name]), name))
    order = [CANDIDATE, CHAMPION, *others]
    best = (content["oracle"] or {}).get(head)  # nothing is known of several steps
    return {name: found[name] for name in order if name in found} | ({ORACLE: best} if best else {})


def draw(measured: Measured, content: Mapping[str, Any], settings: Evaluation) -> list[Figure]:
    """The figures of what was measured; a head that the model lacks has none."""
    made = []
    if content["next_item"]:
        made += _item_figures(measured, content, max(settings.cutoffs))
    if content["reliability"]:
        error = content["next_action"][CANDIDATE]["ece"]["value"]
        alt = f"Reliability curve of next action; expected calibration error {_short(error)}."
        made.append(
            _figure(
                "calibration", "Next action: calibration", alt, figures.reliability(content["reliability"]), (6.4, 4.6)
            )
        )
    return made


def _item_figures(measured: Measured, content: Mapping[str, Any], cutoff: int) -> list[Figure]:
    shown = systems(content, "next_item")
    wanted = [f"recall@{cutoff}", f"mrr@{cutoff}"]
    panels = {metric: {system: each[metric] for system, each in shown.items()} for metric in wanted}
    sliced = content["slices"]["next_item"]
    lead = [name for name in (CANDIDATE, CHAMPION, _best_baseline(shown, wanted[1])) if name in shown]
    parts = ", ".join(f"{figures.title(name)} {_short(each[wanted[0]]['value'])}" for name, each in shown.items())
    made = [
        _figure(
            "systems",
            "Next item: all systems",
            f"Bars with intervals of {' and '.join(wanted)}. {wanted[0]}: {parts}.",
            figures.bars(panels),
            (9.2, 0.9 + 0.42 * len(shown)),
        ),
        _figure(
            "recall_curve",
            "Next item: recall by length of the list",
            f"Recall at 1 to 100 for {', '.join(figures.title(name) for name in shown)}.",
            figures.curves({name: ranking.recall_curve(measured.ranks[name]) for name in shown}),
            (7.2, 4.2),
        ),
        _figure(
            "slices",
            f"Next item: {wanted[1]} by session length and item popularity",
            f"Grouped bars of {wanted[1]} for {', '.join(figures.title(name) for name in lead)}; values in the tables.",
            figures.groups(
                {
                    DIMENSIONS[dimension]: (
                        list(sliced[dimension]),
                        {name: _values(sliced[dimension], name, wanted[1]) for name in lead},
                    )
                    for dimension in ("length", "popularity")
                },
                wanted[1],
            ),
            (9.2, 3.4),
        ),
    ]
    for dimension, heading in (("day", "day by day"), ("hour", "by hour of the day (UTC)")):
        cells = sliced.get(dimension, {})  # a log without a clock has neither
        if len(cells) > 1:
            lines = {name: _values(cells, name, wanted[1]) for name in lead}
            counts = [cell["predictions"] for cell in cells.values()]
            alt = f"{wanted[1]} {heading} for {', '.join(figures.title(name) for name in lead)}; values in the tables."
            made.append(
                _figure(
                    dimension,
                    f"Next item: {wanted[1]} {heading}",
                    alt,
                    figures.over(list(cells), lines, counts, wanted[1]),
                    (9.2, 3.8),
                )
            )
    return made


def _figure(name: str, title: str, alt: str, draw: figures.Draw, size: tuple[float, float]) -> Figure:
    return Figure(name, title, alt, figures.png(draw, size))


def page(
    content: Mapping[str, Any],
    drawn: Sequence[Figure],
    store: Card,
    artefact: Mapping[str, Any],
    settings: Evaluation,
    examples: Sequence[Example] = (),
) -> str:
    """report.html; the same content gives the same bytes."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"short": _short, "data_uri": data_uri, "thousands": lambda n: f"{n:,}"}
    template = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    cutoffs, actions = sorted(settings.cutoffs), systems(content, "next_action")
    return environment.from_string(template).render(
        content=content,
        figures={figure.name: figure for figure in drawn},
        store=store,
        parts=_parts(store),
        artefact=artefact,
        settings=settings,
        title=figures.title,
        items=systems(content, "next_item"),
        headline=[*_headline(content), f"ndcg@{cutoffs[-1]}"] if content["next_item"] else [],
        source=headline.source(content),
        sentence=headline.sentence(content),
        warnings=headline.warnings(content),
        notes=headline.notes(content),
        every=[f"{kind}@{k}" for kind in ("recall", "mrr", "ndcg") for k in cutoffs],
        every_known=[f"{kind}@{k}_known" for kind in ("recall", "mrr", "ndcg") for k in cutoffs],
        several=systems(content, "next_items"),
        actions=actions,
        action_columns=ACTION_COLUMNS,
        dimensions=DIMENSIONS,
        examples=examples,
        cutoff=cutoffs[-1],
    )


def console_table(content: Mapping[str, Any]) -> Any:
    """The headline for a terminal: every system, with intervals."""
    from rich import box
    from rich.table import Table

    title = f"{content['model']}: {content['predictions']:,} predictions, {content['sequences']:,} sequences"
    if content["next_item"] and content["coverage"] is not None:
        title += f"\n{content['coverage']:.1%} of the next items are known"
    table = Table(box=box.SIMPLE, title=title)
    items, acts = systems(content, "next_item"), systems(content, "next_action")
    table.add_column("system", min_width=10)
    columns: list[tuple[str, str]] = []
    if items:
        columns += [("next_item", name) for name in _headline(content)]
    if acts:
        names = ("accuracy", "log_loss") if len(columns) > 2 else ("accuracy", "log_loss", "ece")
        columns += [("next_action", name) for name in names]
    for head, metric in columns:
        ranked = head == "next_item" and not metric.endswith("_known")
        heading, width = (metric, 13) if ranked else ("known", 6)
        if head == "next_action":
            heading = f"action {metric}"
        table.add_column(heading, justify="right", min_width=width)
    for system in dict.fromkeys([*items, *acts]):
        cells = [
            _interval(items.get(system, {}).get(metric))
            if head == "next_item" and not metric.endswith("_known")
            else _short(((items if head == "next_item" else acts).get(system, {}).get(metric) or {}).get("value"))
            for head, metric in columns
        ]
        table.add_row(figures.title(system), *cells)
    return table


def _headline(content: Mapping[str, Any]) -> list[str]:
    """The metrics of next_item that stand first; where those of known items alone are others, these beside them."""
    names = [f"{kind}@{headline.largest(content)}" for kind in ("recall", "mrr")]
    return [each for name in names for each in ([name, f"{name}_known"] if headline.apart(content) else [name])]


def _parts(store: Card) -> list[tuple[str, int, int, str, str]]:
    """Name, sequences, events, first and last time of each split."""
    from clickflow.sequences.card import iso

    def day(time: int | None) -> str:
        return "–" if time is None else iso(time)[:16].replace("T", " ")

    parts = [(name, store.splits[name]) for name in SPLITS if name in store.splits]
    return [(name, part.sequences, part.events, day(part.first), day(part.last)) for name, part in parts]


def _strength(found: Mapping[str, Any]) -> float:
    """By what systems are ordered: their largest MRR, or their accuracy; the strongest first."""
    ranked = [each["value"] or 0.0 for name, each in found.items() if name.startswith("mrr@")]
    return -(max(ranked) if ranked else (found.get("accuracy") or {}).get("value") or 0.0)


def _best_baseline(shown: Mapping[str, Any], metric: str) -> str:
    names = [name for name in shown if name not in (CANDIDATE, CHAMPION, BEST, ORACLE)]
    return max(names, key=lambda name: shown[name][metric]["value"] or 0.0, default="")


def _values(cells: Mapping[str, Any], system: str, metric: str) -> list[float | None]:
    return [cell.get(system, {}).get(metric) for cell in cells.values()]


def _short(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(found: Mapping[str, float | None] | None) -> str:
    if not found or found["value"] is None:
        return "–"
    if found["low"] is None or found["high"] is None:
        return _short(found["value"])
    return f"{_short(found['value'])} [dim]±{(found['high'] - found['low']) / 2:.3f}[/]"


def data_uri(png: bytes) -> str:
    """A figure as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
