"""The timetable of the DAG `backfill`: windows by a cron line, of which none is ever due by itself."""

from typing import Any

from airflow.timetables.interval import CronDataIntervalTimetable


class Windows(CronDataIntervalTimetable):  # type: ignore[misc]  # Airflow is not type-checked
    """Airflow's own backfill asks for windows with `catchup`, the scheduler without: it gets none.

    A start date in an age to come would do so too, but a plain trigger would then have no tasks, and end well.
    """

    def next_dagrun_info(self, *, last_automated_data_interval: Any, restriction: Any) -> Any:
        """The window after the last one; None for the scheduler."""
        if not restriction.catchup:
            return None
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=restriction
        )
