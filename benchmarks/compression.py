"""What smaller forms of a model lose and gain: int8 and pruned graphs, and a network that an ensemble teaches.

    python benchmarks/compression.py --train train.tsv.gz --tail 0.1 --json result.json

Reads tab-separated `SessionId ItemId Time` (gzip or not), as benchmarks/next_item.py does. Trains the default network
and the teacher (`best`: three GRU with other seeds), and with each seed a network that the teacher teaches beside the
same network alone. The forms of the first network, each as the export makes it, are asked about the held-out sessions:
quality, bytes, and the time of one request and of eight together on one thread. Beside them, for what they gain:
onnxruntime's own dynamic quantisation, the smallest half of the dense weights set to 0, and a quarter of the encoder's
units left out.

    --seeds 0,1,2                        of the networks alone and taught
    --weight 0.5 --temperature 1         of the teacher's answers
    --no-students                        the forms alone
    --items 100000                       no training: an untrained network with so many items, for bytes and times
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import next_item
import numpy as np
from session_log import SessionLog, log

from clickflow.cli import guarded
from clickflow.params.export import Export
from clickflow.params.file import load
from clickflow.params.models import Distillation, Kind, Model
from clickflow.params.training import Training
from clickflow.sequences.features import statistics
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import PackedSplit
from clickflow.system import console

if TYPE_CHECKING:
    from clickflow.models.ensemble import Ensemble
    from clickflow.models.network import Network
    from clickflow.models.sizes import Sizes

METRICS = ("recall@20", "mrr@20")
TEACHER: tuple[Kind, ...] = ("gru", "gru", "gru")
EVERY = Export(compression=("int8", "pruned", "int8_pruned"))
HALF, QUARTER = 0.5, 0.25
"""Of the dense weights, and of the units, that are left out for comparison."""
TOGETHER = 8
TIMES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--tail", type=float, help="share of the training sessions, the last, in place of --test")
    parser.add_argument("--seeds", default="0", help="with commas")
    parser.add_argument("--weight", type=float, default=Distillation().weight)
    parser.add_argument("--temperature", type=float, default=Distillation().temperature)
    parser.add_argument("--no-students", action="store_true")
    parser.add_argument("--epochs", type=int, help="none: as the held-out sessions bear out")
    parser.add_argument("--items", type=int)
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    result = untrained(args.items) if args.items else measure(args)
    text = json.dumps(result, indent=2, sort_keys=True)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")


def preset() -> tuple[Model, Training]:
    params = load(Path(__file__).resolve().parents[1] / "params.yaml")
    return params.model("next_step"), replace(params.training, device="cpu", threads=1)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    spec, settings = preset()
    sessions = log(args.train, args.test, args.tail, hold_out=next_item.HELD_OUT)
    spec = next_item.next_item_alone(spec, clock=sessions.clock)
    spec = replace(spec, budget=replace(spec.budget, epochs=args.epochs))
    fit = Fit(spec, settings, sessions)
    seeds = [int(seed) for seed in args.seeds.split(",")]
    first = fit(spec, seeds[0])
    result: dict[str, Any] = {
        "forms": forms(first, sessions.test, fit.sizes),
        "items": sessions.items,
        "train_events": sessions.train.n_events,
        "spec": {"units": spec.encoder.units, "kind": spec.encoder.kind},
        "seeds": seeds,
    }
    if not args.no_students:
        how = Distillation(teacher=TEACHER, weight=args.weight, temperature=args.temperature)
        result["distillation"] = students(fit, replace(spec, distillation=how), seeds, first, sessions.test)
    return result


class Fit:
    """Trains networks on one log."""

    def __init__(self, spec: Model, settings: Training, sessions: SessionLog) -> None:
        from clickflow.models.sizes import Sizes

        self.spec, self.settings, self.log = spec, settings, sessions
        measured = statistics({name: getattr(sessions.train, name) for name in ("gap", "since_start", "price")})
        self.sizes = Sizes(
            known=sessions.items + FIRST_ITEM,
            actions=("view",),
            categories=1,
            statistics={name: (values["mean"], values["std"]) for name, values in measured.items()},
        )

    def __call__(self, spec: Model, seed: int, taught: Any = None) -> "Network":
        """The network of `spec`; `taught`: what its teacher answers."""
        from clickflow.models.network import Network
        from clickflow.training.loop import one_network

        started = time.process_time()
        network = one_network(
            spec, self.sizes, self.log.train, self.log.valid, seed=seed, settings=self.settings, checkpoints=None,
            watcher=None, overfit=False, max_steps=None, group=None, last_pass=False, taught=taught,
        ).network  # fmt: skip
        console.say(
            f"seed {seed}{', taught' if taught else ''}: {time.process_time() - started:.0f} s of the processor"
        )
        assert isinstance(network, Network)
        return network


def students(fit: Fit, spec: Model, seeds: list[int], first: "Network", test: PackedSplit) -> dict[str, Any]:
    """The teacher, and by seed the network alone and as it is taught."""
    from clickflow.models.ensemble import Ensemble, members, teacher
    from clickflow.training.distillation import taught
    from clickflow.training.loop import APART

    of_teacher = teacher(spec)
    assert of_teacher is not None
    networks = [fit(each, (index + 1) * APART) for index, each in enumerate(members(of_teacher))]
    ensemble = Ensemble(of_teacher, networks[0].sizes, networks).eval()
    started = time.process_time()
    lessons = taught(ensemble, spec, fit.log.train)
    seconds = time.process_time() - started
    alone = replace(spec, distillation=Distillation())
    rows: list[dict[str, Any]] = []
    for index, seed in enumerate(seeds):
        rows.append(
            {
                "seed": seed,
                "alone": quality_of(fit(alone, seed) if index else first, test),
                "taught": quality_of(fit(spec, seed, lessons), test),
            }
        )
        console.say(json.dumps(rows[-1]))
    return {
        "teacher": quality_of(ensemble, test),
        "answers_cpu_seconds": round(seconds, 1),
        "runs": rows,
        "mean": {
            kind: {name: round(float(np.mean([row[kind][name] for row in rows])), 5) for name in (*METRICS, "loss")}
            for kind in ("alone", "taught")
        },
    }


def quality_of(network: "Network | Ensemble", test: PackedSplit) -> dict[str, float]:
    """Of a network as torch answers."""
    from clickflow.training.answers.ranks import Ranks
    from clickflow.training.batches import windows
    from clickflow.training.validation import answer

    longest = network.spec.budget.max_length
    test_windows = windows(test.offsets, longest, to_the_end=False, overlap=longest - 1)
    ranks = answer(network, test, test_windows).heads["next_item"]
    assert isinstance(ranks, Ranks)
    figures = {"recall@20": ranks.recall(20), "mrr@20": ranks.mrr(20), "loss": float(ranks.losses.mean())}
    return {name: round(value, 5) for name, value in figures.items()} | {"predictions": len(ranks.ranks)}


def forms(network: "Network", test: PackedSplit, sizes: "Sizes", *, answered: bool = True) -> dict[str, Any]:
    """Each form of a network as ONNX: quality on `test`, bytes and times."""
    from clickflow.artefact import checks, quality
    from clickflow.artefact.artefact import MODEL, Artefact, open_session
    from clickflow.artefact.windows import of_split
    from clickflow.models.ensemble import parameters

    positions = of_split(test, np.arange(test.n_sequences), network.spec.budget.max_length)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in graphs(network, sizes, Path(folder)):
            (Path(folder) / MODEL).write_bytes(model)
            card = {
                "inputs": {column: str(np.dtype(kind)) for column, kind in _inputs(network).items()},
                "outputs": network.answers,
                "known": sizes.known,
                "actions": list(sizes.actions),
                "max_length": network.spec.budget.max_length,
                "spec": {},
            }
            started = time.process_time()
            session = open_session(model, threads=1, where=Path(folder))
            loaded = time.process_time() - started
            artefact = Artefact(Path(folder), card, session)
            row: dict[str, Any] = {"size_mb": round(len(model) / 1e6, 3), "load_cpu_seconds": round(loaded, 2)}
            if answered:
                translation = checks.identity(test, sizes)  # type: ignore[arg-type]
                for metric in METRICS:
                    values = quality.measure(artefact, test, positions, sizes, translation, {"next_item": metric})  # type: ignore[arg-type]
                    row[metric] = round(values["next_item"], 5)
            for sequences in (1, TOGETHER):
                taken = checks.latencies(artefact, sizes, test, positions, sequences)  # type: ignore[arg-type]
                for part in (50, 99):
                    row[f"ms_p{part}_of_{sequences}"] = round(checks.within(taken, part / 100), 3)
            rows[name] = row
            console.say(f"{name}: {row}")
    rows["parameters"] = parameters(network)
    if answered:
        for name, other in left_out(network):
            rows[name] = quality_of(other, test)
            console.say(f"{name}: {rows[name]}")
    return rows


def _inputs(network: "Network") -> dict[str, str]:
    from clickflow.sequences.features import FEATURES

    return {name: FEATURES[name].tensor for name in network.inputs}


def graphs(network: "Network", sizes: "Sizes", folder: Path) -> Iterator[tuple[str, bytes]]:
    """The forms by name."""
    from clickflow.artefact import networks

    plain = networks.to_onnx(network)
    yield "none", plain
    for variant in networks.variants(network, sizes, EVERY):  # type: ignore[arg-type]
        yield variant.name, variant.model
    yield "onnxruntime_dynamic", dynamic(plain, folder)


def dynamic(model: bytes, folder: Path) -> bytes:
    """onnxruntime's own dynamic quantisation of products with weights."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    (folder / "plain.onnx").write_bytes(model)
    quantize_dynamic(folder / "plain.onnx", folder / "dynamic.onnx", weight_type=QuantType.QInt8, per_channel=True)
    return (folder / "dynamic.onnx").read_bytes()


def left_out(network: "Network") -> Iterator[tuple[str, "Network"]]:
    """Networks without some of their weights, as they are without training again."""
    import copy

    import torch

    with torch.no_grad():
        fewer = copy.deepcopy(network)
        for name, weight in fewer.named_parameters():
            if name != "items" and weight.dim() == 2:
                least = weight.abs().flatten().kthvalue(max(1, round(weight.numel() * HALF))).values
                weight[weight.abs() <= least] = 0.0
        yield "dense_weights_half_zero", fewer
        fewer = copy.deepcopy(network)
        recurrent: Any = fewer.encoder.recurrent
        norms = torch.stack([recurrent.weight_hh_l0[:, unit].norm() for unit in range(recurrent.hidden_size)])
        least = norms.argsort()[: round(len(norms) * QUARTER)]
        recurrent.weight_hh_l0[:, least] = 0.0
        recurrent.register_forward_hook(lambda _module, _given, out: (_without(out[0], least), out[1]))
        yield "a_quarter_of_the_units_out", fewer


def _without(states: Any, units: Any) -> Any:
    states = states.clone()
    states[..., units] = 0.0
    return states


def untrained(items: int) -> dict[str, Any]:
    """The forms of a network with so many items whose weights are drawn."""
    import torch

    from clickflow.models.associations import ENTRIES, MOST, Table
    from clickflow.models.network import Network
    from clickflow.models.sizes import Sizes
    from clickflow.sequences.features import derived

    spec, _ = preset()
    spec = next_item.next_item_alone(spec, clock=True)
    draw = np.random.default_rng(0)
    known, most = items + FIRST_ITEM, min(MOST, ENTRIES // items)
    counts = np.sort(draw.exponential(2, (known, most)).astype(np.float32))[:, ::-1].copy()
    table = Table(draw.integers(2, known, (known, most)).astype(np.int32), counts, counts.sum(1) * np.float32(1.2))
    numbers = {"gap": (3.0, 2.0), "since_start": (3.0, 2.0), "price": (2.0, 1.0)}
    sizes = Sizes(known=known, actions=("view",), categories=1, statistics=numbers, associations=table)
    torch.manual_seed(0)
    network = Network(spec, sizes).eval()
    length, sessions = 6, TIMES
    offsets = np.arange(sessions + 1, dtype=np.int64) * length
    when = np.arange(sessions * length, dtype=np.int64) * 60_000_000
    test = PackedSplit(
        offsets=offsets,
        item=draw.integers(2, known, len(when)).astype(np.int32),
        action=np.zeros(len(when), np.uint8),
        time=when,
        price=np.full(len(when), np.nan, np.float32),
        category=np.zeros(len(when), np.int32),
        **derived({"time": when}, offsets),
    )
    return {"forms": forms(network, test, sizes, answered=False), "items": items}


if __name__ == "__main__":
    guarded(main)
