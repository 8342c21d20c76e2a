"""The gate beside a champion: what a candidate must show against it and the best before it, over many tries."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gate_workspace import (
    MANY,
    MODEL,
    STRONG,
    WEAK,
    accurate,
    decided,
    decision,
    few_nats,
    measured,
    ranks,
    rule,
    sequences,
    worse,
)

from clickflow.gate import stage, tries
from clickflow.registry import try_log
from clickflow.system.errors import DataError
from clickflow.system.files import read_json
from clickflow.system.paths import Paths

ANSWERS_ALL = "answers all that the champion answers"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


@pytest.mark.parametrize(
    ("rank", "wanted", "margin", "expected"),
    [
        pytest.param(STRONG, "non_inferior", 0.01, "promote", id="the same"),
        pytest.param(STRONG, "non_inferior", 0.0, "hold", id="the same, no margin"),
        pytest.param(STRONG, "better", 0.0, "hold", id="the same is not better"),
        pytest.param(worse(STRONG, 0.2, 5), "non_inferior", 0.01, "reject", id="20 % worse"),
        pytest.param(worse(STRONG, 0.2, 5), "better", 0.0, "reject", id="20 % worse is not better"),
        pytest.param(worse(STRONG, 0.2, 5), "non_inferior", 0.3, "promote", id="20 % worse, 30 % allowed"),
    ],
)
def test_against_the_champion(root: Path, paths: Paths, rank: Any, wanted: str, margin: float, expected: str) -> None:
    measured(paths, MANY, {"candidate": rank, "champion": STRONG, "popularity": worse(WEAK, 0.5, 4)}, champion=3)
    rules = {"champion__rule": wanted, "champion__margin": margin, "max_slice_drop": 0.5}
    assert decided(root, paths, 3, **rules) == expected


@pytest.mark.parametrize(("margin", "expected"), [(0.0, "promote"), (0.05, "promote"), (0.5, "hold")])
def test_better_by_a_margin(root: Path, paths: Paths, margin: float, expected: str) -> None:
    """The champion is 20 % below the candidate, so the candidate 25 % above it; half as good again it is not."""
    champion = worse(STRONG, 0.2, 5)
    measured(paths, MANY, {"candidate": STRONG, "champion": champion, "popularity": WEAK}, champion=3)
    rules = {"champion__rule": "better", "champion__margin": margin}
    assert decided(root, paths, 3, **rules) == expected
    assert rule(paths, "better than the champion")["evidence"]["observed"] == pytest.approx(0.25, abs=0.03)


def test_too_little_data_is_no_proof(root: Path, paths: Paths) -> None:
    few = sequences(120)
    systems = {"candidate": ranks(few, 0.5, 1), "champion": ranks(few, 0.5, 2), "popularity": np.zeros_like(few)}
    measured(paths, few, systems, champion=3)
    assert decided(root, paths, 3) == "hold"
    assert "the data do not tell" in rule(paths, "not inferior to the champion")["text"]

    fewer = sequences(30)
    measured(paths, fewer, {name: column[: len(fewer)] for name, column in systems.items()}, champion=3)
    assert decided(root, paths, 3) == "hold"
    assert "30 sessions in the test part are too few" in rule(paths, "not inferior to the champion")["text"]
    assert rule(paths, "not inferior to the champion")["verdict"] == "not_judged"


def test_a_champion_that_was_not_scored_holds(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, champion=3)
    assert decided(root, paths, 3) == "hold"
    assert rule(paths, "not inferior to the champion")["text"] == "champion was not evaluated"

    partly = np.ma.masked_array(STRONG, mask=np.arange(len(STRONG)) < 10)
    measured(paths, MANY, {"candidate": STRONG, "champion": partly, "popularity": WEAK}, champion=3)
    assert decided(root, paths, 3) == "hold"
    assert "has no answer for 10 of" in rule(paths, "not inferior to the champion")["text"]


def test_a_slice_that_pays_for_the_average_holds_and_is_named(root: Path, paths: Paths) -> None:
    hour = MANY % 6
    champion = np.where(hour == 3, STRONG, worse(STRONG, 0.2, 5))
    candidate = np.where(hour == 3, worse(STRONG, 0.4, 6), STRONG)
    systems = {"candidate": candidate, "champion": champion, "popularity": np.zeros_like(STRONG)}
    measured(paths, MANY, systems, champion=3, hour=hour)
    assert decided(root, paths, 3) == "hold"
    assert rule(paths, "not inferior to the champion")["passed"] is True
    slices = rule(paths, "no slice drops: hour")
    assert [each["slice"] for each in slices["evidence"]["breaches"]] == ["03"]
    assert slices["evidence"]["worst"]["change"] == pytest.approx(-0.4, abs=0.05)
    assert "03 -" in slices["text"]
    assert decided(root, paths, 3, min_slice=100_000) == "promote"
    assert rule(paths, "no slice drops")["verdict"] == "not_applicable"


def test_items_that_only_the_champion_knows_are_judged_overall_and_are_no_slice(root: Path, paths: Paths) -> None:
    """The candidate scores 0 there by definition: a slice of them could only fail, however good it is elsewhere."""
    unknown = np.random.default_rng(7).random(len(MANY)) < 0.1
    systems = {
        "candidate": np.where(unknown, 0, STRONG).astype(np.int32),
        "champion": np.where(unknown, 10, worse(STRONG, 0.98, 5)).astype(np.int32),
        "popularity": np.zeros_like(STRONG),
    }
    measured(paths, MANY, systems, champion=3, unknown=unknown)
    assert decided(root, paths, 3) == "promote"
    slices = rule(paths, "no slice drops: popularity")
    assert (slices["verdict"], slices["evidence"]["slices"]) == ("passed", 1)
    systems["champion"] = np.where(unknown, 1, STRONG).astype(np.int32)
    measured(paths, MANY, systems, champion=3, unknown=unknown)
    assert decided(root, paths, 3) == "reject"
    assert rule(paths, "not inferior to the champion")["passed"] is False


@pytest.mark.parametrize(
    ("fit", "compared", "says"),
    [
        ({}, True, ""),
        ({"same_key": None}, True, ""),
        ({"same_key": False}, False, "another key"),
        ({"items_here": 0.004, "targets_known": 0.0}, False, "this log holds 0.4% of its items"),
        ({"items_here": 1.0, "targets_known": 0.01}, True, ""),
        ({"items_here": 0.01, "targets_known": 0.5}, True, ""),
    ],
    ids=["same shop", "no key known", "another key", "other ids", "a small champion", "a short window"],
)
def test_the_champion_of_another_shop_is_refused_with_a_word(
    root: Path, paths: Paths, fit: Any, compared: bool, says: str
) -> None:
    systems = {"candidate": STRONG, "champion": worse(STRONG, 0.9, 5), "popularity": np.zeros_like(STRONG)}
    measured(paths, MANY, systems, champion=3, fit=fit)
    assert decided(root, paths, 3) == ("promote" if compared else "hold")
    comparison = rule(paths, "not inferior to the champion")
    assert comparison["verdict"] == ("passed" if compared else "not_judged")
    assert says in comparison["text"]
    if not compared:
        assert "another shop" in decision(paths)["summary"]
        assert "--to 0" in comparison["text"]


@pytest.mark.parametrize(
    ("champion", "gate", "missing"),
    [
        ({"next_item": 1, "next_action": 1}, {}, []),
        ({"next_action": 1}, {}, []),
        ({"next_item": 1, "next_items": 5, "next_action": 1}, {}, ["next_items"]),
        ({"next_item": 1, "next_items": 5}, {"may_drop": ["next_items"]}, []),
        ({"next_item": 1, "a_head_of_their_own": 1}, {}, ["a_head_of_their_own"]),
        ({"next_item": 2}, {}, ["next_item"]),
    ],
    ids=["the same", "more", "no list", "no list, by the rules", "a head unknown here", "fewer steps"],
)
def test_a_candidate_that_answers_less_than_the_champion_is_held(
    root: Path, paths: Paths, champion: Any, gate: Any, missing: list[str]
) -> None:
    systems = {"candidate": STRONG, "champion": STRONG, "popularity": WEAK}
    measured(paths, MANY, systems, champion=3, actions=accurate(), champion_answers=champion)
    assert decided(root, paths, 3, **gate) == ("hold" if missing else "promote")
    outputs = rule(paths, ANSWERS_ALL)
    assert (outputs["verdict"], outputs["evidence"]["missing"]) == ("failed" if missing else "passed", missing)
    assert all(name in outputs["text"] for name in missing)
    assert not missing or f"does not answer {', '.join(missing)}" in stage.page(decision(paths))


def test_a_head_that_is_dropped_takes_no_rule_along_without_a_word(root: Path, paths: Paths) -> None:
    """The gap: a run sets models.next_step.heads, and what its model lacks had nothing to judge."""
    answers = {"next_item": 1, "next_action": 1}
    dropped: list[tuple[dict[str, Any], str, dict[str, Any]]] = [
        ({"systems": {}, "actions": accurate()}, "next_item", {"floors": {"recall@20": 0.05}}),
        ({"systems": {"candidate": STRONG, "champion": STRONG, "popularity": WEAK}}, "next_action", {}),
    ]
    for evidence, head, rules in dropped:
        systems = evidence.pop("systems")
        measured(paths, MANY, systems, champion=3, champion_answers=answers, **evidence)
        assert decided(root, paths, 3, **rules) == "hold"
        content = decision(paths)
        assert next(r for r in content["rules"] if r["rule"] == ANSWERS_ALL)["evidence"]["missing"] == [head]
        assert f"does not answer {head}, version 3 does" in content["summary"]
        assert f"no {head} head, and version 3 has" in content["summary"]
    floors = {"next_action.accuracy": 0.1}
    assert decided(root, paths, 3, floors=floors) == "hold"
    assert rule(paths, "floor: next_action.accuracy")["verdict"] == "not_judged"
    assert decided(root, paths, 3, floors=floors, may_drop=["next_action"]) == "promote"
    assert rule(paths, "floor: next_action.accuracy")["verdict"] == "not_applicable"
    measured(paths, MANY, {"candidate": STRONG, "champion": STRONG, "popularity": WEAK}, champion=3)
    assert decided(root, paths, 3, floors=floors) == "promote", "neither had the head: nothing is lost"


@pytest.mark.parametrize(
    ("more", "expected"), [(1.0, "promote"), (1.005, "promote"), (1.2, "hold")], ids=["equal", "within margin", "worse"]
)
def test_a_gain_of_the_first_head_does_not_pay_for_a_loss_of_another(
    root: Path, paths: Paths, more: float, expected: str
) -> None:
    n = len(MANY)
    champion = few_nats(n, 0.5, 1)
    losses = {"candidate": champion * more, "champion": champion, "majority": few_nats(n, 1.5, 2)}
    systems = {"candidate": STRONG, "champion": WEAK, "popularity": worse(WEAK, 0.5, 4)}
    measured(paths, MANY, systems, champion=3, actions=accurate(), losses=losses)
    assert decided(root, paths, 3) == expected
    comparison = rule(paths, "not shown to be worse than the champion: next_action.log_loss")
    assert comparison["passed"] is (expected == "promote")
    assert comparison["evidence"]["reference"] == pytest.approx(losses["champion"].mean(), rel=1e-4)


def test_a_champion_of_whom_nobody_says_what_it_answers_holds(root: Path, paths: Paths) -> None:
    systems = {"candidate": STRONG, "champion": STRONG, "popularity": WEAK}
    measured(paths, MANY, systems, champion=3, fit={"answered": None})
    assert decided(root, paths, 3) == "hold"
    assert rule(paths, ANSWERS_ALL)["verdict"] == "not_judged"


def test_what_the_champion_may_have_learned_from_does_not_count_for_it(root: Path, paths: Paths) -> None:
    """It knows the answers of half of the rows by heart; on the others the candidate is better."""
    behind = MANY < 750
    champion = np.where(behind, 1, worse(STRONG, 0.2, 5)).astype(np.int32)
    systems = {"candidate": STRONG, "champion": champion, "popularity": np.zeros_like(STRONG)}
    measured(paths, MANY, systems, champion=3)
    assert decided(root, paths, 3) == "reject"
    measured(paths, MANY, systems, champion=3, seen=behind)
    assert decided(root, paths, 3) == "promote"
    comparison = rule(paths, "not inferior to the champion")
    assert comparison["evidence"]["seen_by_champion"] == pytest.approx(behind.mean(), abs=1e-5)
    assert comparison["evidence"]["observed"] == pytest.approx(0.25, abs=0.05)
    sentence = f"{behind.mean():.1%} of the test rows were left out: version 3 may have learned from them"
    assert sentence in comparison["text"]
    assert sentence in decision(paths)["summary"]
    assert rule(paths, "no slice drops: length")["passed"] is True


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        pytest.param(MANY >= 20, "rows are left, 500 are needed", id="nearly all"),
        pytest.param(np.ma.masked_array(MANY < 0, True), "not known until when the data of version 3 reach", id="?"),
    ],
)
def test_a_champion_that_saw_too_much_or_nobody_knows_what_is_not_compared(
    root: Path, paths: Paths, seen: Any, says: str
) -> None:
    systems = {"candidate": STRONG, "champion": worse(STRONG, 0.9, 5), "popularity": np.zeros_like(STRONG)}
    measured(paths, MANY, systems, champion=3, seen=seen)
    assert decided(root, paths, 3) == "hold"
    for start in ("not inferior to the champion", "no slice drops"):
        assert rule(paths, start)["verdict"] == "not_judged"
        assert says in rule(paths, start)["text"]


def test_tries_on_one_window_are_counted_and_paid_for(root: Path, paths: Paths) -> None:
    """A gain that is shown at the first try on a window is not at the 20th; on a window of its own it is again."""
    other = np.where(np.random.default_rng(8).random(len(MANY)) < 0.05, ranks(MANY, 0.5, 8), STRONG).astype(np.int32)
    systems = {"candidate": STRONG, "champion": worse(other, 0.04, 9), "popularity": np.zeros_like(STRONG)}
    rules = {"champion__rule": "better", "champion__margin": 0.0, "max_slice_drop": 0.9}

    def tried(candidate: bytes, window: tuple[str, str]) -> str:
        measured(paths, MANY, systems, champion=3, weights=candidate, window=window)
        return decided(root, paths, 3, **rules)

    first, later = ("2026-01-05T00", "2026-01-07T00"), ("2026-01-08T00", "2026-01-09T00")
    assert tried(b"1", first) == "promote"
    kept = decision(paths)
    assert (kept["tries"], kept["method"]["confidence_of_this_try"]) == (1, 0.975)
    tried(b"2", first)
    mine = tries.of(read_json(paths.measured(MODEL)))
    for number in range(3, 21):  # each as the gate would record it before it decides
        assert try_log.record(paths, MODEL, mine | {"model_sha256": sha256(b"%d" % number).hexdigest()}) == number
    assert tried(b"21", ("2026-01-06T00", "2026-01-07T12")) == "hold"
    content = decision(paths)
    assert content["tries"] == 21
    assert content["method"]["confidence_of_this_try"] == pytest.approx(1 - 0.05 / (21 * 22), abs=1e-6)
    assert "it is try 21 on this test window, so shown means at 0.999892" in content["summary"]
    assert tried(b"21", later) == "promote"
    assert tried(b"1", first) == "promote"
    assert decision(paths) == kept, "the same evidence, another decision"
    file = paths.home / "tries.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(DataError, match="record of tries was changed: line 2 of"):
        decided(root, paths, 3, **rules)


def test_small_losses_do_not_add_up(root: Path, paths: Paths) -> None:
    """The champion is 1.8 % below the best before it; 1.8 % more is within the margin of the one, not of the other."""
    best = STRONG
    champion = worse(best, 0.018, 5)
    candidate = worse(champion, 0.018, 6)
    systems = {"candidate": candidate, "champion": champion, "popularity": np.zeros_like(best)}
    measured(paths, MANY, systems, champion=2)
    assert decided(root, paths, 2, champion__margin=0.03) == "promote"
    assert decision(paths)["best_champion"] == 2, "the champion stays the measure of those that come"
    measured(paths, MANY, {**systems, "best_champion": best}, champion=2, best=1)
    assert decided(root, paths, 2, champion__margin=0.03) == "hold"
    comparison = rule(paths, "not inferior to the best champion so far")
    assert (comparison["passed"], comparison["evidence"]["version"]) == (False, 1)
    assert decision(paths)["best_champion"] == 1
    measured(paths, MANY, {**systems, "candidate": best, "best_champion": best}, champion=2, best=1)
    assert decided(root, paths, 2, champion__margin=0.03) == "promote"
    measured(paths, MANY, {**systems, "best_champion": champion, "candidate": best}, champion=2, best=1)
    assert decided(root, paths, 2, champion__margin=0.03) == "promote"
    assert decision(paths)["best_champion"] == 0, "shown to be better: the candidate is the measure from now on"


def test_chance_in_many_small_slices_is_no_breach(root: Path, paths: Paths) -> None:
    """Two systems equally good: by chance alone some hour falls by more than 10 % every time, and that is no breach."""
    some, fell, breaches = sequences(1000), 0, 0
    for trial in range(10):
        systems = {name: ranks(some, 0.5, seed=2 * trial + i) for i, name in enumerate(("candidate", "champion"))}
        measured(paths, some, {**systems, "popularity": np.zeros_like(some)}, champion=3, hour=some % 12)
        decided(root, paths, 3, min_slice=300)
        slices = rule(paths, "no slice drops: hour")
        assert slices["evidence"]["slices"] == 12
        fell += slices["evidence"]["observed"] < -0.1
        breaches += slices["verdict"] == "failed"
    assert fell >= 8
    assert breaches <= 1
