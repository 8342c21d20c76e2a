"""The head response: its answers by hand, its needs, the item rate, and the truth of a simulated log."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickflow.baselines import positions
from clickflow.baselines.actions import fit_item_rate
from clickflow.heads import response
from clickflow.heads.head import NOTHING
from clickflow.params import file
from clickflow.sequences.store import PackedSplit
from clickflow.system.errors import UsageError

ACTIONS = ("view", "impression", "click")
SIZES = SimpleNamespace(known=9, actions=ACTIONS, categories=2)
ROOT = Path(__file__).resolve().parents[2]
steps = st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(2, 4)), min_size=1, max_size=9), min_size=1)


def packed(visits: list[list[tuple[int, int]]]) -> Any:
    flat = np.array([step for visit in visits for step in visit])
    return SimpleNamespace(
        offsets=np.concatenate([[0], np.cumsum([len(visit) for visit in visits])]), action=flat[:, 0], item=flat[:, 1]
    )


def by_hand(visit: list[tuple[int, int]], at: int) -> int:
    if visit[at][0] != 1:
        return NOTHING
    about = [action for action, item in visit[at + 1 :] if item == visit[at][1] and action in (1, 2)]
    return int(about[:1] == [2])


@given(steps, st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_an_impression_is_answered_by_the_next_click_on_its_item(visits: list[Any], draw: Any) -> None:
    split = packed(visits)
    event = np.arange(split.offsets[-1])
    end = np.repeat(split.offsets[1:], np.diff(split.offsets))
    wanted = np.array([by_hand(visit, k) for visit in visits for k in range(len(visit))])
    assert response.targets(split, event, end, SIZES).tolist() == wanted.tolist()
    some = np.array(draw.choices(range(len(event)), k=6)).reshape(2, 3)
    assert response.targets(split, event[some], end[some], SIZES).tolist() == wanted[some].tolist()
    # what has been read says nothing of the answer
    place = int(event[len(event) // 2])
    earlier = split.action.copy()
    earlier[:place] = 2
    again = response.targets(SimpleNamespace(**{**vars(split), "action": earlier}), event[place:], end[place:], SIZES)
    assert again.tolist() == wanted[place:].tolist()


def test_a_store_without_impressions_asks_nothing() -> None:
    split = packed([[(0, 2), (0, 3)]])
    other = SimpleNamespace(known=9, actions=("view", "cart"), categories=2)
    assert response.targets(split, np.arange(2), np.array([2, 2]), other).tolist() == [NOTHING, NOTHING]


def test_a_unit_that_does_not_keep_them_is_an_error_that_says_what_to_add(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("next_action: {}", "response: {}")
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"models\.next_step\.heads\.response: asks about impression.*event_types"):
        file.load(tmp_path / "params.yaml")


def test_the_item_rate_is_that_of_the_item_and_of_all_where_little_is_known(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    item = draw.integers(2, 5, 6000)
    visits = [[(1, int(i)), *([(2, int(i))] if draw.random() < (0.1, 0.5, 0.3)[i - 2] else [(0, 8)])] for i in item]
    plain = packed(visits)
    split: Any = PackedSplit(
        offsets=plain.offsets, action=plain.action, item=plain.item, time=np.arange(len(plain.item))
    )
    train = positions.training(split, response.HEAD, SIZES, 5)
    rate = np.exp(fit_item_rate(train)(train))[:, 1]
    for i, p in ((2, 0.1), (3, 0.5), (4, 0.3)):
        assert rate[train.items == i] == pytest.approx(p, abs=0.04)
    new = replace(train, split=split.with_columns(item=np.full(len(split.item), 700)))
    assert np.exp(fit_item_rate(train)(new))[:, 1] == pytest.approx(train.target.mean(), abs=0.001)


def test_the_truth_of_a_simulated_log_is_asked_by_the_name_of_the_head(tmp_path: Path) -> None:
    from clickflow.evaluation import oracle
    from clickflow.sources.simulator import simulate

    simulate.simulate(replace(simulate.DEFAULTS, events=3_000), tmp_path, fmt="parquet")
    assert oracle.available(tmp_path / "truth") and response.HEAD.truth in oracle.TRUTHS
    import duckdb

    rows = duckdb.sql(
        f"""SELECT session_id, epoch_us(event_time) AS time, event_type FROM '{tmp_path}/events-*.parquet'
            WHERE event_type IN ('impression', 'view') LIMIT 200"""
    ).fetchnumpy()
    folder = tmp_path / "store"
    n = len(rows["time"])
    (folder / "test").mkdir(parents=True)
    question = SimpleNamespace(at=np.arange(n), head=response.HEAD)
    questions = SimpleNamespace(sequence=np.arange(n), event=np.arange(n))
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"session_id": rows["session_id"].tolist()}), folder / "test" / "sequences.parquet")
    test: Any = SimpleNamespace(folder=folder, questions=questions, split=SimpleNamespace(time=rows["time"]))
    stand_in = SimpleNamespace(baseline=lambda *_: (np.full((n, 2), -0.5, np.float32), True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "ASKING", {"probability": stand_in})
        answers = oracle.Truth(tmp_path / "truth").answers(test, question, SimpleNamespace())  # type: ignore[arg-type]
    assert answers is not None
    logs, unknown = answers
    views = rows["event_type"] == "view"
    assert unknown == views.sum() and np.exp(logs[~views]).sum(axis=1) == pytest.approx(1, abs=1e-6)
    assert (np.exp(logs[~views, 1]) < 0.4).all() and (logs[views] == -0.5).all()
