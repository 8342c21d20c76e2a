"""The verb: every check, a line each; a fault is exit code 1."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from clickflow.doctor import locks, machine, places, services, shop_log
from clickflow.doctor.finding import Check, Finding, fault
from clickflow.system import console
from clickflow.system.errors import EXIT_FAILED
from clickflow.system.paths import Paths

CHECKS: tuple[Check, ...] = (
    machine.packages,
    machine.memory,
    machine.disk,
    machine.clock,
    machine.gpu,
    places.commit,
    places.params,
    locks.dvc,
    locks.left,
    shop_log.source,
    shop_log.span,
    shop_log.key,
    places.remote,
    places.mlflow,
    services.variables,
    services.platform,
    services.notices,
)

MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "fault": "[red]✗[/]"}


def run(paths: Paths, *, as_json: bool = False) -> None:
    """Look at everything; SystemExit with code 1 where something will not work."""
    findings: list[Finding] = []
    # Most of them wait for another program or machine.
    with console.progress("doctor", len(CHECKS)) as advance, ThreadPoolExecutor(4) as pool:
        for few in pool.map(lambda check: _look(check, paths), CHECKS):
            findings += few
            advance(1)
    counted = Counter(finding.state for finding in findings)

    def shown() -> Any:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        for finding in findings:
            table.add_row(MARKS[finding.state], finding.about, escape(finding.words))
            if finding.mend:
                table.add_row("", "", f"[bold]→ {escape(finding.mend)}[/]")
        return table

    result = {"findings": [asdict(finding) for finding in findings], "faults": counted["fault"]}
    console.emit({**result, "warnings": counted["warning"]}, as_json=as_json, text=shown)
    if counted["fault"]:
        raise SystemExit(EXIT_FAILED)


def _look(check: Check, paths: Paths) -> list[Finding]:
    try:
        return check(paths)
    except Exception as error:  # one check that stumbles must not hide what the others see
        return [fault(check.__name__, f"could not be checked: {type(error).__name__}: {error}", "report it")]
