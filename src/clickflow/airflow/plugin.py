"""What clickflow adds to Airflow's own processes: a timetable, and what happens when a run has ended.

Airflow finds it by the entry point `airflow.plugins` of the installed package. Every process of Airflow loads it, so it
imports nothing heavy.
"""

from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

from clickflow.airflow import outcome
from clickflow.airflow.windows import Windows


class ClickflowPlugin(AirflowPlugin):  # type: ignore[misc]  # Airflow is not type-checked
    """The entry point."""

    name = "clickflow"
    timetables: ClassVar[list[Any]] = [Windows]
    listeners: ClassVar[list[Any]] = [outcome]
