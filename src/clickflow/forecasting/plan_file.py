"""A plan as a file (`sequences.plan_file`), of the series of a panel."""

import numpy as np

from clickflow.forecasting import planned
from clickflow.forecasting.panel import Panel
from clickflow.forecasting.planned import Plan
from clickflow.sequences.plan_file import PlanFile


def of(file: PlanFile, held: Panel, horizon: int) -> tuple[Plan, tuple[str, ...]]:
    """The plan of a panel and of the horizon ahead, and what is to be said of it. Raises DataError where two rows say
    different things of one day.
    """
    rows, unknown = file.of(held.ids)
    end, until = (
        held.dates(np.array([held.periods, held.periods + horizon])).astype("datetime64[D]").astype(int).tolist()
    )
    notes = tuple(file.notes(rows, held.ids, unknown, trained=end, end=end, until=until))
    return planned.of_panel(held, horizon, rows, np.arange(len(held.values))), notes
