"""Levels of days: by how much what came as of a day differs from what a blend says of it, for all who were asked then.

Members are weighed beside a free level of each day, so that they are weighed by how they rank the customers of a day,
and not by whether they tell which day it is. Of a log of more than a year, levels of the days a year before those that
are asked about say how busy their season is.
"""

from dataclasses import dataclass

import numpy as np

from clickflow.sequences.features import Array
from clickflow.system.moments import DAY

L2 = 0.003
"""Of the squared levels, per row: a day of few rows hardly has one."""
FEWEST = 30
"""Rows a day, of fewer of which days have no levels."""
USUAL = 0.2
"""How far levels of days lie apart in shops without a season (as log-odds, and logs of amounts): a season of last year
counts as far as they lie further apart than that.
"""
YEAR = 365
"""Days: whole weeks and a day; who asks about few days asks about as many weekends."""
NEAREST = 7
"""Days from those a year before, within which a moment says something of them, if half the horizon is less."""


@dataclass(frozen=True)
class Levels:
    """Of each moment of asking: when, its level, and the variance that chance gives such a level."""

    times: Array
    values: Array
    chance: Array

    def spread(self) -> float:
        """The variance of levels beyond chance, and beyond a straight line: a shop that grows has no season for it."""
        years = (self.times - self.times.mean()) / (YEAR * DAY)
        rest = self.values - np.polyval(np.polyfit(years, self.values, 1), years)
        return max(float((rest**2 - self.chance).mean()), 0.0)

    def season(self, days: float, within: float) -> float:
        """The level to be expected of answers `within` so many days that nothing is known of yet, where those known are
        within `days`: that of a year before, as far as levels lie apart, and as far as it is not chance itself; 0
        where the log is too short to have it.
        """
        begin = self.times.max() + (days - YEAR) * DAY
        reach = max(days / 2, NEAREST) * DAY
        near = (self.times >= begin - reach) & (self.times <= begin + (within - days) * DAY + reach)
        if not near.any():
            return 0.0
        spread = self.spread()
        # answers of days that are near each other overlap: their mean is as much of chance as one of them
        chance = float(self.chance[near].mean())
        seasonal, measured = spread / (spread + USUAL**2), spread / max(spread + chance, 1e-12)
        return float(self.values[near].mean()) * seasonal * measured


def moments(times: Array | None, width: int) -> tuple[Array, Array] | None:
    """The moments [D] of asking and which of them each row has [N]; None where no level of theirs can be fitted."""
    if times is None or width > 1:
        return None
    days, which = np.unique(times, return_inverse=True)
    return (days, which) if 1 < len(days) <= len(times) / FEWEST else None
