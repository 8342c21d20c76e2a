"""benchmarks/customer.py on a small log: what it writes, that the future does not matter, and what it refuses."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickflow.system.errors import ClickflowError

HORIZON = 30


def log(path: Path, *, customers: int = 80, days: int = 300, extra: tuple[str, ...] = (), leave: float = 0.0) -> Path:
    """Purchases 10 or 60 days apart; with `leave`, each customer has gaps of their own, and each purchase may be the
    last.
    """
    random = np.random.default_rng(0)
    start = np.datetime64("2025-01-01T08:00:00")
    lines = ["customer_id,time,amount"]
    for customer in range(customers):
        at = float(random.integers(0, 200))
        own = random.choice([10, 40, 160]) if leave else 0
        while at < days:
            lines.append(f"c{customer},{start + np.timedelta64(int(at * 86400), 's')},{random.lognormal(3, 1):.2f}")
            at += random.exponential(own or random.choice([10, 60]))
            if leave and random.random() < leave:
                break
    path.write_text("\n".join([*lines, *extra]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def measure(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    monkeypatch.syspath_prepend(root / "benchmarks")
    import customer

    def run(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["customer.py", *words])
        customer.main()

    return run


def test_differences_are_of_the_same_customers_with_intervals(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(root / "benchmarks")
    import by_customer
    import customer
    from sklearn.metrics import log_loss, roc_auc_score

    rng = np.random.default_rng(0)
    likely = rng.random(500)
    churn = (rng.random(500) < likely).astype(float)
    spend = np.where(churn > 0, 0.0, np.round(rng.lognormal(3, 1, 500)))
    noise = {"churn": np.round(0.3 * likely + 0.7 * rng.random(500), 2), "spend": np.round(10 * (1 - likely))}
    own = {"churn": likely, "spend": 20 * (1 - likely)}
    answers = {"preset": own, "noise": noise, "same": own}
    apart_by = by_customer.differences({"churn": churn, "spend": spend}, answers)
    for name, metric in (("roc_auc", roc_auc_score), ("log_loss", log_loss)):
        apart = metric(churn, likely) - metric(churn, noise["churn"])
        assert apart_by["churn"]["noise"][name]["value"] == pytest.approx(apart, abs=1e-9)
    gained = [np.cumsum(spend[np.argsort(-by)]).mean() / spend.sum() - 501 / 1000 for by in (own["spend"], spend)]
    assert customer.gini(spend, own["spend"]) == pytest.approx(gained[0] / gained[1], abs=1e-9)
    apart = (customer.gini(spend, answers["preset"]["spend"]) or 0) - (customer.gini(spend, noise["spend"]) or 0)
    assert apart_by["spend"]["noise"]["gini"]["value"] == pytest.approx(apart, abs=1e-9)
    for question in apart_by:
        for metric_of in apart_by[question]["noise"].values():
            assert metric_of["low"] < metric_of["value"] < metric_of["high"]
        assert all(set(each.values()) == {0.0} for each in apart_by[question]["same"].values())
    assert apart_by["churn"]["noise"]["roc_auc"]["low"] > 0 > apart_by["churn"]["noise"]["log_loss"]["high"]


def test_it_measures_preset_and_baselines_on_the_same_customers(measure: Callable[..., None], tmp_path: Path) -> None:
    words = ("--horizon-days", str(HORIZON), "--preset", "logistic", "--as-of", "2025-09-15")
    answers = []
    later = ("c1,2025-10-25T00:00:00,9999", "new,2025-10-20,5")
    for name, extra in (("one", ()), ("two", later)):
        to = ("--json", str(tmp_path / f"{name}.json"), "--predictions", str(tmp_path / f"{name}_answers.csv"))
        measure("--log", str(log(tmp_path / f"{name}.csv", extra=extra)), *words, *to, "--importance")
        answers.append((tmp_path / f"{name}_answers.csv").read_text())
    assert answers[0] == answers[1], "what comes after the as-of day and its horizon changes no answer"
    result = json.loads((tmp_path / "one.json").read_text())
    assert set(result["churn"]) == set(result["spend"]) == {"preset", "mean", "rfm", "boosting", "bgnbd"}
    assert set(result["churn"]["preset"]) == {"roc_auc", "average_precision", "log_loss", "ece", "ece_by_chance"}
    assert {"mae", "spearman", "gini", "gini_without_largest", "sum_ratio", "coverage_80"} <= set(
        result["spend"]["preset"]
    )
    assert result["churn"]["preset"]["roc_auc"] > 0.6
    assert list(result["importance"].values()) == sorted(result["importance"].values(), reverse=True)
    assert result["spend"]["mean"]["gini"] == pytest.approx(0, abs=1e-9)
    rows = list(csv.DictReader(answers[0].splitlines()))
    assert len(rows) == result["customers"] and set(rows[0]) == {"customer_id", "churn", "spend"}
    assert all(0 <= float(row["churn"]) <= 1 and float(row["spend"]) >= 0 for row in rows)


def test_where_the_log_is_short_for_the_horizon_answers_of_fewer_days_are_learned_from(
    measure: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, to = log(tmp_path / "log.csv", customers=600, leave=0.1), tmp_path / "found.json"
    measure("--log", str(file), "--horizon-days", "140", "--preset", "logistic", "--json", str(to))
    short = json.loads(to.read_text())
    assert list(short["cut_offs"]) == list(short["training_rows"]) == ["70"] and short["cut_offs"]["70"] >= 2
    assert "the preset learns from answers of" in capsys.readouterr().err
    assert short["churn"]["preset"]["roc_auc"] > short["churn"]["rfm"]["roc_auc"] + 0.02
    assert short["churn"]["preset"]["log_loss"] < short["churn"]["rfm"]["log_loss"] - 0.05
    measure("--log", str(file), "--horizon-days", str(HORIZON), "--preset", "logistic", "--json", str(to))
    assert list(json.loads(to.read_text())["training_rows"]) == [str(HORIZON)]
    assert not capsys.readouterr().err


def test_a_log_of_two_horizons_is_answered_though_no_baseline_can_learn_from_its_first_days(
    measure: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, to = log(tmp_path / "log.csv", customers=600, leave=0.1), tmp_path / "result.json"
    measure("--log", str(file), "--horizon-days", "148", "--preset", "logistic", "--json", str(to))
    result = json.loads(to.read_text())
    assert (
        set(result["churn"])
        == set(result["spend"])
        == {"preset", "bgnbd"}
        == {"preset", *result["differences"]["churn"]}
    )
    assert result["churn"]["preset"]["roc_auc"] > 0.6
    assert "of whole horizons of 148 days there are answers of " in capsys.readouterr().err


def test_the_preset_may_learn_answers_of_the_horizon_and_of_half_of_it(
    measure: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers, later = [], ("c1,2025-11-20T00:00:00,9999", "new,2025-11-20,5")
    for name, extra in (("one", ()), ("two", later)):
        file = log(tmp_path / f"{name}.csv", customers=60, days=320, leave=0.1, extra=extra)
        to = ("--json", str(tmp_path / f"{name}.json"), "--predictions", str(tmp_path / f"{name}_answers.csv"))
        measure("--log", str(file), "--horizon-days", "60", "--as-of", "2025-09-15", "--half-horizon", *to)
        answers.append((tmp_path / f"{name}_answers.csv").read_text())
    assert answers[0] == answers[1], "what comes after the as-of day and its horizon changes no answer"
    result = json.loads((tmp_path / "one.json").read_text())
    assert list(result["cut_offs"]) == ["60", "30"] and result["cut_offs"]["30"] > result["cut_offs"]["60"]
    assert result["churn"]["preset"]["roc_auc"] > 0.6 and result["preset_seconds"] > 0
    assert "learns from answers" not in capsys.readouterr().err


def test_the_error_of_calibration_by_chance_is_that_of_true_probabilities(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(root / "benchmarks")
    import customer

    random = np.random.default_rng(1)
    predicted = random.beta(2, 2, 2000)
    true, lower = ((random.random(2000) < each).astype(float) for each in (predicted, predicted - 0.1))
    right: Any = customer.measured_churn(true, predicted)
    wrong: Any = customer.measured_churn(lower, predicted)
    assert right["ece_by_chance"] == wrong["ece_by_chance"] == pytest.approx(right["ece"], abs=0.015)
    assert wrong["ece"] > right["ece_by_chance"] + 0.05


@pytest.mark.parametrize(
    ("content", "horizon", "says"),
    [
        ("customer_id,time\na,2025-01-01\n", 30, "no column amount"),
        ("customer_id,time,amount\na,2025-01-01,3\na,yesterday,3\n", 30, "line 3: 'yesterday'"),
        ("customer_id,time,amount\na,2025-01-01,much\n", 30, "1 of 1 rows have no amount"),
        ("", 400, "take a horizon of at most 150 days"),
        ("customer_id,time,amount\n" + "".join(f"a,2025-{m:02d}-03,5\n" for m in range(1, 12)), 30, "1 customers"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_error(
    measure: Callable[..., None], tmp_path: Path, content: str, horizon: int, says: str
) -> None:
    path = tmp_path / "log.csv"
    if content:
        path.write_text(content, encoding="utf-8")
    else:
        log(path)
    with pytest.raises(ClickflowError) as raised:
        measure("--log", str(path), "--horizon-days", str(horizon), "--json", str(tmp_path / "x.json"))
    assert says in str(raised.value) and raised.value.exit_code in (2, 3)
    assert not (tmp_path / "x.json").exists()
