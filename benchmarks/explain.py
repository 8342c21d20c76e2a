"""Does an explanation name the step that made the difference? And how long does it take?

    python benchmarks/explain.py [--events 300000] [--cases 100] [--items 10000,100000] [--seed 0] --json FILE

`planted`: a cause is planted in the visits of a simulated log. In half of them one of `PAIRS` marked items is looked at
somewhere; from then on each next step is, with a probability of .35, the item that belongs to it, and the visit ends
there. In another log every cart becomes a view, half of the visits get one cart somewhere, and 9 of 10 of these end in
a purchase (of the others 1 of 20). A network, and boosted trees for the purchase, are trained by the stages of the
pipeline. Of `--cases` visits of the test part that end as planted, each of four steps or more with the cause not last,
it is asked why. `first`: how often the cause is named first; `answered`: in how many cases the model's own answer was
the planted one (of a purchase: above .45); `first_of_answered`: the share among these; `chance`: what naming any step
would give. `twice`: the cause stands in the history twice, so that each step covers for the other: how often one of
them is the first of the single steps, and how often all that is named first holds both.

`speed`: milliseconds of an explanation of a history of 50 steps by an untrained network of so many items, or by an
`--ensemble` (weights do not matter to the time): median, 90th, 95th and 99th percentile of `--rounds`, with `--threads`
threads, and the processor time of all threads, which a busy machine changes less.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from outcome import hand_out, versions
from threadpoolctl import threadpool_limits

from clickflow.artefact import export
from clickflow.cli import guarded
from clickflow.events import ingest
from clickflow.events.contract import EVENT_TYPES
from clickflow.online import visits
from clickflow.online.history import Question, Step
from clickflow.online.served import Served
from clickflow.online.why import explain as why
from clickflow.online.why.reading import Asker
from clickflow.params.file import check
from clickflow.params.schema import Params
from clickflow.sequences import prepare
from clickflow.sequences.from_arrays import write_store
from clickflow.sequences.store import open_split, read_card
from clickflow.system.paths import Paths
from clickflow.training import stage

ROOT = Path(__file__).resolve().parents[1]
PAIRS, OFTEN = 20, 0.35
BOUGHT, BOUGHT_ANYWAY = 0.9, 0.05
LEAST, SHOWN = 4, 50
LEAST_EFFECT = 0.1
VIEW, CART, PURCHASE = (EVENT_TYPES.index(name) for name in ("view", "cart", "purchase"))
Visit = list[tuple[int, int, int]]
"""Item, action and time of each step."""
MINUTE = 60_000_000


def planted_items(visit: Visit, draw: np.random.Generator, marked: int) -> tuple[Visit, int]:
    """A visit with a marked item somewhere and what belongs to it at its end; and where the cause is, -1: nowhere."""
    if draw.random() < 0.5:
        return visit, -1
    pair, place = int(draw.integers(PAIRS)), int(draw.integers(len(visit)))
    visit = [*visit[:place], (marked + pair, VIEW, visit[place][2]), *visit[place:]]
    for end in range(place + 1, len(visit) + 1):
        if draw.random() < OFTEN:
            return [*visit[:end], (marked + PAIRS + pair, VIEW, visit[end - 1][2] + MINUTE)], place
    return visit, -1


def planted_carts(visit: Visit, draw: np.random.Generator, marked: int) -> tuple[Visit, int]:  # noqa: ARG001
    """A visit of views, with one cart somewhere or none, that ends in a purchase or not."""
    visit = [(item, VIEW, at) for item, _, at in visit]
    place = int(draw.integers(len(visit))) if draw.random() < 0.5 else -1
    if place >= 0:
        visit[place] = (visit[place][0], CART, visit[place][2])
    if draw.random() < (BOUGHT if place >= 0 else BOUGHT_ANYWAY):
        return [*visit, (visit[-1][0], PURCHASE, visit[-1][2] + MINUTE)], place
    return visit, -1


PLANTS = {"items": planted_items, "carts": planted_carts}


def plant(source: Path, to: Path, name: str, seed: int) -> dict[str, list[int]]:
    """Write the store `to`, that of `source` with causes planted; where they stand, by part and visit, -1: nowhere."""
    draw, card = np.random.default_rng(seed), read_card(source)
    marked = card.items_total + 2
    parts, causes = {}, {}
    for part in card.splits:
        split = open_split(source, part)
        steps = list(zip(split.item.tolist(), split.action.tolist(), split.time.tolist(), strict=True))
        bounds = split.offsets.tolist()
        planted = [PLANTS[name](steps[a:b], draw, marked) for a, b in pairwise(bounds)]
        causes[part] = [place for _, place in planted]
        flat = [step for visit, _ in planted for step in visit]
        item, action, at = (np.array(column) for column in zip(*flat, strict=True))
        offsets = np.cumsum([0, *(len(visit) for visit, _ in planted)])
        parts[part] = {"offsets": offsets, "item": item.astype(np.int32), "action": action.astype(np.uint8), "time": at}
    # marked items are known too: they stand behind all others
    items = [str(index) for index in range(2, marked + 2 * PAIRS)]
    write_store(to, parts, known=marked + 2 * PAIRS, items=items)
    return causes


def chosen(args: argparse.Namespace, heads: tuple[str, ...], kind: str) -> Params:
    """The params of the repository with one model."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    model: dict[str, Any] = {"unit": "session", "kind": kind, "heads": {head: {} for head in heads}}
    if kind == "network":
        model |= {"encoder": {"kind": args.encoder, "units": 64, "features": ["action", "gap"]}}
        model |= {"budget": {"epochs": args.epochs, "patience": 4}}
    raw |= {"models": {"m": model}, "champion": {"m": 0}, "units": ["session"], "seed": args.seed}
    raw |= {"simulator": {"events": args.events}, "evaluation": {}, "gate": {}, "promotion": {}}
    raw["training"] = {"device": "cpu"}
    return check(raw)


def served(args: argparse.Namespace, folder: Path, heads: tuple[str, ...], kind: str) -> Served:
    """A model of the store below `folder`, trained and exported by the stages."""
    params, paths = chosen(args, heads, kind), Paths(folder)
    stage.run(params, paths, "m")
    export.run(params, paths, "m")
    return Served.of("m", 1, paths.exported("m"))


def named_first(model: Served, folder: Path, causes: list[int], head: str, cases: int) -> dict[str, Any]:
    """How often the cause of a visit of the test part is named first."""
    store = Paths(folder).sequences("session")
    outcomes: dict[str, list[float]] = {name: [] for name in ("first", "answered", "chance", "singly", "twice")}
    for index, place in enumerate(causes):
        whole = visits.question(store, "test", index).steps
        history, last = whole[:-1], whole[-1]
        if place < 0 or len(history) < LEAST or place == len(history) - 1:
            continue
        ranked = head == "next_item"
        target = model.items.index_of[last.item] if ranked else None
        explanation = why.explain(model, Question(history), head, target)
        outcomes["first"].append(explanation.effects[0].steps[0] == place)
        own = why.explain(model, Question(history), head)
        outcomes["answered"].append(own.target == last.item if ranked else own.answer > BOUGHT / 2)
        outcomes["chance"].append(1 / len(history))
        again = why.explain(model, Question((*history[:-1], history[place], history[-1])), head, target)
        singles = [effect for effect in again.effects if effect.what == "step"]
        both = {place, len(history) - 1}
        outcomes["singly"].append(set(singles[0].steps) <= both and singles[0].effect > LEAST_EFFECT)
        outcomes["twice"].append(both <= set(again.effects[0].steps) and again.effects[0].effect > LEAST_EFFECT)
        if len(outcomes["first"]) == cases:
            break
    first, answered = np.array(outcomes["first"], bool), np.array(outcomes["answered"], bool)
    return {
        "cases": len(first),
        "first": int(first.sum()),
        "answered": int(answered.sum()),
        "first_of_answered": round(float(first[answered].mean()), 4) if answered.any() else None,
        "chance": round(float(np.mean(outcomes["chance"])), 4),
        "twice": {"by_single_steps": int(sum(outcomes["singly"])), "as_explained": int(sum(outcomes["twice"]))},
    }


MODELS = (
    ("items", "network", ("next_item",)),
    ("carts", "network", ("purchase",)),
    ("carts", "boosting", ("purchase",)),
)


def planted(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Simulate, plant, train, and ask."""
    params, paths = chosen(args, ("next_item",), "network"), Paths(folder / "simulated")
    paths.root.mkdir()
    os.environ.setdefault("CLICKFLOW_HOME", str(folder / "home"))
    os.environ.setdefault("CLICKFLOW_PSEUDONYM_KEY", "one key for a benchmark, whose people are nobody's")
    os.chdir(paths.root)
    ingest.run(params, paths)
    prepare.run(params, paths, "session")
    results = {}
    for name, kind, heads in MODELS:
        own = folder / f"{name}-{kind}"
        causes = plant(paths.sequences("session"), Paths(own).sequences("session"), name, args.seed)
        began = time.perf_counter()
        model = served(args, own, heads, kind)
        seconds = round(time.perf_counter() - began, 1)
        (head,) = heads
        results[f"{head}, {kind}"] = named_first(model, own, causes["test"], head, args.cases) | {
            "train_seconds": seconds
        }
    return results


def untrained(
    folder: Path,
    items: int,
    units: int,
    seed: int,
    change: Callable[[Any], object] = lambda _: None,
    kinds: tuple[Any, ...] = (),
) -> Served:
    """A network of the shipped params with random weights, or an ensemble of encoders of such `kinds`; `change`: what
    is done to it before it is exported.
    """
    import torch

    from clickflow.models import ensemble, saved
    from clickflow.models.hand_made import read_by
    from clickflow.models.sizes import Sizes
    from clickflow.params.file import load
    from clickflow.system import integrity
    from clickflow.training import associations

    draw, paths = np.random.default_rng(seed), Paths(folder)
    part: dict[str, Any] = {
        "offsets": np.arange(0, items * 2 + 1, SHOWN),
        "item": (2 + draw.permutation(items * 2 // SHOWN * SHOWN) % items).astype(np.int32),
    }
    store = paths.sequences("session")
    card = write_store(store, {"train": part, "valid": {"offsets": part["offsets"][:9], "item": part["item"][:400]}})
    params = load(ROOT / "params.yaml")
    model = params.models["next_step"]
    model = replace(model, encoder=replace(model.encoder, units=units), ensemble=kinds)
    torch.manual_seed(seed)
    network = ensemble.build(
        model,
        Sizes(
            known=card.known,
            actions=card.actions,
            categories=card.categories,
            statistics={name: (each["mean"], each["std"]) for name, each in card.statistics.items()},
            item_codes=None,
            associations=associations.count(open_split(store, "train"), card.known)[0],
            hand_made=read_by(model),
        ),
    )
    change(network)
    paths.trained("m").mkdir(parents=True)
    saved.save(network, paths.trained("m"), {"data_sha256": card.sha256, "seed": seed})
    integrity.seal(paths.trained("m"))
    params = replace(params, models={"m": model}, champion={"m": 0})
    export.run(replace(params, export=replace(params.export, tolerance=1e-2)), paths, "m")
    return Served.of("m", 1, paths.exported("m"))


def speed(model: Served, rounds: int, seed: int) -> dict[str, Any]:
    """Of explanations of histories of `SHOWN` steps."""
    draw = np.random.default_rng(seed)
    taken: dict[str, list[list[float]]] = {"explain": [], "effects_alone": [], "one_answer": []}
    tried = []
    for _ in range(rounds + 3):
        indexes = draw.integers(2, len(model.items), SHOWN).tolist()
        steps = tuple(Step(model.items.ids[item], time=k * MINUTE) for k, item in enumerate(indexes))
        question = Question(steps)
        for name, ask in (
            ("explain", lambda question=question: tried.append(why.explain(model, question, "next_item").search.tried)),
            ("effects_alone", lambda question=question: _effects(model, question)),
            ("one_answer", lambda question=question: model.answers([question])),
        ):
            began = time.perf_counter(), time.process_time()
            ask()
            taken[name].append([1000 * (time.perf_counter() - began[0]), 1000 * (time.process_time() - began[1])])
    latencies: dict[str, Any] = {}
    for name, own in taken.items():
        wall, processor = np.array(own[3:]).T
        levels = {"median": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
        latencies[name] = {f"{level}_ms": _q(wall, at) for level, at in levels.items()} | {
            "processor_ms": _q(processor, 0.5)
        }
    return latencies | {"histories_asked": int(np.median(tried))}


def _effects(model: Served, question: Question) -> None:
    from clickflow.online.why import steps

    output = next(output for output in model.outputs if output.name == "next_item")
    left = list(steps.left_out(question.steps))
    asker = Asker(model, output, question, None, None, [steps.without(question, places) for _, places in left])
    steps.effects(asker, left, asker.ahead)


def _q(values: Any, level: float) -> float:
    return round(float(np.quantile(values, level)), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--encoder", default="gru")
    parser.add_argument("--epochs", type=int, default=30, help="of training, at most")
    parser.add_argument("--items", default="10000,100000", help="of the networks that are timed; empty: none")
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--ensemble", default="", metavar="KIND,KIND", help="time an ensemble of such encoders")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--no-planted", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    file = args.json.resolve() if args.json else None
    result: dict[str, Any] = {"benchmark": "explain", "settings": {k: str(v) for k, v in vars(args).items()}}
    with tempfile.TemporaryDirectory(prefix="clickflow-explain-") as scratch:
        folder = Path(scratch)
        if not args.no_planted:
            result["planted"] = planted(args, folder)
        sizes = [int(size) for size in args.items.split(",") if size]
        threadpool_limits(1)  # as in a server
        result["speed"] = {}
        for size in sizes:
            kinds = tuple(kind for kind in args.ensemble.split(",") if kind)
            model = untrained(folder / f"items{size}", size, args.units, args.seed, kinds=kinds)
            fast = Served.of("m", 1, model.artefact.folder, threads=args.threads)
            result["speed"][str(size)] = speed(fast, args.rounds, args.seed)
    hand_out(result | {"versions": versions("torch", "onnxruntime", "numpy")}, file)


if __name__ == "__main__":
    guarded(main)
