"""The report of `clickflow watch`: a table in the terminal, and one HTML file without links to load."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clickflow.evaluation import figures
from clickflow.evaluation.figures import Figure
from clickflow.evaluation.report import data_uri
from clickflow.events.refusals import named
from clickflow.monitoring import plots, rule
from clickflow.monitoring.rule import LIVE, METRIC, Bound, Judged, Verdict
from clickflow.monitoring.watched import Outcome

TITLES = {
    "event_types": "event types",
    "unknown_items": "unknown items",
    "session_length": "session length",
}
"""What is compared, for people."""


def title(bound: str) -> str:
    """A bound's name for people."""
    head, dot, metric = bound.partition(".")
    if dot and metric == "accuracy":
        return head.replace("_", " ")
    return TITLES.get(bound, bound.replace("_", " ") if dot else bound)


def console_text(result: Mapping[str, Any], verdicts: Sequence[Verdict]) -> Any:
    """A table a model, a column a window, the oldest first; then what follows from it."""
    from rich.console import Group
    from rich.markup import escape

    newest = f"newest event {minute(result['newest_event'])} UTC, {age(result['age_hours'])}"
    lines = [f"{newest}{': [bold red]stale[/]' if result['stale'] else ''}"]
    if result["refused_files"]:
        lines.append(f"[bold red]no row was accepted[/] of {escape(named(result['refused_files']))}")
    for verdict in verdicts:
        call = "[bold red]retrain[/]" if verdict.retrain else "no call for retraining"
        lines.append(f"{escape(verdict.model)}: {call}: {escape(verdict.why)}")
        lines += [f"  note: {escape(note)}" for note in verdict.notes]
    tables = [_table(verdict) for verdict in verdicts if verdict.windows]
    return Group(*tables, *lines, f"report: {escape(result['report'])}")


def age(hours: float | None) -> str:
    """How old the newest event is, for people; None: the log has no clock."""
    if hours is None:
        return "by an order alone, of no known age"
    return f"{hours:.1f} hours old" if hours < 48 else f"{hours / 24:.1f} days old"


def _table(verdict: Verdict) -> Any:
    from rich import box
    from rich.table import Table

    ends = [minute(window.until) for window in verdict.windows]
    whole = len({end[11:] for end in ends}) == 1
    table = Table(
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=f"{verdict.model}, version {verdict.version}: windows to{f' {ends[-1][11:]}' if whole else ''} (UTC)",
        title_justify="left",
    )
    table.add_column("", overflow="fold")
    for window in verdict.windows:
        # where there is no room the bound stands below its value: cut off it would say nothing
        table.add_column(minute(window.until)[5 : 10 if whole else 16], justify="right", overflow="fold")
    table.add_row("sequences", *(f"{window.sequences:,}" for window in verdict.windows))
    for number, bound in enumerate(verdict.windows[0].bounds):
        cells = [window.bounds[number] for window in verdict.windows]
        table.add_row(title(bound.name), *(_cell(cell) for cell in cells))
    table.add_row("breaches", *("[bold red]yes[/]" if window.breach else "no" for window in verdict.windows))
    return table


def _cell(bound: Bound) -> str:
    if bound.value is None or bound.limit is None:
        return "[dim]–[/]"
    sign = "≥" if _least(bound) else "≤"
    value = f"[bold red]{_brief(bound.value)}✗[/] " if bound.breach else f"{_brief(bound.value)} "
    return f"{value}[dim]{sign}{_brief(bound.limit)}[/]"


def _least(bound: Bound) -> bool:
    """Whether the limit is the least that the value may be."""
    return bound.kind == LIVE or (bound.kind == METRIC and rule.sign(bound.name) > 0)


def _brief(share: float) -> str:
    """Three decimals without the zero before them, so that five windows stand in a narrow terminal."""
    return f"{share:.3f}".removeprefix("0")


def minute(time: str) -> str:
    """`2026-02-01 21:58` of an ISO time."""
    return time[:16].replace("T", " ")


def page(result: Mapping[str, Any], seen: Sequence[Outcome]) -> str:
    """report.html; the same content gives the same bytes."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"minute": minute, "named": title, "age": age, "least": _least}
    environment.filters["data_uri"], environment.filters["thousands"] = data_uri, lambda n: f"{n:,}"
    environment.filters["number"] = lambda value: "–" if value is None else f"{value:.4f}"
    template = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    drawn = {each.verdict.model: _draw(each) for each in seen}
    return environment.from_string(template).render(
        result=result, verdicts=[each.verdict for each in seen], figures=drawn, reasons=_reasons
    )


def _reasons(windows: Sequence[Judged]) -> list[tuple[str, list[str]]]:
    """Why bounds were not judged, each reason once with the ends of its windows."""
    reasons: dict[str, list[str]] = {}
    for window in windows:
        for why in dict.fromkeys(bound.why for bound in window.bounds if bound.why):
            reasons.setdefault(why, []).append(minute(window.until))
    return list(reasons.items())


def _draw(seen: Outcome) -> list[Figure]:
    verdict = seen.verdict
    names = [bound.name for bound in verdict.windows[0].bounds] if verdict.windows else []
    judged = [n for n, _ in enumerate(names) if any(window.bounds[n].value is not None for window in verdict.windows)]
    drawings = []
    if judged:
        labels = [minute(window.until)[5:10] for window in verdict.windows]
        lines = {title(names[n]): [window.bounds[n] for window in verdict.windows] for n in judged}
        alt = f"Each bound of {verdict.model} over {len(labels)} windows; values in the table."
        height = 2.1 * -(-len(lines) // 3) + 0.4
        drawings.append(
            Figure("windows", "Window by window", alt, figures.png(plots.windows(labels, lines), (10.2, height)))
        )
    reference = seen.watched.reference if seen.watched else None
    if reference is not None and seen.shares and seen.shares[-1]:
        panels = {
            title(name): (cells, reference.shares[name], seen.shares[-1][name])
            for name, cells in reference.cells.names.items()
            if name != "unknown_items"
        }
        alt = "Shares in the training data and in the latest window, by " + ", ".join(panels)
        drawings.append(
            Figure(
                "latest",
                "The latest window beside the training data",
                alt,
                figures.png(plots.beside(panels), (10.2, 5.2)),
            )
        )
    return drawings
