"""How often does the gate let a worse model through, and how often does it see a better one?

Candidates and champions are simulated, with a difference that is known exactly: a system's ranks are those of a model
(shared difficulty within a session, MRR@20 about 0.27); the other system agrees with it on a share of the predictions
and is as good on the rest; then a share of one system's answers is lost, so its every metric is lower by this share.
Each trial is a test set of its own. Prints one JSON: the share of promote, hold and reject of the champion rule by
size and true difference, for both rules; and how often the slice rule holds back a candidate that is equally good.

`releases`: what becomes of a champion over 200 releases of every kind, and over 100 that are each a little worse.
`by_customer`: how often a 5% test errs.

    python benchmarks/gate.py --json FILE [--trials 400] [--sizes 50,100,300,1000,3000,10000] [--releases 200]
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import releases
from numpy.typing import NDArray

from clickflow.evaluation import bootstrap
from clickflow.evaluation.answers import ranking
from clickflow.evaluation.systems import CANDIDATE, CHAMPION
from clickflow.gate import paired, resolved, slice_rules
from clickflow.gate.draws import Draws
from clickflow.gate.evidence import Evidence, Rows
from clickflow.gate.rules import champion_decision
from clickflow.heads import outputs
from clickflow.params.gate import ChampionRule, Gate

Ranks = NDArray[np.int32]
METRIC = "mrr@20"
RANKED = outputs.named("next_item")
DIFFERENCES = (-0.10, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.10)
CONFIDENCE, MARGIN, AGREEMENT = 0.95, 0.01, 0.5
AT_ONCE = 25
"""Trials whose sums are drawn together, for speed."""


def ranks(rng: np.random.Generator, ease: NDArray[np.float64]) -> Ranks:
    """Ranks of a model: the harder the prediction, the further down, by a discrete power law; 0 beyond 20."""
    position = np.exp(rng.exponential(1.0, len(ease)) * 2.2 - ease)
    return np.where(position <= 20, np.maximum(np.ceil(position), 1), 0).astype(np.int32)


def pair(rng: np.random.Generator, size: int, difference: float) -> tuple[NDArray[np.int64], Ranks, Ranks]:
    """(sequence, candidate, champion) of one test set; candidate metrics = (1 + difference) x champion metrics."""
    sequence = np.repeat(np.arange(size), rng.geometric(0.25, size))
    ease = rng.normal(0, 0.7, size)[sequence]
    first = ranks(rng, ease)
    second = np.where(rng.random(len(first)) < AGREEMENT, first, ranks(rng, ease)).astype(np.int32)
    lost = -difference if difference < 0 else difference / (1 + difference)
    fewer = np.where(rng.random(len(first)) < lost, 0, first).astype(np.int32)
    return (sequence, fewer, second) if difference < 0 else (sequence, second, fewer)


def champion_rule(size: int, difference: float, trials: int, seed: int) -> dict[str, Any]:
    """Shares of each decision of the champion rule, and how often the interval holds the true difference."""
    rng = np.random.default_rng([seed, size, round(1000 * (difference + 1))])
    rules = {kind: ChampionRule(rule=kind, margin=m, confidence=CONFIDENCE) for kind, m in KINDS.items()}
    counts = {kind: dict.fromkeys(("promote", "hold", "reject"), 0) for kind in rules}
    above, below, widths = 0, 0, []
    for start in range(0, trials, AT_ONCE):
        columns = []
        for _ in range(min(AT_ONCE, trials - start)):
            sequence, candidate, champion = pair(rng, size, difference)
            gains = np.stack(
                [
                    np.ones(len(sequence)),
                    ranking.values(METRIC, candidate, sequence),
                    ranking.values(METRIC, champion, sequence),
                ],
                axis=1,
            )
            columns.append(bootstrap.per_sequence(sequence, gains)[0])
        sums = np.concatenate(columns, axis=1)
        drawn = bootstrap.resampled(sums, paired.RESAMPLES, seed)
        measured = sums.sum(axis=0)
        for trial in range(len(columns)):
            (n, a, b), (ns, many_a, many_b) = measured[3 * trial :][:3], drawn[:, 3 * trial : 3 * trial + 3].T
            for kind, wanted in rules.items():
                decision, interval = champion_decision(wanted, a / n, b / n, many_a / ns, many_b / ns)
                counts[kind][decision] += 1
            above += interval.low is not None and interval.low > difference
            below += interval.high is not None and interval.high < difference
            widths.append((interval.high or 0) - (interval.low or 0))
    return {
        "sequences": size,
        "true_difference": difference,
        "trials": trials,
        **{kind: {name: round(n / trials, 4) for name, n in by.items()} for kind, by in counts.items()},
        "interval": {
            "true_below_low": round(above / trials, 4),
            "true_above_high": round(below / trials, 4),
            "median_width": round(float(np.median(widths)), 4),
        },
    }


KINDS: dict[Any, float] = {"non_inferior": MARGIN, "better": 0.0}
"""The rules tried, with their margins."""


def slice_rule(size: int, slices: int, drop: float, trials: int, seed: int) -> dict[str, Any]:
    """How often the slice rule fails: everywhere equal but in one slice, where the candidate is lower by `drop`."""
    rng = np.random.default_rng([seed, size, slices, round(100 * drop)])
    gate = Gate(primary=METRIC, champion=ChampionRule(margin=MARGIN, confidence=CONFIDENCE))
    failed = judged = 0
    for trial in range(trials):
        sequence, candidate, champion = pair(rng, size, 0.0)
        level = rng.integers(0, slices, size)[sequence]
        candidate = np.where((level == 0) & (rng.random(len(level)) < drop), 0, candidate)
        rows = Rows(
            output=RANKED,
            sequence=sequence,
            customer=sequence,
            target=sequence,
            answers={CANDIDATE: candidate, CHAMPION: champion},
            missing={CANDIDATE: 0, CHAMPION: 0},
            known=np.ones(len(sequence), np.bool_),
            seen={CHAMPION: np.zeros(len(sequence), np.bool_)},
            slices={"slice": (level, [str(name) for name in range(slices)])},
        )
        evidence = Evidence(
            rows={RANKED.name: rows},
            metrics={},
            champion_version=1,
            artefact_sha256="",
            model_sha256="",
            data_sha256=None,
            size_mb=0.0,
            latency_ms=None,
        )
        own = resolved.of(gate, evidence.rows)
        (rule,) = slice_rules.judge(own, evidence, Draws(own, rows, seed + trial))
        failed += rule.verdict == "failed"
        judged += int(rule.evidence.get("slices", 0))
    return {
        "sequences": size,
        "slices": slices,
        "judged": round(judged / trials, 1),
        "true_drop_in_one": drop,
        "trials": trials,
        "held": round(failed / trials, 4),
    }


def by_customer(trials: int, seed: int) -> list[dict[str, Any]]:
    """How often a 5% test errs where two systems are equal, and each customer prefers one: drawn by visit, by customer.

    `visits`: of a customer, drawn from a geometric or a log-normal distribution, so that a few have most.
    """
    rows = []
    for name, spread in (("even", 0.0), ("uneven", 1.0), ("very uneven", 1.5)):
        rng = np.random.default_rng([seed, round(10 * spread)])
        errors = {"by_visit": 0, "by_customer": 0}
        for _ in range(trials):
            visits = np.ceil(5 * np.exp(rng.normal(0, spread, 300))).astype(int)
            customer = np.repeat(np.arange(300), visits)
            difference = rng.normal(0, 0.15, 300)[customer] + rng.normal(0, 0.5, len(customer))
            for how, owner in (("by_visit", np.arange(len(customer))), ("by_customer", customer)):
                sums = bootstrap.per_sequence(owner, np.stack([difference, np.ones(len(owner))], axis=1))[0]
                drawn = bootstrap.resampled(sums, 400, seed)
                low, _ = paired.bounds(float(difference.mean()), drawn[:, 0] / drawn[:, 1], CONFIDENCE)
                errors[how] += low > 0
        rows.append({"customers": 300, "visits": name, "trials": trials} | {k: v / trials for k, v in errors.items()})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--sizes", default="50,100,300,1000,3000,10000")
    parser.add_argument("--releases", type=int, default=200)
    parser.add_argument("--customers", type=int, default=3000, help="of each release's test window")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    started = time.perf_counter()
    champion, sliced = [], []
    for size in map(int, filter(None, args.sizes.split(","))):
        for difference in DIFFERENCES:
            champion.append(champion_rule(size, difference, args.trials, args.seed))
            print(json.dumps(champion[-1]), file=sys.stderr)
    for size, slices in ((2000, 8), (6000, 24)):
        for drop in (0.0, 0.1, 0.2, 0.4):
            sliced.append(slice_rule(size, slices, drop, max(10, args.trials // 4), args.seed))
            print(json.dumps(sliced[-1]), file=sys.stderr)
    scenarios = list(releases.run(args.customers, args.seed, args.releases))
    result = {
        "benchmark": "gate",
        "metric": METRIC,
        "confidence": CONFIDENCE,
        "margin": {str(kind): margin for kind, margin in KINDS.items()},
        "resamples": paired.RESAMPLES,
        "agreement": AGREEMENT,
        "seed": args.seed,
        "champion_rule": champion,
        "slice_rule": sliced,
        "releases": {"customers": args.customers, "resamples": releases.RESAMPLES, "scenarios": scenarios},
        "by_customer": by_customer(args.trials, args.seed),
        "seconds": round(time.perf_counter() - started, 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
    text = json.dumps(result, indent=1) + "\n"
    args.json.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
