"""benchmarks/purchase_logs.py: logs of known kinds, the same for the same seed, each as its kind says."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

KINDS = "cohort,gifts,subscriptions,growing,odd_amounts,season"


@pytest.fixture
def write(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, pd.DataFrame]]:
    monkeypatch.syspath_prepend(root / "benchmarks")
    import purchase_logs

    def written(to: Path, *words: str, kinds: str = KINDS) -> dict[str, pd.DataFrame]:
        monkeypatch.setattr(sys, "argv", ["purchase_logs.py", "--to", str(to), "--small", "--kinds", kinds, *words])
        purchase_logs.main()
        return {kind: pd.read_csv(to / f"{kind}.csv", parse_dates=["time"]) for kind in kinds.split(",")}

    return written


def test_each_kind_is_what_it_says(write: Callable[..., dict[str, pd.DataFrame]], tmp_path: Path) -> None:
    logs = write(tmp_path)
    day = {kind: (log.time - pd.Timestamp("2023-01-01")).dt.total_seconds() / 86400 for kind, log in logs.items()}
    first = {kind: day[kind].groupby(log.customer_id).min() for kind, log in logs.items()}
    assert first["cohort"].max() < 90 < day["cohort"].max() - 400
    assert (first["growing"] > 200).mean() > 0.6
    gaps = day["subscriptions"].groupby(logs["subscriptions"].customer_id).diff().dropna()
    assert np.quantile(gaps, [0.05, 0.95]) == pytest.approx([30, 30], abs=4)
    assert ((day["season"] > 315) & (day["season"] < 360)).mean() > 3 * ((day["season"] > 500).mean())
    assert (logs["gifts"].amount > 0).all()
    odd = logs["odd_amounts"].amount
    assert (odd == 0).sum() > 50 and (odd < 0).sum() > 50 and (odd > 0).mean() > 0.8


def test_a_log_depends_on_its_seed_alone(write: Callable[..., dict[str, pd.DataFrame]], tmp_path: Path) -> None:
    one, again, other = (
        write(tmp_path / name, "--seed", seed, kinds="cohort")["cohort"]
        for name, seed in (("a", "0"), ("b", "0"), ("c", "1"))
    )
    pd.testing.assert_frame_equal(one, again)
    assert len(one) != len(other)


def test_a_kind_that_there_is_not_is_named(
    write: Callable[..., dict[str, pd.DataFrame]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        write(tmp_path, kinds="florist")
    assert "there is no kind florist" in capsys.readouterr().err
