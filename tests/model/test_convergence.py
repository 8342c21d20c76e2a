"""A regression that ends before it has converged is said in our words, once; other warnings stay what they are."""

import warnings
from typing import Any

import numpy as np
import pytest

from clickflow.training.tabular import convergence


def fit(rounds: int) -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)) * [1, 10, 100, 1, 1, 1]
    LogisticRegression(max_iter=rounds).fit(x, (x[:, 0] + rng.normal(size=400) > 0).astype(int))


@pytest.mark.parametrize(("rounds", "said"), [(1, True), (2000, False)])
def test_a_fit_that_did_not_converge_is_said(rounds: int, said: bool, capsys: Any) -> None:
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        with convergence("customers"):
            fit(rounds)
            warnings.warn("something else", UserWarning, stacklevel=1)
        assert not [each for each in raised if each.category.__name__ == "ConvergenceWarning"]
    err = " ".join(capsys.readouterr().err.split())
    assert ("customers: a regression ended before it had converged" in err) is said
    assert "ConvergenceWarning" not in err
