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
    MANY,
    MODEL,
    STRONG,
    WEAK,
    accurate,
    decided,
    decision,
    few_nats,
    measured,
    params_with,
    ranks,
    rule,
    verdicts,
    worse,
)
from gate_workspace import metrics as ranked_metrics
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from clickflow import cli
from clickflow.gate.verdicts import Rule, decide
from clickflow.system import integrity
from clickflow.system.errors import UsageError
from clickflow.system.files import read_json, write_json
from clickflow.system.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def test_a_good_first_model_is_promoted_and_says_what_could_not_be_judged(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, actions=accurate())
    assert decided(root, paths) == "promote"
    content = decision(paths)
    assert (content["model"], content["champion_version"]) == (MODEL, 0)
    assert content["metrics"]["next_action.accuracy"] == pytest.approx(0.76, abs=0.02)
    assert content["metrics"]["recall@20"] == pytest.approx(np.mean((STRONG >= 1) & (STRONG <= 20)), abs=1e-5)
    for start in ("not inferior to the champion", "no slice drops"):
        assert rule(paths, start)["passed"] is None
        assert rule(paths, start)["text"] == "params.yaml names no champion"
    assert "3 had nothing to judge" in content["summary"]
    assert all(each["verdict"] in ("passed", "not_applicable") for each in content["rules"])


def test_below_a_floor_is_rejected(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": WEAK, "popularity": worse(WEAK, 0.3, 3)})
    assert decided(root, paths, floors={"recall@20": 0.9}) == "reject"
    floor = rule(paths, "floor: recall@20")
    low, high = floor["evidence"]["interval"]
    assert low < floor["evidence"]["observed"] < high < floor["evidence"]["bound"] == 0.9
    assert floor["evidence"]["sequences"] == 1500


@pytest.mark.parametrize("baseline", [STRONG, ranks(MANY, 0.5, seed=9)], ids=["the same", "as good"])
def test_not_above_a_baseline_is_rejected(root: Path, paths: Paths, baseline: Any) -> None:
    measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK, "vsknn": baseline})
    assert decided(root, paths) == "reject"
    assert rule(paths, "beats popularity: recall@20")["passed"] is True
    assert rule(paths, "beats vsknn: recall@20")["passed"] is False


def test_a_tie_at_the_best_that_can_be_is_no_defeat(root: Path, paths: Paths) -> None:
    """Of twenty items every one is among the first twenty, whoever ranks them."""
    rng = np.random.default_rng(0)
    own, theirs = (rng.integers(1, last, len(MANY)).astype(STRONG.dtype) for last in (6, 21))
    measured(paths, MANY, {"candidate": own, "popularity": theirs, "vsknn": theirs})
    assert decided(root, paths, beat_baselines={"recall@20": "reject", "mrr@20": "reject"}) == "promote"
    level = rule(paths, "beats vsknn: recall@20")
    assert level["passed"] is True
    assert "recall@20 is 1.0000, vsknn 1.0000" in level["text"]
    assert level["text"].endswith("the best that can be, which nothing beats")
    theirs[0] = own[0] = 21
    measured(paths, MANY, {"candidate": own, "popularity": theirs, "vsknn": theirs})
    assert decided(root, paths, beat_baselines={"recall@20": "reject"}) == "reject"


def test_a_defeat_in_next_action_is_seen_and_leads_to_what_params_say(root: Path, paths: Paths) -> None:
    """Below the majority in accuracy: a word in the summary by default, a hold or a rejection where it is asked for."""
    n = len(MANY)
    losses = {"candidate": few_nats(n, 0.6), "majority": few_nats(n, 0.5, 1), "boosting": few_nats(n, 0.7, 2)}

    def judged(**severities: Any) -> str:
        measured(paths, MANY, {"candidate": STRONG, "popularity": WEAK}, actions=accurate(), losses=losses)
        return decided(root, paths, beat_baselines={"next_action." + name: each for name, each in severities.items()})

    assert judged(accuracy="warn") == "promote"
    defeat = rule(paths, "beats majority: next_action.accuracy")
    assert (defeat["verdict"], defeat["severity"]) == ("failed", "warn")
    assert "shown to be below it" in defeat["text"]
    assert defeat["evidence"]["reference"] == pytest.approx(np.mean(losses["majority"] <= np.log(2)))
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
        for name, column in ranked.items():
            table = table.append_column(f"rank_{name}", pa.array(column))
        pq.write_table(table, folder / "ahead.parquet")
        assert decided(root, paths, beat_baselines={"next_items.recall@20": "reject"}) == expected
        assert [r for r in verdicts(paths) if r.startswith("beats")] == ["beats vsknn: next_items.recall@20"]


def test_no_baseline_holds(root: Path, paths: Paths) -> None:
    measured(paths, MANY, {"candidate": STRONG})
    assert decided(root, paths) == "hold"
    assert rule(paths, "beats the baselines: mrr@20")["text"] == "no baseline of next_item was evaluated"
    assert decided(root, paths, beat_baselines={}) == "promote"


def test_a_gain_that_lies_in_one_instant_alone_is_held(root: Path, paths: Paths) -> None:
    """The candidate knows what follows within an instant, and is as good as the champion elsewhere."""
    tied = np.random.default_rng(3).random(len(MANY)) < 0.2
    candidate = np.where(tied, 1, STRONG).astype(np.int32)
    systems = {"candidate": candidate, "champion": STRONG, "popularity": worse(WEAK, 0.5, 4)}
    measured(paths, MANY, systems, champion=3, tied=tied)
    assert decided(root, paths, 3) == "hold"
    leak = rule(paths, "no sign of a leak")
    assert leak["passed"] is False
    assert "the gain lies in the order of events of one instant" in leak["text"]
    assert (leak["evidence"]["gain_untied"], leak["evidence"]["tied"]) == (0, pytest.approx(tied.mean(), abs=1e-5))
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
    coverage = rule(paths, "coverage")
    assert coverage["evidence"]["observed"] == pytest.approx(1 - share, abs=0.02)
    assert ("the log is too short" in coverage["text"]) == (expected == "hold")
    assert decided(root, paths, min_coverage=0.1) == "promote"
    assert decision(paths)["metrics"]["coverage"] == pytest.approx(1 - share, abs=0.02)


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
def test_a_rule_that_does_worse_never_helps(findings: list[tuple[str, str]], which: int, verdict: str) -> None:
    def of(rules: list[tuple[str, str]]) -> int:
        judged = [Rule(rule="r", verdict=v, severity=s, text="") for v, s in rules]  # type: ignore[arg-type]
        return ["promote", "hold", "reject"].index(decide(judged))

    which %= len(findings)
    changed = [*findings[:which], (verdict, findings[which][1]), *findings[which + 1 :]]
    if VERDICTS.index(verdict) >= VERDICTS.index(findings[which][0]):
        assert of(changed) >= of(findings)
    assert (of(findings) == 0) == all(v in ("passed", "not_applicable") or s == "warn" for v, s in findings)
