"""How fast the default network trains, as items, events and units grow, against what the device can do at most.

    python benchmarks/training_speed.py --items 10000,100000,1000000 --json FILE
    python benchmarks/training_speed.py --events 1000000,10000000,30000000 --json FILE
    python benchmarks/training_speed.py --device cuda --units 512 --batch-tokens 16384 --profile trace.json --json FILE

The log is drawn in memory: sessions of 5 steps in the mean, items by Zipf's law; what is learned from it is of no
interest. A row is one size: the seconds until the first step (counting associations, drawing weights), then events/s of
steps by the median step, the memory, and how many floating-point operations of the device's own best, measured by one
large product, the steps reach. Every other size is the first of its list.
"""

import argparse
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from next_item import next_item_alone
from outcome import hand_out, versions

from clickflow.cli import guarded
from clickflow.params.file import load
from clickflow.params.models import Model
from clickflow.params.training import Training
from clickflow.sequences.features import derived, statistics
from clickflow.sequences.indexes import FIRST_ITEM
from clickflow.sequences.store import PackedSplit
from clickflow.system import console

if TYPE_CHECKING:
    from clickflow.training.trainer import Trainer

MEAN_LENGTH = 5
WARM, STEPS = 20, 60
"""Steps that are not counted, for kernels are made and memory is found in them; and those that are."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("items", "20000"), ("events", "1000000"), ("units", "128")):
        parser.add_argument(f"--{name}", default=default, type=numbers, help=f"one or several ({default})")
    parser.add_argument("--batch-tokens", type=int, help="none: that of params.yaml")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", type=Path, help="a trace of ten steps of the last size, for chrome://tracing")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    params = load(Path(__file__).resolve().parents[1] / "params.yaml")
    settings = replace(params.training, device=args.device, threads=args.threads)
    spec = next_item_alone(params.model("next_step"), clock=True)
    budget = replace(spec.budget, batch_tokens=args.batch_tokens or spec.budget.batch_tokens)
    sizes = [(args.items[0], args.events[0], args.units[0])]
    sizes += [(items, *sizes[0][1:]) for items in args.items[1:]]
    sizes += [(sizes[0][0], events, sizes[0][2]) for events in args.events[1:]]
    sizes += [(*sizes[0][:2], units) for units in args.units[1:]]
    rows = []
    for items, events, units in sizes:
        sized = replace(spec, encoder=replace(spec.encoder, units=units), budget=budget)
        rows.append({"items": items, "events": events, "units": units} | measured(sized, settings, items, events))
        console.say(f"{items:,} items, {events:,} events, {units} units: {rows[-1]['events_per_second']:,.0f} events/s")
    if args.profile:
        profiled(sized, settings, items, events, args.profile)
    hand_out({"rows": rows, "ceilings": ceilings(settings), "versions": versions("torch", "numpy")}, args.json)


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def drawn(items: int, events: int) -> PackedSplit:
    """A log of so many events, a session after the other, an hour apart."""
    draw = np.random.default_rng(0)
    lengths = np.minimum(1 + draw.geometric(1 / (MEAN_LENGTH - 1), events // MEAN_LENGTH), 50)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    n = int(offsets[-1])
    # Zipf's law with exponent 1, by its inverse; the ranks are in no order of index
    rank = np.minimum(np.exp(draw.random(n) * np.log(items)).astype(np.int64), items - 1)
    item = (2 + (rank * 7_919 + 13) % items).astype(np.int32)
    moment = np.repeat(np.arange(len(lengths)) * 3_600_000_000, lengths) + np.arange(n) * 20_000_000
    return PackedSplit(
        offsets=offsets,
        item=item,
        action=np.zeros(n, np.uint8),
        time=moment,
        price=np.full(n, np.nan, np.float32),
        category=np.zeros(n, np.int32),
        **derived({"time": moment}, offsets),
    )


def begun(spec: Model, settings: Training, items: int, events: int) -> "Trainer":
    """Training before its first step."""
    from clickflow.models.sizes import Sizes
    from clickflow.training.device import choose
    from clickflow.training.trainer import Trainer

    split = drawn(items, events)
    table = statistics({name: getattr(split, name) for name in ("gap", "since_start", "price")})
    sizes = Sizes(
        known=items + FIRST_ITEM,
        actions=("view",),
        categories=1,
        statistics={name: (values["mean"], values["std"]) for name, values in table.items()},
    )
    return Trainer(spec, sizes, split, None, 0, choose(settings), overfit=False)


def stepping(run: "Trainer", settings: Training, steps: int) -> tuple[list[float], int]:
    """The seconds of steps, and the questions of all of them."""
    import torch

    from clickflow.training.device import learning, settled

    seconds, questions = [], 0
    with settled(run.device, settings.threads), learning(run.device):
        for chosen in run.plan(0)[run.state.progress.step : run.state.progress.step + steps]:
            began = time.perf_counter()
            count, _ = run.step(chosen)
            if run.device.kind == "cuda":
                torch.cuda.synchronize()
            run.state.progress.step += 1
            seconds.append(time.perf_counter() - began)
            questions += count
    return seconds, questions


def measured(spec: Model, settings: Training, items: int, events: int) -> dict[str, Any]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    began = time.perf_counter()
    run = begun(spec, settings, items, events)
    begin = time.perf_counter() - began
    stepping(run, settings, WARM)
    seconds, questions = stepping(run, settings, STEPS)
    with FlopCounterMode(display=False) as counter:
        stepping(run, settings, 10)
    step = float(np.median(seconds))
    memory = (
        torch.cuda.max_memory_allocated()
        if settings.device == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {
        "begin_seconds": round(begin, 1),
        "step_milliseconds": round(1e3 * step, 2),
        "events_per_second": round(questions / len(seconds) / step),
        "peak_memory_mb": round(memory / 2**20),
        "teraflops_a_second": round(counter.get_total_flops() / 10 / step / 1e12, 4),
        "rows_read_and_written_gb_a_second": round(moved(run) / step / 1e9, 2),
    }


def moved(run: "Trainer") -> float:
    """Bytes of item vectors and their moments that a step must read and write, at least."""
    units = run.spec.encoder.units
    rows = getattr(run.spec.heads.get("next_item"), "negatives", 0) + run.spec.budget.batch_tokens
    return 2.0 * rows * units * 4 * (1 + len(run.state.rows.moments))


def ceilings(settings: Training) -> dict[str, float]:
    """The most that this device does: products in float32, and in bfloat16 where training has such, and copying."""
    import torch

    from clickflow.training.device import choose

    torch.set_num_threads(settings.threads)
    side = 8192 if settings.device == "cuda" else 2048
    one = torch.randn(side, side, device=settings.device)
    large = torch.zeros(1 << (30 if settings.device == "cuda" else 26), dtype=torch.uint8, device=settings.device)
    other = torch.empty_like(large)
    products = {"float32": one}
    if choose(settings).scores:  # a processor without products in bfloat16 takes minutes for one of them
        products["bfloat16"] = one.bfloat16()
    return {
        f"{kind}_teraflops_a_second": round(2 * side**3 / best(partial(torch.mm, each, each), settings) / 1e12, 3)
        for kind, each in products.items()
    } | {
        "copy_gb_a_second": round(2 * large.numel() / best(lambda: other.copy_(large), settings) / 1e9, 1),
    }


def best(work: Callable[[], Any], settings: Training, times: int = 8) -> float:
    """The fewest seconds it took."""
    import torch

    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        if settings.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def profiled(spec: Model, settings: Training, items: int, events: int, file: Path) -> None:
    """A trace of ten steps."""
    from torch.profiler import ProfilerActivity, profile

    run = begun(spec, settings, items, events)
    stepping(run, settings, WARM)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if settings.device == "cuda" else [])]
    with profile(activities=activities) as trace:
        stepping(run, settings, 10)
    trace.export_chrome_trace(str(file))


if __name__ == "__main__":
    guarded(main)
