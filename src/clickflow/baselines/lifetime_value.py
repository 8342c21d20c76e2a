"""BG/NBD and Gamma-Gamma: churn and spend from the dates and amounts of purchases alone, without any answer.

Formulas: Fader, Hardie, Lee, "Counting Your Customers the Easy Way" (2005), equation 10, and Fader, Hardie, "The
Gamma-Gamma Model of Monetary Value" (2013), equation 5. A customer is (x, t_x, T, m): repeat days, days from the first
purchase to the last and to the time of asking, and the mean value of a day with a purchase.
"""

import numpy as np

from clickflow.models.estimators.lifetime import Lifetime, fit_lifetime
from clickflow.sequences.features import Array

READS = ("repeat_days", "last_day_span", "first_day_tenure", "amount_day_mean")
"""The features of a customer that it reads, in this order."""


def fit(history: Array, horizon: float) -> Lifetime:
    """Parameters of greatest likelihood of the histories [N, 4] of customers with a purchase."""
    return fit_lifetime(history, horizon)


def churn(fitted: Lifetime, history: Array) -> Array:
    """The probability of no purchase within the horizon, [N]."""
    log_odds = fitted.columns(*history.T)[:, 0]
    gone: Array = 1 / (1 + np.exp(log_odds))
    return gone


def purchases(fitted: Lifetime, history: Array) -> Array:
    """Purchases to be expected within the horizon, [N]."""
    x, span, tenure, _ = history.T
    return fitted.purchases(x, span, tenure)


def spend(fitted: Lifetime, history: Array) -> Array:
    """Value to be expected within the horizon, [N]."""
    expected: Array = purchases(fitted, history) * np.exp(fitted.columns(*history.T)[:, 3])
    return expected
