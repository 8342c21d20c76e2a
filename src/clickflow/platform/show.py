"""What a person sees of the platform: a line a service. `clickflow ps`."""

from dataclasses import asdict
from typing import Any

from rich.console import Group
from rich.table import Table

from clickflow.platform import health, keys, state, supervisor
from clickflow.platform.health import Service
from clickflow.platform.state import Running
from clickflow.system import console
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths

MLFLOW_USER = "reader"
"""As whom people sign in at MLflow."""


def ps(paths: Paths, *, as_json: bool = False) -> None:
    """One line a service. Raises ClickflowError where the platform does not run or a service is not healthy."""
    running = state.load(paths)
    if not supervisor.running(running.settings):
        raise ClickflowError(
            "the platform has lost its supervisor", next_step="clickflow up clears up and starts it again"
        )
    lines = services(running, as_json=as_json)
    if sick := [service.name for service in lines if not service.healthy]:
        raise ClickflowError(
            f"not healthy: {', '.join(sick)}",
            next_step=f"its log lies in {running.settings.logs}; clickflow up starts it again",
        )


def services(running: Running, *, as_json: bool) -> list[Service]:
    """Print the lines, and return them."""
    chosen, ports = running.settings, running.ports
    lines = health.services(chosen, ports)
    user = next(user for user, role in chosen.users.items() if role == "admin")
    password_file = chosen.folder / keys.PASSWORDS
    total = sum(line.memory for line in lines)
    result = {
        "airflow": ports.airflow_url,
        "mlflow": ports.mlflow_url,
        "serving": ports.serving_url,
        "user": user,
        "password_file": str(password_file),
        "mlflow_user": MLFLOW_USER,
        "mlflow_password_file": str(chosen.folder / keys.MLFLOW),
        "executor": chosen.executor,
        "logs": str(chosen.logs),
        "memory_bytes": total,
        "services": {line.name: asdict(line) for line in lines},
    }

    def shown() -> Any:
        table = Table.grid(padding=(0, 2))
        for line in lines:
            mark = "[green]✓[/]" if line.healthy else "[red]✗[/]"
            table.add_row(mark, line.name, line.words, f"{line.memory / 2**20:,.0f} MB", line.url)
        table.add_row("", "", "", f"[bold]{total / 2**20:,.0f} MB[/]", "")
        return Group(
            table,
            f"Airflow: sign in as {user}; the password stands in {password_file}",
            f"MLflow: sign in as {MLFLOW_USER}; the password stands in {chosen.folder / keys.MLFLOW}",
            f"logs: {chosen.logs}",
        )

    console.emit(result, as_json=as_json, text=shown)
    return lines
