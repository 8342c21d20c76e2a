"""The report a shop's engineer reads: one HTML file without links to load, and a table for the console."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clickflow.evaluation import bands, figures, headline, paragraph
from clickflow.evaluation.answers import KINDS, ranking
from clickflow.evaluation.examples import Example
from clickflow.evaluation.figures import Figure
from clickflow.evaluation.measure import Measured
from clickflow.evaluation.overall import Overall
from clickflow.evaluation.systems import BEST, CANDIDATE, CHAMPION, ORACLE
from clickflow.heads import metrics, outputs
from clickflow.heads.head import Kind, several
from clickflow.heads.outputs import Output
from clickflow.params.evaluation import Evaluation
from clickflow.sequences.store import SPLITS, Card

COLUMNS = {
    "classes": ("accuracy", "precision", "recall", "f1", "roc_auc", "log_loss", "ece"),
    "probability": ("average_precision", "roc_auc", "log_loss", "brier", "ece"),
    "amount": ("mae", "pinball", "spearman", "gini", "sum_ratio", "coverage_80"),
    "forecast": ("weighted_quantile_loss", "mase", "rmse", "coverage_80"),
}
"""What stands first of kinds that do not rank; those at the budgets follow."""
CONSOLE = {
    "classes": ("accuracy", "log_loss", "ece"),
    "probability": ("average_precision", "roc_auc", "log_loss", "ece"),
    "amount": ("mae", "gini", "sum_ratio", "coverage_80"),
    "forecast": ("weighted_quantile_loss", "mase", "rmse", "coverage_80"),
}
"""The same on the console."""
ORDER = {"accuracy": 1, "log_loss": -1, "mae": -1, "weighted_quantile_loss": -1}
"""By what systems are ordered that do not rank, the first that is measured, and which way is better."""
DRAWN = {
    "ranking": ("systems", "recall_curve", "day", "hour", "slices"),
    "classes": ("calibration",),
    "probability": ("precision_recall", "deciles", "calibration"),
    "amount": ("deciles",),
    "forecast": ("bands", "ahead"),
}
"""The figures of each kind, in the order of the page."""
PLACES = {"ranking": "items", "classes": "actions"}
"""The place in the page of the first head of these kinds; others have their name."""
DIMENSIONS = {
    "length": "Session length (steps)",
    "popularity": "Popularity of the next item",
    "day": "Day (UTC)",
    "hour": "Hour (UTC)",
    "pace": "How often a series sells",
    "visitor": "New or returning",
    "country": "Country",
    "device": "Device",
}


def systems(content: Mapping[str, Any], head: str) -> dict[str, Any]:
    """{system: metrics} of a head, in the order in which they are shown; the best possible last."""
    measured = {name: each for name, each in (content.get(head) or {}).items() if each}
    others = sorted(measured.keys() - {CANDIDATE, CHAMPION}, key=lambda name: (_strength(measured[name]), name))
    order = [CANDIDATE, CHAMPION, *others]
    best = (content["oracle"] or {}).get(head)  # nothing is known of several steps
    return {name: measured[name] for name in order if name in measured} | ({ORACLE: best} if best else {})


def detail(content: Mapping[str, Any], output: Output, key: str) -> Any:
    """What a kind tells besides, of one head."""
    return content.get(key) if is_first(content, output) else content["details"][output.name][key]


def is_first(content: Mapping[str, Any], output: Output) -> bool:
    """Whether it is the first head of a kind whose figures and places in the page are then without its name."""
    return outputs.is_plain(output.name, [each.name for each in headline.answered(content)])


def draw(measured: Measured, content: Mapping[str, Any], settings: Evaluation) -> list[Figure]:
    """The figures of what was measured, head by head."""
    plots = []
    for output in headline.answered(content):
        if not output.ahead:
            before = "" if is_first(content, output) else f"{output.name}_"
            drawn = FIGURES[output.kind](measured, content, output, settings)
            plots += [replace(figure, name=before + figure.name) for figure in drawn]
    return plots


def _of_classes(_: Measured, content: Mapping[str, Any], output: Output, __: Evaluation) -> list[Figure]:
    error = content[output.name][CANDIDATE]["ece"]["value"]
    alt = f"Reliability curve of {output.title.lower()}; expected calibration error {_short(error)}."
    curve = figures.reliability(detail(content, output, "reliability"))
    return [_figure("calibration", f"{output.title}: calibration", alt, curve, (6.4, 4.6))]


def _of_probability(_: Measured, content: Mapping[str, Any], output: Output, __: Evaluation) -> list[Figure]:
    head, own = output.title, content["details"][output.name]
    shown = systems(content, output.name)
    lines = {name: own["precision_recall"][name] for name in shown if name in own["precision_recall"]}
    areas = ", ".join(f"{figures.title(name)} {_short(shown[name]['average_precision']['value'])}" for name in lines)
    said = f"said probability: {output.head.question}"
    plots = [
        _figure(
            "precision_recall",
            f"{head}: precision against recall",
            f"Precision-recall curves; average precision: {areas}.",
            figures.precision_recall(lines, own["share_of_yes"] or 0.0),
            (7.2, 4.6),
        )
    ]
    if own["deciles"]:
        best = own["deciles"][0]
        words = ("share of yes", "all yes", "the likeliest")
        drawn = figures.deciles(own["deciles"], ("probability", "share"), words)
        alt = f"Tenths of the rows; the likeliest tenth has {_short(best['lift'], 1)} times the share of yes of all."
        plots.append(
            _figure(
                "deciles",
                f"{head}: tenths of the rows",
                alt,
                drawn,
                (9.2, 3.6),
            )
        )
    error = _short(shown[CANDIDATE]["ece"]["value"])
    alt = f"Reliability curve of {head.lower()}; expected calibration error {error}."
    drawn = figures.reliability(own["reliability"], said)
    return [*plots, _figure("calibration", f"{head}: calibration", alt, drawn, (6.4, 4.6))]


def _of_amount(_: Measured, content: Mapping[str, Any], output: Output, __: Evaluation) -> list[Figure]:
    cells = content["details"][output.name]["deciles"][CANDIDATE]
    if not cells:
        return []
    alt = f"Tenths of the rows; the first has {_short(cells[0]['found'], 2)} of all amounts."
    drawn = figures.deciles(cells, ("expected", "amount"), ("mean amount", "all amounts", "the largest expected"))
    return [_figure("deciles", f"{output.title}: tenths of the rows", alt, drawn, (9.2, 3.6))]


def _of_forecast(measured: Measured, content: Mapping[str, Any], output: Output, _: Evaluation) -> list[Figure]:
    shown, details = bands.chosen(measured, output), content["details"][output.name]["by_step"]
    drawn = [
        _figure(
            "bands",
            f"{output.title}: forecasts with their bands",
            f"What was sold, and the forecast with its .1 and .9 quantiles, of {len(shown)} series of the test part.",
            figures.bands(shown),
            (9.2, 1.9 * len(shown)),
        )
    ]
    if len(details) > 1:
        alt = f"Weighted quantile loss and coverage of {output.title.lower()} from 1 to {len(details)} steps ahead."
        title = f"{output.title}: by steps ahead"
        drawn.append(_figure("ahead", title, alt, figures.ahead(details), (9.2, 3.2)))
    return drawn if shown else []


def _of_ranking(measured: Measured, content: Mapping[str, Any], output: Output, settings: Evaluation) -> list[Figure]:
    cutoff, head = max(settings.cutoffs), output.title
    shown = systems(content, output.name)
    wanted = [f"recall@{cutoff}", f"mrr@{cutoff}"]
    panels = {metric: {system: each[metric] for system, each in shown.items()} for metric in wanted}
    sliced = content["slices"][output.name]
    ranks = measured.answers[output.name].systems
    lead = [name for name in (CANDIDATE, CHAMPION, _best_baseline(shown, wanted[1])) if name in shown]
    parts = ", ".join(f"{figures.title(name)} {_short(each[wanted[0]]['value'])}" for name, each in shown.items())
    plots = [
        _figure(
            "systems",
            f"{head}: all systems",
            f"Bars with intervals of {' and '.join(wanted)}. {wanted[0]}: {parts}.",
            figures.bars(panels),
            (9.2, 0.9 + 0.42 * len(shown)),
        ),
        _figure(
            "recall_curve",
            f"{head}: recall by length of the list",
            f"Recall at 1 to 100 for {', '.join(figures.title(name) for name in shown)}.",
            figures.curves({name: ranking.recall_curve(ranks[name]) for name in shown}),
            (7.2, 4.2),
        ),
        _figure(
            "slices",
            f"{head}: {wanted[1]} by session length and item popularity",
            f"Grouped bars of {wanted[1]} for {', '.join(figures.title(name) for name in lead)}; values in the tables.",
            figures.groups(
                {
                    DIMENSIONS[dimension]: (
                        list(sliced[dimension]),
                        {name: _values(sliced[dimension], name, wanted[1]) for name in lead},
                    )
                    for dimension in ("length", "popularity")
                    if dimension in sliced
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
            drawn = figures.over(list(cells), lines, counts, wanted[1])
            plots.append(_figure(dimension, f"{head}: {wanted[1]} {heading}", alt, drawn, (9.2, 3.8)))
    return plots


FIGURES: Mapping[Kind, Callable[[Measured, Mapping[str, Any], Output, Evaluation], list[Figure]]] = {
    "ranking": _of_ranking,
    "classes": _of_classes,
    "probability": _of_probability,
    "amount": _of_amount,
    "forecast": _of_forecast,
}
"""By kind of answer."""


def _figure(name: str, title: str, alt: str, draw: figures.Draw, size: tuple[float, float]) -> Figure:
    return Figure(name, title, alt, figures.png(draw, size))


def page(
    content: Mapping[str, Any],
    drawn: Sequence[Figure],
    store: Card,
    artefact: Mapping[str, Any],
    settings: Evaluation,
    examples: Sequence[Example] = (),
    overall: Overall | None = None,
) -> str:
    """report.html; the same content gives the same bytes."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"short": _short, "data_uri": data_uri, "thousands": lambda n: f"{n:,}"}
    template = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        content=content,
        figures={figure.name: figure for figure in drawn},
        store=store,
        parts=_parts(store),
        artefact=artefact,
        settings=settings,
        title=figures.title,
        heads=[_section(content, output, settings) for output in headline.answered(content) if not output.ahead],
        ranked=headline.ranked(content),
        source=headline.source(content),
        sentence=content["summary"],
        sum_of=lambda value: paragraph.sum_of(value, settings),
        warnings=headline.warnings(content),
        notes=headline.notes(content),
        dimensions=DIMENSIONS,
        examples=examples,
        weights={} if overall is None else overall.weights,
        alike=() if overall is None else overall.alike,
    )


def _section(content: Mapping[str, Any], output: Output, settings: Evaluation) -> dict[str, Any]:
    """What the page says of one head."""
    kind, cutoffs, first = KINDS[output.kind], sorted(settings.cutoffs), is_first(content, output)
    section: dict[str, Any] = {
        "head": output.head,
        "output": output.name,
        "title": output.title,
        "id": PLACES[output.kind] if first else output.name,
        "figures": "" if first else f"{output.name}_",
        "drawn": DRAWN[output.kind],
        "systems": systems(content, output.name),
        "slices": content["slices"][output.name],
        "counted": kind.COUNTED,
        "count": sum(cell[kind.COUNTED] for cell in content["slices"][output.name]["length"].values()),
        "sliced": kind.shown(settings),
        "groups": content["groups"][output.name],
        "money": content["money"].get(output.name),
        **dict.fromkeys(("every", "every_known", "several", "classes", "by_steps_seen", "by_lead"), ()),
    }
    if output.kind in COLUMNS:
        own = content[output.name][CANDIDATE]
        section["columns"] = [*COLUMNS[output.kind], *(name for name in own if metrics.budget_of(name) is not None)]
        if output.kind == "classes":
            return section | {"classes": detail(content, output, "per_action")}
        if output.kind != "probability":
            return section
        details = content["details"][output.name]
        return section | {"by_steps_seen": details["by_steps_seen"], "by_lead": details["by_lead"]}
    every = [f"{name}@{k}" for name in ("recall", "mrr", "ndcg") for k in cutoffs]
    areas = [name for name in ("roc_auc",) if name in content[output.name][CANDIDATE]]
    return section | {
        "columns": [*_headline(content, output.name), f"ndcg@{cutoffs[-1]}", *areas],
        "every": every,
        "every_known": [f"{name}_known" for name in every],
        "several": systems(content, several(output.name)),
    }


def console_table(content: Mapping[str, Any]) -> Any:
    """The headline for a terminal: every system, with intervals."""
    from rich import box
    from rich.table import Table

    size = (
        f"{content['predictions']:,} predictions" if headline.ranked(content) else f"{content['positions']:,} questions"
    )
    title = f"{content['model']}: {size}, {content['sequences']:,} sequences"
    if headline.ranked(content) and content["coverage"] is not None:
        title += f"\n{content['coverage']:.1%} of the {headline.items(content)} are known"
    table = Table(box=box.SIMPLE, title=title)
    shown = [output for output in headline.answered(content) if not output.ahead]
    measured = {output.name: systems(content, output.name) for output in shown}
    table.add_column("system", min_width=10)
    columns: list[tuple[Output, str]] = []
    for output in shown:
        if output.kind == "ranking":
            columns += [(output, name) for name in _headline(content, output.name)]
        else:
            names = CONSOLE[output.kind]
            columns += [(output, name) for name in (names[:-1] if len(columns) > 2 else names)]
    for output, metric in columns:
        if metric.endswith("_known"):
            table.add_column("known", justify="right", min_width=6)
        elif output.kind == "ranking":
            heading = metric if is_first(content, output) else f"{output.name} {metric}"
            table.add_column(heading, justify="right", min_width=13, overflow="fold")
        else:
            heading = f"{output.name.rpartition('_')[2]} {metric.replace('_', ' ')}"  # words, which can be wrapped
            table.add_column(heading, justify="right", min_width=6, overflow="fold")
    for system in dict.fromkeys(name for each in measured.values() for name in each):
        cells = []
        for output, metric in columns:
            own = measured[output.name].get(system, {}).get(metric)
            short = output.kind != "ranking" or metric.endswith("_known")
            cells.append(_short((own or {}).get("value")) if short else _interval(own))
        table.add_row(figures.title(system), *cells)
    return table


def _headline(content: Mapping[str, Any], head: str) -> list[str]:
    """The metrics of a ranking that stand first; where those of known items alone are others, these beside them."""
    names = [f"{kind}@{headline.telling(content, head)}" for kind in ("recall", "mrr")]
    apart = headline.apart(content, head)
    return [each for name in names for each in ([name, f"{name}_known"] if apart else [name])]


def _parts(store: Card) -> list[tuple[str, int, int, str, str]]:
    """Name, sequences, events, first and last time of each split."""
    from clickflow.system.moments import iso

    def day(time: int | None) -> str:
        return "–" if time is None else iso(time)[:16].replace("T", " ")

    parts = [(name, store.splits[name]) for name in SPLITS if name in store.splits]
    return [(name, part.sequences, part.events, day(part.first), day(part.last)) for name, part in parts]


def _strength(measured: Mapping[str, Any]) -> float:
    """By what systems are ordered: their largest MRR, or what `ORDER` has of them; the strongest first."""
    ranked = [each["value"] or 0.0 for name, each in measured.items() if name.startswith("mrr@")]
    if ranked:
        return -max(ranked)
    name = next((name for name in ORDER if name in measured), "")
    return -ORDER.get(name, 1) * ((measured.get(name) or {}).get("value") or 0.0)


def _best_baseline(shown: Mapping[str, Any], metric: str) -> str:
    names = [name for name in shown if name not in (CANDIDATE, CHAMPION, BEST, ORACLE)]
    return max(names, key=lambda name: shown[name][metric]["value"] or 0.0, default="")


def _values(cells: Mapping[str, Any], system: str, metric: str) -> list[float | None]:
    return [cell.get(system, {}).get(metric) for cell in cells.values()]


def _short(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _interval(figure: Mapping[str, float | None] | None) -> str:
    if not figure or figure["value"] is None:
        return "–"
    if figure["low"] is None or figure["high"] is None:
        return _short(figure["value"])
    return f"{_short(figure['value'])} [dim]±{(figure['high'] - figure['low']) / 2:.3f}[/]"


def data_uri(png: bytes) -> str:
    """A figure as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
