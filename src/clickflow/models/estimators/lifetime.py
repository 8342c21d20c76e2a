"""Columns that a model of purchases and dropping out adds to a customer's features: BG/NBD and Gamma-Gamma.

BG/NBD: Fader, Hardie, Lee, "Counting Your Customers the Easy Way" (Marketing Science 2005): purchases come at a rate
that is gamma distributed over customers (r, alpha), and after each of them a customer is gone for good with a
probability that is beta distributed (a, b). Gamma-Gamma: Fader, Hardie, "The Gamma-Gamma Model of Monetary Value"
(2013). Both are fitted to the histories alone, by maximum likelihood; no answer is looked at.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial

import numpy as np

from clickflow.models.estimators.graph import DOUBLE, FLOAT, Graph
from clickflow.sequences.features import Array

READS = ("repeat_days", "last_day_span", "first_day_tenure", "amount_day_mean")
"""The features it reads: x, t_x, T in days, and the mean value of a day with a purchase."""
COLUMNS = ("bgnbd_buys", "bgnbd_alive", "bgnbd_purchases", "gamma_value", "bgnbd_spend")
"""What it adds: log-odds of a purchase within the horizon and of being a customer still; logs of purchases within the
horizon, of the value of one, and of their product.
"""
LIMIT = 12.0
"""Log-odds are cut off there."""
PENALTY = 1e-3
"""Of the squared logs of the parameters, a customer: keeps them finite where histories say nothing of one."""


@dataclass(frozen=True)
class Lifetime:
    """Fitted parameters; r, alpha (days), a, b of BG/NBD, p, q, v of Gamma-Gamma, and the horizon in days."""

    r: float
    alpha: float
    a: float
    b: float
    p: float
    q: float
    v: float
    horizon: float

    def columns(self, x: Array, span: Array, tenure: Array, value: Array) -> Array:
        """`COLUMNS` of N customers, float64 [N, 5]; NaN where there was no purchase."""
        rate = self.r + x
        past, future = np.log(self.alpha + tenure), np.log(self.alpha + tenure + self.horizon)
        alive = self._alive(x, rate, past, span)
        silent = -rate * (future - past)  # log probability of no purchase, if still a customer
        p_alive = 1 / (1 + np.exp(-alive))
        buys = p_alive * -np.expm1(silent)
        count = np.log(p_alive) + np.log(rate) - past + np.log(self.horizon)
        bought = x + 1
        worth = np.log(self.p * (self.v + bought * value)) - np.log(np.maximum(self.p * bought + self.q - 1, 1e-6))
        log_odds = np.clip(np.log(buys) - np.log1p(-buys), -LIMIT, LIMIT)
        return np.stack([log_odds, alive, count, worth, count + worth], axis=1)

    def purchases(self, x: Array, span: Array, tenure: Array) -> Array:
        """Purchases to be expected of N customers within the horizon, [N]: equation 10 of Fader, Hardie, Lee (2005)."""
        from scipy.special import hyp2f1

        a = self.a if abs(self.a - 1) > 1e-6 else self.a + 1e-6  # the formula has a hole there, its limit none
        past, future = self.alpha + tenure, self.alpha + tenure + self.horizon
        lasting = hyp2f1(self.r + x, self.b + x, a + self.b + x - 1, self.horizon / future)
        gone = -self._alive(x, self.r + x, np.log(past), span)
        alive = np.where(x > 0, 1 / (1 + np.exp(gone)), 1.0)
        count = (a + self.b + x - 1) / (a - 1) * (1 - (past / future) ** (self.r + x) * lasting) * alive
        expected: Array = np.maximum(count, 0.0)
        return expected

    def _alive(self, x: Array, rate: Array, past: Array, span: Array) -> Array:
        """Log-odds of being a customer still."""
        gone = np.log(self.a / (self.b + np.maximum(x, 1.0) - 1)) + rate * (past - np.log(self.alpha + span))
        return np.where(x > 0, np.clip(-gone, -LIMIT, LIMIT), LIMIT)

    def emit(self, graph: Graph, x: str, indexes: Sequence[int]) -> str:
        """The same of columns `indexes` of x, as nodes: [N, 5]; in double precision up to the end, for trees read them:
        a last digit that differs is another leaf. Who buys every week buys within a month with a probability of .99999,
        so nothing is a difference of what is nearly equal.
        """
        of_x = graph.add("Cast", x, to=DOUBLE)
        count, span, tenure, value = (graph.columns(of_x, [index]) for index in indexes)
        constant = partial(graph.constant, kind=np.float64)
        one = constant(1.0)
        rate = graph.add("Add", count, constant(self.r))
        until = graph.add("Add", tenure, constant(self.alpha))
        past = graph.add("Log", until)
        ahead = graph.add("Log", graph.add("Add", graph.add("Div", constant(self.horizon), until), one))
        again = graph.add("Add", graph.add("Max", count, one), constant(self.b - 1))
        gone = graph.add(
            "Add",
            graph.add("Log", graph.add("Div", constant(self.a), again)),
            graph.add(
                "Mul", rate, graph.add("Log", graph.add("Div", until, graph.add("Add", span, constant(self.alpha))))
            ),
        )
        limits = constant(-LIMIT), constant(LIMIT)
        alive = graph.add("Clip", graph.add("Neg", gone), *limits)
        alive = graph.add("Where", graph.add("Greater", count, constant(0.0)), alive, constant(LIMIT))
        odds_alive = graph.add("Exp", alive)  # within LIMIT
        p_gone = graph.add("Div", one, graph.add("Add", odds_alive, one))
        p_alive = graph.add("Mul", odds_alive, p_gone)
        log_alive = graph.add("Log", p_alive)
        expected_if_alive = graph.add("Mul", rate, ahead)
        silent = graph.add("Exp", graph.add("Neg", expected_if_alive))
        half = graph.add("Tanh", graph.add("Mul", expected_if_alive, constant(0.5)))  # 1 - exp(-z) = 2 t / (1 + t)
        heard = graph.add("Div", graph.add("Add", half, half), graph.add("Add", half, one))
        log_buys = graph.add("Add", log_alive, graph.add("Log", heard))
        not_buys = graph.add("Add", p_gone, graph.add("Mul", p_alive, silent))
        odds = graph.add("Clip", graph.add("Sub", log_buys, graph.add("Log", not_buys)), *limits)
        expected = graph.add("Sub", graph.add("Add", log_alive, graph.add("Log", rate)), past)
        expected = graph.add("Add", expected, constant(np.log(self.horizon)))
        bought = graph.add("Add", count, one)
        total = graph.add("Add", graph.add("Mul", bought, value), constant(self.v))
        below = graph.add("Add", graph.add("Mul", bought, constant(self.p)), constant(self.q - 1))
        worth = graph.add(
            "Sub",
            graph.add("Log", graph.add("Mul", total, constant(self.p))),
            graph.add("Log", graph.add("Max", below, constant(1e-6))),
        )
        columns = graph.side_by_side([odds, alive, expected, worth, graph.add("Add", expected, worth)])
        return graph.add("Cast", columns, to=FLOAT)


def fit_lifetime(history: Array, horizon: float) -> Lifetime:
    """From one history a customer, [N, 4] as `READS` says; customers without a purchase are left out."""
    x, span, tenure, value = history.T
    there = ~np.isnan(tenure)
    bgnbd = fit_bgnbd(x[there], span[there], tenure[there])
    again = there & (x > 0) & (value > 0)
    p, q, v = fit_gamma_gamma(x[again] + 1, value[again]) if again.sum() >= 10 else (1.0, 2.0, _middle(value[there]))
    return Lifetime(*bgnbd, p, q, v, horizon)


def _middle(value: Array) -> float:
    positive = value[value > 0]
    return float(np.median(positive)) if len(positive) else 1.0


def fit_bgnbd(x: Array, span: Array, tenure: Array) -> tuple[float, float, float, float]:
    """r, alpha (days), a, b of greatest penalised likelihood, equations 6 and 7 of Fader, Hardie, Lee (2005)."""
    from scipy.optimize import minimize
    from scipy.special import betaln, gammaln

    scale = max(float(tenure.max(initial=1.0)) / 10, 1.0)
    # the same (x, t_x, T) are summed once
    rows, counts = np.unique(np.stack([x, span, tenure], axis=1), axis=0, return_counts=True)
    x, span, tenure = rows[:, 0], rows[:, 1] / scale, rows[:, 2] / scale
    repeated = x > 0

    def loss(logs: Array) -> float:
        r, alpha, a, b = np.exp(logs)
        of_rate = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        stays = betaln(a, b + x) - betaln(a, b) - (r + x) * np.log(alpha + tenure)
        left = betaln(a + 1, b + np.maximum(x, 1) - 1) - betaln(a, b) - (r + x) * np.log(alpha + span)
        each = of_rate + np.where(repeated, np.logaddexp(stays, left), stays)
        return float(-(counts * each).sum() / counts.sum() + PENALTY * (logs**2).sum())

    optimum = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=[(-8.0, 8.0)] * 4)
    r, alpha, a, b = np.exp(optimum.x)
    return float(r), float(alpha * scale), float(a), float(b)


def fit_gamma_gamma(n: Array, value: Array) -> tuple[float, float, float]:
    """p, q, v of greatest penalised likelihood for n purchases of a mean value, equation 1a of Fader, Hardie (2013)."""
    from scipy.optimize import minimize
    from scipy.special import gammaln

    scale = float(np.mean(value))
    value = value / scale

    def loss(logs: Array) -> float:
        p, q, v = np.exp(logs[0]), 1 + np.exp(logs[1]), np.exp(logs[2])
        each = (
            gammaln(p * n + q)
            - gammaln(p * n)
            - gammaln(q)
            + q * np.log(v)
            + (p * n - 1) * np.log(value)
            + p * n * np.log(n)
            - (p * n + q) * np.log(v + n * value)
        )
        return float(-each.mean() + PENALTY * (logs**2).sum())

    optimum = minimize(loss, np.zeros(3), method="L-BFGS-B", bounds=[(-8.0, 8.0)] * 3)
    return float(np.exp(optimum.x[0])), float(1 + np.exp(optimum.x[1])), float(np.exp(optimum.x[2]) * scale)


def state(lifetime: Lifetime | None) -> list[float] | None:
    """As JSON has it."""
    return None if lifetime is None else list(astuple(lifetime))
