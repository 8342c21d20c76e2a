"""The comparison of a canary with the champion, which may be looked at at any time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live_log import MINUTE, Clock, answer, params_of

from clickflow.online.live import log, metrics, sequential
from clickflow.online.live.arms import place
from clickflow.online.live.log import Log
from clickflow.params.schema import Params


@pytest.fixture
def params(root: Path) -> Params:
    return params_of(root)


@settings(max_examples=50, deadline=None)
@given(st.text(min_size=1, max_size=20), st.floats(0, 1), st.floats(0, 1))
def test_who_is_in_at_a_share_stays_in_at_a_larger_one(subject: str, one: float, other: float) -> None:
    at = place(subject, "next_step", 4)
    assert at == place(subject, "next_step", 4)
    less, more = sorted((one, other))
    assert not at < less or at < more


def test_places_are_even_and_of_two_tests_independent() -> None:
    people = [f"p{number}" for number in range(4000)]
    one = np.array([place(who, "m", 1) for who in people])
    two = np.array([place(who, "m", 2) for who in people])
    assert abs((one < 0.05).mean() - 0.05) < 0.015
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.06


def looks(draw: np.random.Generator, champion: float, canary: float, visitors: int, share: float) -> Any:
    group = draw.random(visitors) < share
    value = (draw.random(visitors) < np.where(group, canary, champion)).astype(np.float64)
    return sequential.by_turns(group, value)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_chance_alone_ends_no_canary_however_often_one_looks(share: float) -> None:
    """The largest e-value of the whole path is what somebody sees who looks after every visitor."""
    draw, alpha, runs = np.random.default_rng(1), 0.05, 200
    evidence = [
        sequential.evidence(looks(draw, 0.3, 0.3, 1500, share), margin=0.0, alpha=alpha, grid=False)
        for _ in range(runs)
    ]
    wrong = max(sum(each.better >= 1 / alpha for each in evidence), sum(each.worse >= 1 / alpha for each in evidence))
    assert wrong <= alpha * runs


def test_a_real_difference_is_found_and_lies_in_the_interval() -> None:
    draw = np.random.default_rng(2)
    better = [sequential.evidence(looks(draw, 0.3, 0.4, 3000, 0.5), margin=0.0, alpha=0.05) for _ in range(10)]
    assert sum(each.better >= 20 for each in better) >= 9
    assert sum(each.low <= 0.1 <= each.high for each in better) >= 9
    worse = sequential.evidence(looks(draw, 0.4, 0.3, 4000, 0.5), margin=0.01, alpha=0.05)
    assert worse.worse >= 20
    assert worse.better < 20
    nothing = sequential.evidence(np.zeros(0), margin=0.01, alpha=0.05)
    assert (nothing.pairs, nothing.mean) == (0, None)


def test_what_was_seen_earlier_stays_as_it_was(tmp_path: Path, params: Params) -> None:
    """A later look adds visitors behind those of an earlier one: otherwise looking early would not be allowed."""
    clock = Clock()
    own = Log(log.place(tmp_path), clock=clock)
    draw = np.random.default_rng(5)
    for number in range(60):
        who = {"session_id": f"s{number}"}
        arm = {"arm": log.CANARY, "version": 2} if number % 2 else {"arm": log.CHAMPION}
        own.put("answers", **answer(f"r{number}", **who, **arm, test=3, labels=list("abcd")))
        own.put("outcomes", kind=log.STEP, **who, item=str(draw.choice(list("abef"))), action="view")
        clock.forward(120 * MINUTE)
    own.flush()
    rows = log.read(own.folder, "answers"), log.read(own.folder, "outcomes")
    seen = []
    for later in (-40 * 120 * MINUTE, 30 * 60 * MINUTE):
        now = own.now() + later
        joined = metrics.joined(params, *rows, now)
        groups = {number: group.arm == log.CANARY for number, group in enumerate(joined.groups)}
        seen.append(metrics.visitors(params, joined, "next_step", groups, "recall@1", now))
    first, last = seen
    assert 0 < len(first.value) < len(last.value) == 60
    assert last.value[: len(first.value)].tolist() == first.value.tolist()
    assert last.candidate[: len(first.value)].tolist() == first.candidate.tolist()
