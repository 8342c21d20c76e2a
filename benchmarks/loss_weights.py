"""What several heads on one encoder are worth, beside a network for each: with equal weights of their losses, and with
learned ones.

    python benchmarks/loss_weights.py --store data/sequences/session --params benchmarks/all_heads_uci.yaml \
        --model next_step --latest 3000 --units 64 --epochs 3 --seeds 0 1 2 --json FILE

Trains on the latest sequences of the training part of a packed store, asks the test part, and says each head's mean
loss in nats a question (of a ranking recall@20 too), by seed and as a mean, and what was learned of the weights.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from outcome import hand_out, versions

from clickflow.params.file import load
from clickflow.params.models import Model
from clickflow.sequences.store import open_split, read_card
from clickflow.training.batches import of_split
from clickflow.training.loop import train
from clickflow.training.networks import readable, sizes
from clickflow.training.validation import answer, sample

QUESTIONS = 2000
"""Questions of the test part, at most."""


def variants(spec: Model) -> dict[str, list[Model]]:
    """The models of each way: one for each head, or one for all."""
    alone = [replace(spec, heads={name: head}, loss_weights="given") for name, head in spec.heads.items()]
    return {
        "single-task": alone,
        "equal": [replace(spec, loss_weights="given")],
        "learned": [replace(spec, loss_weights="learned")],
    }


def measure(spec: Model, store: Path, latest: int, seed: int, settings: Any) -> dict[str, Any]:
    """Train one model and ask the test part."""
    card, part, test = read_card(store), open_split(store, "train"), open_split(store, "test")
    part = part.latest(latest) if latest < part.n_sequences else part
    began = time.process_time()
    trained = train(readable(spec, card), sizes(card), part, None, seed=seed, settings=settings)
    seconds = time.process_time() - began
    windows = sample(of_split(test, spec.budget.max_length, at_end=True), QUESTIONS)
    metrics = answer(trained.network, test, windows).metrics(dict.fromkeys(spec.heads, 1.0))
    kept = {name: metrics[name] for name in (*spec.heads, "recall@20") if name in metrics}
    return {**kept, "seconds": seconds, "weights": trained.history[-1].get("loss_weights", {})}


def main() -> None:
    """Measure all and print one JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--params", type=Path, required=True)
    parser.add_argument("--model", default="next_step")
    parser.add_argument("--latest", type=int, default=3000, help="sequences of the training part")
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    params = load(args.params)
    spec = params.model(args.model)
    spec = replace(
        spec,
        encoder=replace(spec.encoder, units=args.units),
        budget=replace(spec.budget, epochs=args.epochs),
    )
    ways: dict[str, Any] = {}
    for way, models in variants(spec).items():
        runs: list[dict[str, Any]] = []
        for seed in args.seeds:
            each = [measure(model, args.store, args.latest, seed, params.training) for model in models]
            whole = {name: value for one in each for name, value in one.items()}
            runs.append(whole | {"seconds": sum(one["seconds"] for one in each)})
        numbers = [name for name in runs[0] if name != "weights"]
        ways[way] = {"mean": {name: mean(run[name] for run in runs) for name in numbers}, "seeds": runs}
    given = {name: str(value) for name, value in vars(args).items() if name != "json"}
    hand_out({"given": given, "versions": versions("torch", "numpy"), **ways}, args.json)


if __name__ == "__main__":
    main()
