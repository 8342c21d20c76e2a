"""What follows from a forecast for the shelf: when to order, how much, and what stock-outs and leftovers cost."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickflow.heads.forecasts import total as sum_of_steps
from clickflow.system.errors import UsageError

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of a piece, in money."""

    short: float
    """Asked for and not there: the margin lost."""
    left: float
    """There and not asked for, until the end of the horizon: holding it, or writing it off."""

    @property
    def service_level(self) -> float:
        """The share of periods in which nothing should be missing, so that both cost least together (the newsvendor's
        critical ratio, Arrow, Harris and Marschak 1951). Raises UsageError where there is none.
        """
        if self.short <= 0 or self.left <= 0:
            raise UsageError("the costs of a piece short and of a piece left are above 0", kept="nothing was run")
        return self.short / (self.short + self.left)


def total(forecast: Array, periods: int | None = None) -> tuple[Array, Array]:
    """Mean and standard deviation [s] of the units of the first `periods` (None: all) of forecasts [s, h, 4]."""
    return sum_of_steps(forecast[:, :periods])


def enough(forecast: Array, service_level: float, periods: int | None = None) -> Array:
    """Units [s], whole, that suffice for the first `periods` with this probability: the negative binomial distribution
    of `total`, Poisson's where it varies less than that.
    """
    from scipy import stats

    if not 0 < service_level < 1:
        raise UsageError(f"a service level lies between 0 and 1, not at {service_level}", kept="nothing was run")
    mean, deviation = total(forecast, periods)
    mean = np.maximum(mean, 1e-9)
    variance = np.maximum(deviation**2, mean * 1.0001)
    share = mean / variance
    units: Array = stats.nbinom.ppf(service_level, mean * share / (1 - share), share)
    return np.where(mean > 1e-6, units, 0.0)


@dataclass(frozen=True)
class Advice:
    """Of each series, whole units [s]."""

    reorder_point: Array
    """Order when what is there and on its way falls to this."""
    order_quantity: Array
    """Order so much then: what is bought until the next order, on average."""


def advice(forecast: Array, *, lead_time: int, every: int, service_level: float) -> Advice:
    """For a supplier who delivers after `lead_time` periods and is ordered from every `every` periods (Silver, Pyke and
    Thomas 2016, Inventory and Production Management in Supply Chains, chapter 6). Raises UsageError where the forecast
    does not reach so far.
    """
    horizon = forecast.shape[1]
    if lead_time + every > horizon or lead_time < 1 or every < 1:
        raise UsageError(
            f"lead time ({lead_time}) and periods between orders ({every}) are 1 or more, and together no more "
            f"than the horizon ({horizon})",
            kept="nothing was run",
        )
    point = enough(forecast, service_level, lead_time + every)
    return Advice(point, np.maximum(np.ceil(forecast[:, lead_time : lead_time + every, 0].sum(1)), 1.0))


def cost(actual: Array, stock: Array, costs: Costs) -> float:
    """What it would have cost to have `stock` [s] for the units `actual` [s, h] of the whole horizon."""
    demand = np.nansum(actual, 1)
    return float((costs.short * np.maximum(demand - stock, 0) + costs.left * np.maximum(stock - demand, 0)).sum())
