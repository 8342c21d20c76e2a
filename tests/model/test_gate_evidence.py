"""The gate and its evidence: what does not belong together is refused, and customers are drawn, not predictions."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gate_workspace import (
    MANY,
    MODEL,
    STRONG,
    WEAK,
    accurate,
    decided,
    measured,
    ranks,
    rule,
)
from gate_workspace import metrics as ranked_metrics

from clickflow.gate import evidence
from clickflow.system.errors import DataError
from clickflow.system.files import read_json, sha256_folder, write_json
from clickflow.system.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path)


def test_whatever_flips_in_a_footer_the_rows_are_refused_in_words(tmp_path: Path) -> None:
    """Arrow has a class of its own for what it does not implement, which is no ValueError."""
    file = tmp_path / "predictions.parquet"
    pq.write_table(pa.table({"sequence": [1, 2], "target": [3, 4]}), file, store_schema=False)
    data, refused = file.read_bytes(), 0
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        file.write_bytes(spoilt)
        try:
            evidence._table(file)
        except DataError:
            refused += 1
    assert refused > 1000


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
    folder, metrics = paths.evaluation(MODEL), read_json(paths.measured(MODEL))
    ahead = pq.read_table(folder / "predictions.parquet")
    columns = ["sequence", "customer", "position", "target", "rank_candidate"]
    pq.write_table(ahead.select(columns), folder / "ahead.parquet")
    metrics["next_items"] = {"candidate": ranked_metrics(STRONG), "one_step": ranked_metrics(WEAK)}
    metrics["next_item"]["candidate"]["ndcg@20_known"] = dict(metrics["next_item"]["candidate"]["ndcg@20"])
    actions = pq.read_table(folder / "actions.parquet")
    right = actions["predicted_candidate"].to_numpy() == 0
    f1 = 2 * right.sum() / (right.sum() + len(right))  # of the one action that occurs; the other one predicted has 0
    metrics["next_action"]["candidate"]["f1"] = {"value": round(f1 / 2, 6)}
    write_json(paths.measured(MODEL), metrics)
    assert decided(root, paths) == "promote"
    if change is None:
        metrics[head][system] = {metric: {"value": 0.1}}
        pq.write_table(actions.drop_columns(["loss_majority", "predicted_majority"]), folder / "actions.parquet")
    else:
        metrics[head][system][metric]["value"] += change
    write_json(paths.measured(MODEL), metrics)
    with pytest.raises(DataError, match="of majority" if change is None else rf"{metric} of {system} is .*gives"):
        decided(root, paths)


@pytest.mark.parametrize("fault", ["artefact", "champion", "figures", "gone", "model", "torn"])
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
    elif fault == "model":  # with an artefact and predictions that fit it
        metrics["model"] = "another"
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
    tripled = {name: np.repeat(column, 3) for name, column in (("candidate", STRONG), ("popularity", WEAK))}
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
