"""The gate on evidence whose truth is known: which decision, for which reason, said how."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gate_workspace import (
    KNOWN,
    MODEL,
    accurate,
    decision,
    few_nats,
    measured,
    params_with,
    ranks,
    sequences,
    verdicts,
    worse,
)
from gate_workspace import metrics as ranked_metrics
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from clickflow import cli
from clickflow.gate import stage
from clickflow.gate.verdicts import Rule, decide
from clickflow.registry import try_log
from clickflow.system import integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import read_json, sha256_folder, write_json
from clickflow.system.paths import Paths

MANY = sequences(1500)
STRONG = ranks(MANY, 0.5, seed=1)
WEAK = worse(STRONG, 0.3, seed=2)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def decided(root: Path, paths: Paths, champion: int = 0, **rules: Any) -> str:
    for folder in (paths.evaluation(MODEL), paths.exported(MODEL)):
        integrity.seal(folder)  # as the stages leave them, whatever a test has made of them
    stage.run(params_with(root, champion, **rules), paths, MODEL, try_log.record)
    return str(decision(paths)["decision"])


def rule(paths: Paths, start: str) -> dict[str, Any]:
    found = [each for each in decision(paths)["rules"] if each["rule"].startswith(start)]
    assert len(found) == 1, [each["rule"] for each in decision(paths)["rules"]]
    return dict(found[0])


def test_a_good_first_model_is_promoted_and_says_what_could_not_be_judged(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, actions=accurate())
    assert decided(root, paths) == "promote"
    found = decision(paths)
    assert (found["model"], found["champion_version"]) == (MODEL, 0)
    assert found["metrics"]["next_action.accuracy"] == pytest.approx(0.76, abs=0.02)
    assert found["metrics"]["recall@20"] == pytest.approx(np.mean((STRONG >= 1) & (STRONG <= 20)), abs=1e-5)
    for start in ("not inferior to the champion", "no slice drops"):
        assert rule(paths, start)["passed"] is None
        assert rule(paths, start)["text"] == "there is no champion yet"
    assert "3 had nothing to judge" in found["summary"]
    assert all(each["verdict"] in ("passed", "not_applicable") for each in found["rules"])


def test_below_a_floor_is_rejected(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": WEAK, "popularity": worse(WEAK, 0.3, 3)})
    assert decided(root, paths, floors={"recall@20": 0.9}) == "reject"
    found = rule(paths, "floor: recall@20")
    low, high = found["evidence"]["interval"]
    assert low < found["evidence"]["observed"] < high < found["evidence"]["bound"] == 0.9
    assert found["evidence"]["sequences"] == 1500


@pytest.mark.parametrize("baseline", [STRONG, ranks(MANY, 0.5, seed=9)], ids=["the same", "as good"])
def test_not_above_a_baseline_is_rejected(root: Path, paths: Paths, baseline: Any) -> None:
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK, "vsknn": baseline})
    assert decided(root, paths) == "reject"
    assert rule(paths, "beats popularity: recall@20")["passed"] is True
    assert rule(paths, "beats vsknn: recall@20")["passed"] is False


def test_a_defeat_in_next_action_is_seen_and_leads_to_what_params_say(root: Path, paths: Paths) -> None:
    """Below the majority in accuracy: a word in the summary by default, a hold or a rejection where it is asked for."""
    n = len(MANY)
    losses = {"candidate": few_nats(n, 0.6), "majority": few_nats(n, 0.5, 1), "boosting": few_nats(n, 0.7, 2)}

    def judged(**severities: Any) -> str:
        measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, actions=accurate(), losses=losses)
        return decided(root, paths, beat_baselines={"next_action." + name: each for name, each in severities.items()})

    assert judged(accuracy="warn") == "promote"
    found = rule(paths, "beats majority: next_action.accuracy")
    assert (found["verdict"], found["severity"]) == ("failed", "warn")
    assert "shown to be below it" in found["text"]
    assert found["evidence"]["reference"] == pytest.approx(np.mean(losses["majority"] <= np.log(2)))
    assert "1 warn, not shown: beats majority: next_action.accuracy" in decision(paths)["summary"]
    assert judged(accuracy="hold") == "hold"
    assert judged(log_loss="reject") == "reject"
    assert "shown to be above it" in rule(paths, "beats majority: next_action.log_loss")["text"]
    assert rule(paths, "beats boosting: next_action.log_loss")["passed"] is True
    assert judged(log_loss={"boosting": "reject", "*": "warn"}) == "promote"
    assert judged(log_loss={"majority": "hold", "*": "warn"}) == "hold"
    losses["candidate"] = few_nats(n, 0.3)
    assert judged(log_loss="reject", accuracy="reject") == "promote"


def test_a_defeat_several_steps_ahead_is_seen(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK})
    folder, metrics = paths.evaluation(MODEL), read_json(paths.measured(MODEL))
    for better, expected in ((STRONG, "promote"), (WEAK, "reject")):
        write_json(paths.measured(MODEL), metrics | {"next_items": {"candidate": ranked_metrics(better)}})
        ranked = {"candidate": better, "one_step": STRONG, "vsknn": worse(STRONG, 0.1, 3)}
        table = pq.read_table(folder / "predictions.parquet").select(["sequence", "customer", "position", "target"])
        for name, found in ranked.items():
            table = table.append_column(f"rank_{name}", pa.array(found))
        pq.write_table(table, folder / "ahead.parquet")
        assert decided(root, paths, beat_baselines={"next_items.recall@20": "reject"}) == expected
        assert [r for r in verdicts(paths) if r.startswith("beats")] == ["beats vsknn: next_items.recall@20"]


def test_no_baseline_holds(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": STRONG})
    assert decided(root, paths) == "hold"
    assert rule(paths, "beats the baselines: mrr@20")["text"] == "no baseline of next_item was evaluated"
    assert decided(root, paths, beat_baselines={}) == "promote"


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
    measured(paths, fewer, {name: found[: len(fewer)] for name, found in systems.items()}, champion=3)
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
    found = rule(paths, "no slice drops: hour")
    assert [each["slice"] for each in found["evidence"]["breaches"]] == ["03"]
    assert found["evidence"]["worst"]["change"] == pytest.approx(-0.4, abs=0.05)
    assert "03 -" in found["text"]
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
    found = rule(paths, "no slice drops: popularity")
    assert (found["verdict"], found["evidence"]["slices"]) == ("passed", 1)
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
    found = rule(paths, "not inferior to the champion")
    assert found["verdict"] == ("passed" if compared else "not_judged")
    assert says in found["text"]
    if not compared:
        assert "another shop" in decision(paths)["summary"]
        assert "--to 0" in found["text"]


ANSWERS_ALL = "answers all that the champion answers"


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
    found = rule(paths, ANSWERS_ALL)
    assert (found["verdict"], found["evidence"]["missing"]) == ("failed" if missing else "passed", missing)
    assert all(name in found["text"] for name in missing)
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
        found = decision(paths)
        assert next(r for r in found["rules"] if r["rule"] == ANSWERS_ALL)["evidence"]["missing"] == [head]
        assert f"does not answer {head}, version 3 does" in found["summary"]
        assert f"no {head} head, and version 3 has" in found["summary"]
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
    found = rule(paths, "not shown to be worse than the champion: next_action.log_loss")
    assert found["passed"] is (expected == "promote")
    assert found["evidence"]["reference"] == pytest.approx(losses["champion"].mean(), rel=1e-4)


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
    found = rule(paths, "not inferior to the champion")
    assert found["evidence"]["seen_by_champion"] == pytest.approx(behind.mean(), abs=1e-5)
    assert found["evidence"]["observed"] == pytest.approx(0.25, abs=0.05)
    said = f"{behind.mean():.1%} of the test rows were left out: version 3 may have learned from them"
    assert said in found["text"]
    assert said in decision(paths)["summary"]
    assert rule(paths, "no slice drops: length")["passed"] is True


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        pytest.param(MANY >= 20, "rows are left, 500 are needed", id="nearly all"),
        pytest.param(np.ma.masked_all(len(MANY), bool), "not known until when the data of version 3 reach", id="?"),
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
    for number in range(2, 21):
        tried(b"%d" % number, first)
    assert tried(b"21", ("2026-01-06T00", "2026-01-07T12")) == "hold"
    found = decision(paths)
    assert found["tries"] == 21
    assert found["method"]["confidence_of_this_try"] == pytest.approx(1 - 0.05 / (21 * 22), abs=1e-6)
    assert "it is try 21 on this test window, so shown means at 0.999892" in found["summary"]
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
    found = rule(paths, "not inferior to the best champion so far")
    assert (found["passed"], found["evidence"]["version"]) == (False, 1)
    assert decision(paths)["best_champion"] == 1
    measured(paths, MANY, {**systems, "candidate": best, "best_champion": best}, champion=2, best=1)
    assert decided(root, paths, 2, champion__margin=0.03) == "promote"
    measured(paths, MANY, {**systems, "best_champion": champion, "candidate": best}, champion=2, best=1)
    assert decided(root, paths, 2, champion__margin=0.03) == "promote"
    assert decision(paths)["best_champion"] == 0, "shown to be better: the candidate is the measure from now on"


def test_a_gain_that_lies_in_one_instant_alone_is_held(root: Path, paths: Paths) -> None:
    """The candidate knows what follows within an instant, and is as good as the champion elsewhere."""
    tied = np.random.default_rng(3).random(len(MANY)) < 0.2
    told = np.where(tied, 1, STRONG).astype(np.int32)
    systems = {"candidate": told, "champion": STRONG, "popularity": worse(WEAK, 0.5, 4)}
    measured(paths, MANY, systems, champion=3, tied=tied)
    assert decided(root, paths, 3) == "hold"
    found = rule(paths, "no sign of a leak")
    assert found["passed"] is False
    assert "the gain lies in the order of events of one instant" in found["text"]
    assert (found["evidence"]["gain_untied"], found["evidence"]["tied"]) == (0, pytest.approx(tied.mean(), abs=1e-5))
    honest = {**systems, "candidate": STRONG, "champion": worse(STRONG, 0.1, 5)}
    measured(paths, MANY, honest, champion=3, tied=tied)
    assert decided(root, paths, 3) == "promote"


@pytest.mark.parametrize(
    ("candidate", "oracle", "says"),
    [
        pytest.param(STRONG, ranks(MANY, 0.4, 7), "which nobody can be above", id="above the truth"),
        pytest.param(
            np.where(STRONG % 10, 1, 0).astype(np.int32), None, "wants to be explained", id="nearly all right"
        ),
        pytest.param(worse(STRONG, 0.1, 6), STRONG, "", id="below the truth"),
    ],
)
def test_what_is_too_good_to_be_true_is_held(root: Path, paths: Paths, candidate: Any, oracle: Any, says: str) -> None:
    systems = {"candidate": candidate, "popularity": worse(WEAK, 0.5, 4)}
    measured(paths, MANY, systems)
    if oracle is not None:
        file = paths.evaluation(MODEL) / "predictions.parquet"
        pq.write_table(pq.read_table(file).append_column("rank_oracle", pa.array(oracle)), file)
        integrity.seal(paths.evaluation(MODEL))
    assert decided(root, paths) == ("hold" if says else "promote")
    assert rule(paths, "no sign of a leak")["passed"] is not bool(says)
    assert says in rule(paths, "no sign of a leak")["text"]


@pytest.mark.parametrize(("share", "expected"), [(0.4, "promote"), (0.6, "hold")])
def test_a_log_too_short_to_recommend_from_is_held(root: Path, paths: Paths, share: float, expected: str) -> None:
    unknown = np.random.default_rng(7).random(len(MANY)) < share
    known = np.where(unknown, 0, STRONG).astype(np.int32)
    measured(paths, MANY, {"candidate": known, "popularity": np.zeros_like(STRONG)}, unknown=unknown)
    assert decided(root, paths) == expected
    found = rule(paths, "coverage")
    assert found["evidence"]["observed"] == pytest.approx(1 - share, abs=0.02)
    assert ("the log is too short" in found["text"]) == (expected == "hold")
    assert decided(root, paths, min_coverage=0.1) == "promote"
    assert decision(paths)["metrics"]["coverage"] == pytest.approx(1 - share, abs=0.02)


def test_chance_in_many_small_slices_is_no_breach(root: Path, paths: Paths) -> None:
    """Two systems equally good: by chance alone some hour falls by more than 10 % every time, and that is no breach."""
    some, fell, breaches = sequences(1000), 0, 0
    for trial in range(10):
        systems = {name: ranks(some, 0.5, seed=2 * trial + i) for i, name in enumerate(("candidate", "champion"))}
        measured(paths, some, {**systems, "popularity": np.zeros_like(some)}, champion=3, hour=some % 12)
        decided(root, paths, 3, min_slice=300)
        found = rule(paths, "no slice drops: hour")
        assert found["evidence"]["slices"] == 12
        fell += found["evidence"]["observed"] < -0.1
        breaches += found["verdict"] == "failed"
    assert fell >= 8
    assert breaches <= 1


@pytest.mark.parametrize(
    ("actions", "verdict", "expected"),
    [
        (accurate(0.099), "passed", "promote"),
        (accurate(0.101), "failed", "hold"),
        (accurate(None), "not_judged", "hold"),
        (accurate(float("nan")), "not_judged", "hold"),
        (None, "not_applicable", "promote"),
    ],
    ids=["calibrated", "not calibrated", "not measured", "NaN", "no such head"],
)
def test_calibration(root: Path, paths: Paths, actions: Any, verdict: str, expected: str) -> None:
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, actions=actions)
    assert decided(root, paths) == expected
    assert verdicts(paths)["calibration of next_action"] == verdict


@pytest.mark.parametrize(
    ("artefact", "rules", "expected"),
    [
        ({"latency_ms_p95_class": 50.0}, {}, "promote"),
        ({"latency_ms_p95_class": 100.0}, {}, "reject"),
        ({"latency_ms_p95_class": None}, {}, "hold"),
        ({"latency_ms_p95_class": float("nan")}, {}, "hold"),
        ({}, {"max_size_mb": 0.006}, "reject"),
    ],
)
def test_budgets(root: Path, paths: Paths, artefact: Any, rules: Any, expected: str) -> None:
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, artefact=artefact)
    assert decided(root, paths, **rules) == expected


def test_a_model_without_next_item_is_not_waved_through(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {}, actions=accurate())
    assert decided(root, paths) == "promote"
    assert rule(paths, "beats majority: next_action.log_loss")["passed"] is True
    assert decided(root, paths, beat_baselines={"next_action.accuracy": "warn"}) == "hold"
    assert rule(paths, "quality is judged")["passed"] is False
    rules: dict[str, Any] = {"beat_baselines": {}}
    assert decided(root, paths, floors={"next_action.accuracy": 0.6}, **rules) == "promote"
    assert decided(root, paths, floors={"next_action.accuracy": 0.8}, **rules) == "reject"
    measured(paths, MANY, {}, actions=accurate(accuracy=None))
    assert decided(root, paths, floors={"next_action.accuracy": 0.6}) == "hold"


def test_unknown_metrics_are_named(root: Path, paths: Paths) -> None:
    with pytest.raises(UsageError, match=r"gate.primary.*mmr@20.*did you mean 'mrr@20'"):
        params_with(root, primary="mmr@20")
    with pytest.raises(UsageError, match=r"gate.beat_baselines.*next_action.ece.*next_action.accuracy"):
        params_with(root, beat_baselines={"next_action.ece": "warn"})
    with pytest.raises(UsageError, match=r"gate.beat_baselines.*'markow' is in evaluation.baselines.*mean 'markov'"):
        params_with(root, beat_baselines={"mrr@20": {"markow": "warn"}})
    with pytest.raises(UsageError, match=r"gate.beat_baselines"):
        params_with(root, beat_baselines={"mrr@20": "sometimes"})
    with pytest.raises(UsageError, match=r"gate.floors.*recall@7"):
        params_with(root, floors={"recall@7": 0.1})
    for impossible in (0.0, 1.0):
        with pytest.raises(UsageError, match=r"gate.champion.confidence"):
            params_with(root, champion__confidence=impossible)
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, actions=accurate())
    with pytest.raises(UsageError, match=r"next_action.acuracy.*next_action.accuracy.*next_action.ece"):
        decided(root, paths, floors={"next_action.acuracy": 0.1})
    metrics = read_json(paths.measured(MODEL))
    del metrics["next_item"]["candidate"]["mrr@20"]
    write_json(paths.measured(MODEL), metrics)
    with pytest.raises(UsageError, match=r"gate.primary.*recall@20"):
        decided(root, paths)


@pytest.mark.parametrize(
    ("head", "system", "metric", "change"),
    [
        ("next_item", "popularity", "recall@5", -0.01),
        ("next_item", "candidate", "ndcg@20_known", 0.01),
        ("next_items", "candidate", "mrr@20", 0.01),
        ("next_action", "candidate", "accuracy", 0.01),
        ("next_action", "candidate", "log_loss", -0.01),
        ("next_action", "candidate", "ece", -0.01),
        ("next_action", "candidate", "f1", 0.01),
        ("next_action", "majority", "accuracy", None),
    ],
)
def test_metrics_that_their_rows_do_not_give_are_refused_for_every_head(
    root: Path, paths: Paths, head: str, system: str, metric: str, change: float | None
) -> None:
    """`change` None: the system has a metric, and no row."""
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, actions=accurate())
    folder, found = paths.evaluation(MODEL), read_json(paths.measured(MODEL))
    ahead = pq.read_table(folder / "predictions.parquet")
    columns = ["sequence", "customer", "position", "target", "rank_candidate"]
    pq.write_table(ahead.select(columns), folder / "ahead.parquet")
    found["next_items"] = {"candidate": ranked_metrics(STRONG), "one_step": ranked_metrics(WEAK)}
    found["next_item"]["candidate"]["ndcg@20_known"] = dict(found["next_item"]["candidate"]["ndcg@20"])
    actions = pq.read_table(folder / "actions.parquet")
    right = actions["predicted_candidate"].to_numpy() == 0
    f1 = 2 * right.sum() / (right.sum() + len(right))  # of the one action that occurs; the other one predicted has 0
    found["next_action"]["candidate"]["f1"] = {"value": round(f1 / 2, 6)}
    write_json(paths.measured(MODEL), found)
    assert decided(root, paths) == "promote"
    if change is None:
        found[head][system] = {metric: {"value": 0.1}}
        pq.write_table(actions.drop_columns(["loss_majority", "predicted_majority"]), folder / "actions.parquet")
    else:
        found[head][system][metric]["value"] += change
    write_json(paths.measured(MODEL), found)
    with pytest.raises(DataError, match="of majority" if change is None else rf"{metric} of {system} is .*gives"):
        decided(root, paths)


@pytest.mark.parametrize("fault", ["artefact", "champion", "figures", "gone", "torn"])
def test_evidence_that_does_not_belong_together_is_refused_and_the_old_decision_kept(
    root: Path, paths: Paths, fault: str
) -> None:
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK})
    decided(root, paths)
    before = sha256_folder(paths.gate(MODEL))
    metrics = read_json(paths.measured(MODEL))
    predictions = paths.evaluation(MODEL) / "predictions.parquet"
    if fault == "artefact":
        (paths.exported(MODEL) / "model.onnx").write_bytes(b"other weights")
    elif fault == "champion":
        metrics["champion_version"] = 2
    elif fault == "figures":
        metrics["next_item"]["candidate"]["recall@20"]["value"] += 0.01
    elif fault == "gone":
        predictions.unlink()
    else:
        predictions.write_bytes(predictions.read_bytes()[:-100])
    write_json(paths.measured(MODEL), metrics)
    with pytest.raises(DataError) as caught:
        decided(root, paths)
    assert caught.value.next_step
    assert sha256_folder(paths.gate(MODEL)) == before


def test_the_same_evidence_gives_the_same_bytes(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": STRONG, "champion": WEAK, "popularity": WEAK}, champion=1, actions=accurate())
    decided(root, paths, 1)
    first = sha256_folder(paths.gate(MODEL))
    decided(root, paths, 1)
    assert sha256_folder(paths.gate(MODEL)) == first


def test_sequences_are_drawn_and_not_predictions(root: Path, paths: Paths) -> None:
    """Each prediction written three times into its own sequence brings no new knowledge: the interval stays."""
    rules = {"floors": {"recall@20": 0.05}, "beat_baselines": {}}
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK})
    decided(root, paths, **rules)
    once = rule(paths, "floor")["evidence"]["interval"]
    tripled = {name: np.repeat(found, 3) for name, found in (("candidate", STRONG), ("popularity", WEAK))}
    measured(paths, np.repeat(MANY, 3), tripled)
    decided(root, paths, **rules)
    assert rule(paths, "floor")["evidence"]["interval"] == once


def test_what_holds_among_visits_of_a_few_customers_is_not_shown(root: Path, paths: Paths) -> None:
    """Each of 60 customers prefers one of two equally good systems, and visits 25 times: by visit one looks better."""
    rng = np.random.default_rng(0)
    customer = (MANY % 60).astype(np.int32)
    taste = rng.normal(0, 1, 60)
    ahead = (0.02 + 0.15 * (taste - taste.mean()) / taste.std())[customer]
    other = ranks(MANY, 0.5, seed=2)
    candidate = np.where(rng.random(len(MANY)) < np.abs(ahead), np.where(ahead > 0, 1, 0), other).astype(np.int32)
    systems = {"candidate": candidate, "popularity": other}
    measured(paths, MANY, systems)
    assert decided(root, paths, beat_baselines={"recall@20": "reject"}) == "promote"
    by_visit = rule(paths, "beats popularity")["evidence"]
    measured(paths, MANY, systems, customer=customer)
    assert decided(root, paths, beat_baselines={"recall@20": "reject"}) == "reject"
    by_customer = rule(paths, "beats popularity")["evidence"]
    assert by_customer["observed"] == by_visit["observed"]
    assert np.diff(by_customer["interval"])[0] > 1.5 * np.diff(by_visit["interval"])[0]
    assert (by_visit["customers"], by_visit["sessions"]) == (0, 1500)
    assert (by_customer["customers"], by_customer["sessions"], by_customer["sequences"]) == (60, 0, 1500)


def test_a_log_that_one_customer_dominates_tells_nothing(root: Path, paths: Paths) -> None:
    whose = np.where(MANY < 700, 0, MANY).astype(np.int32)
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, customer=whose)
    assert decided(root, paths) == "hold"
    text = rule(paths, "beats popularity: mrr@20")["text"]
    assert "a few of the 801 customers have most of the test rows, one of them 4" in text
    assert "20 are needed" in text


def test_the_page_stands_alone_and_shows_every_rule(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": STRONG, "champion": WEAK, "popularity": WEAK}, champion=1, actions=accurate())
    decided(root, paths, 1)
    page = (paths.gate(MODEL) / "decision.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|src=|<script|@import|url\(", page)
    for each in decision(paths)["rules"]:
        assert each["rule"] in page
    assert page.count("<svg") == sum(bool(each["evidence"].get("interval")) for each in decision(paths)["rules"]) > 2


def test_the_command_prints_the_rules_and_ends_well_whatever_it_decides(
    root: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (paths.root / name).write_bytes((root / name).read_bytes())
    monkeypatch.chdir(paths.root)
    measured(paths, MANY, {"candidate": np.full(len(MANY), KNOWN, np.int32), "popularity": STRONG})
    result = CliRunner().invoke(cli.app, ["gate", MODEL])
    assert result.exit_code == 0, result.output
    assert "reject" in result.stdout
    assert "✗" in result.stdout
    assert "✓" in result.stdout


VERDICTS = ["passed", "not_applicable", "not_judged", "failed"]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.sampled_from(VERDICTS), st.sampled_from(["warn", "hold", "reject"])), min_size=1),
    st.integers(0, 100),
    st.sampled_from(VERDICTS),
)
def test_a_rule_that_does_worse_never_helps(found: list[tuple[str, str]], which: int, verdict: str) -> None:
    def of(rules: list[tuple[str, str]]) -> int:
        made = [Rule(rule="r", verdict=v, severity=s, text="") for v, s in rules]  # type: ignore[arg-type]
        return ["promote", "hold", "reject"].index(decide(made))

    which %= len(found)
    changed = [*found[:which], (verdict, found[which][1]), *found[which + 1 :]]
    if VERDICTS.index(verdict) >= VERDICTS.index(found[which][0]):
        assert of(changed) >= of(found)
    assert (of(found) == 0) == all(v in ("passed", "not_applicable") or s == "warn" for v, s in found)
