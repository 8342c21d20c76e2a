"""How fast a champion answers over HTTP, beside the same model in `mlflow models serve`.

    python benchmarks/serving.py --items 10000,100000,1000000 --seconds 30 --json FILE
    python benchmarks/serving.py --items 100000 --soak 600 --no-mlflow --json FILE

For each number of items an untrained network of the shipped params is made (weights do not matter to the time), put
into a ledger as a champion, and served by `clickflow serve`, a real process on loopback. `benchmarks/load.py`, another
process, asks `POST /v1/recommend` for 20 items, all items scored, after histories of 1 to 20 steps.

`start`: seconds from the process to the first time it says it is ready. `memory_mb`: the processes' own share (PSS).
`one_by_one`: each request when the one before it is answered. `aim`: at the rate of `--aims`. `highest`: the highest
rate that holds the aim's p99 in two of three tries, found by steps of `--search` seconds or as long as `LEAST_REQUESTS`
requests take, then held for `--seconds`; none is looked for where p99 one by one is above the aim's already. `swap`:
another version becomes champion while requests come; seconds until it answers (`serve.refresh_seconds`, 2, is part of
it) and errors.
`mlflow`: the same artefact in MLflow's server (pyfunc, one worker), asked for the same. `machine`: what a float32
product of 8 queries with 100,000 items takes one thread before and after, by the clock and of its own processor time:
where these differ, others were at work, and latencies are to be read as ratios. `processor_ms`: what the server's
processes, and the generator, took of the processor for a request, which others change less: two cores can give no more
than 2,000 ms a second. Requests go out by a Poisson process whatever the server does, so that time in the queue counts.

`--neighbourhoods SIZE`: an untrained network's items lie anywhere, which no index can use. So they are laid in
neighbourhoods of about so many, as benchmarks/index.py lays them, and the recurrent layer and its readout are set to
say mostly what the last step's item was, so that questions lie among them, as those of a trained network do.
`--index exact,approximate` then has both measured, each by a server of its own, one after the other: `index` is what
the server says of it (`recall` of the best 20, lists read, whether it answers), `recall_of_exact` how many of the 20
items that the exact server answers are among the 20 of the approximate one, over `COMPARED` questions.

`--soak`: so many seconds at half of the aim's rate, with another champion every 20 seconds: errors, memory every 5
seconds. `--models FOLDER` keeps the models for the next time: that of 1,000,000 items takes minutes to make.
"""

import argparse
import contextlib
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import servers
from load import drive
from outcome import hand_out, versions

from clickflow.artefact.artefact import CARD, MODEL
from clickflow.cli import guarded
from clickflow.registry import ledger
from clickflow.system.files import read_json, sha256, sha256_folder, write_json

ROOT = Path(__file__).resolve().parents[1]
NAME = "next_step"
BODIES, LONGEST, K = 500, 20, 20
LEAST_STEP = 1.08
"""The highest rate is known to this factor."""
DEEPEST = 16
"""Times below the first that no rate is tried."""
LEAST_REQUESTS, LONGEST_TRY = 600, 30
"""Requests by which a p99 is judged, and seconds that a try has for them: of 70 the p99 is the slowest."""
EXACT = "exact"
SWAP_EVERY, SAMPLE_EVERY = 20.0, 5.0
KEPT_ON, LOUD_STEP = 0.15, 0.5
"""Of a planted network: what a state keeps of the one before, about, and the factor of an item's vector in it."""
COMPARED = 200
"""Questions by which what an index answers is held against all scores."""
SERVED_BY_MLFLOW = """
import json

import mlflow
import numpy as np
from clickflow.online.history import Question, Step
from clickflow.online.served import Served
from clickflow.serving.forms import highest


class Model(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        from pathlib import Path
        self.served = Served.of("next_step", 1, Path(context.artifacts["exported"]))

    def predict(self, context, model_input, params=None):
        questions = [Question(tuple(Step(**step) for step in json.loads(one))) for one in model_input["history"]]
        best, logs = highest(self.served.answers(questions)["next_item"], 20)
        ids = self.served.items.ids
        return [{"items": [ids[at] for at in row], "scores": np.exp(each).tolist()} for row, each in zip(best, logs)]


mlflow.models.set_model(Model())
"""


def progress(text: str) -> None:
    """A line on standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def plant(network: Any, size: int, seed: int) -> None:
    """Lay a network's items in neighbourhoods of about `size`, and let it say mostly what the last item was."""
    import torch
    from index import drawn

    rows, units = network.items.shape
    assert isinstance(network.encoder.recurrent, torch.nn.GRU), "the shipped params have another encoder now"
    layer: Any = network.encoder.recurrent
    readout = network.encoder.readout
    with torch.no_grad():
        network.items.copy_(torch.from_numpy(drawn(rows, near_each_other=True, seed=seed, size=size, units=units)[0]))
        # its gates stand as reset, update, new; the new state is (1 - update) new + update state
        _, update, new = (slice(at * units, (at + 1) * units) for at in range(3))
        layer.weight_ih_l0[new] = 0
        layer.weight_ih_l0[new, :units] = LOUD_STEP * torch.eye(units)
        layer.bias_ih_l0[update] += logit(KEPT_ON)
        readout.weight[:, :units] += torch.eye(units)


def logit(share: float) -> float:
    """What a sigmoid makes that share of."""
    return math.log(share / (1 - share))


def two_versions(folder: Path, items: int, args: argparse.Namespace) -> list[Path]:
    """The artefact of an untrained network and another that differs in its hash alone."""
    units, seed, size = args.units, args.seed, args.neighbourhoods
    name = f"{items}-{units}-{seed}" + (f"-by{size}" if size else "")
    first, second = folder / name, folder / f"{name}-again"
    if not (second / CARD).is_file():
        from explain import untrained

        progress(f"{items:,} items: making a network")
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            change = partial(plant, size=size, seed=seed) if size else lambda _: None
            artefact = untrained(Path(scratch), items, units, seed, change).artefact.folder
            shutil.copytree(artefact, first, dirs_exist_ok=True)
        import onnx

        shutil.copytree(first, second, dirs_exist_ok=True)
        model = onnx.load(str(second / MODEL))
        model.doc_string = "the same again"
        (second / MODEL).write_bytes(model.SerializeToString(deterministic=True))
        write_json(second / CARD, read_json(second / CARD) | {"model_sha256": sha256(second / MODEL)})
    return [first, second]


def processes(process: "subprocess.Popen[bytes]") -> dict[str, float]:
    """MB that a process and its children have of their own, shared pages in shares; and their processor seconds."""
    import psutil

    top = psutil.Process(process.pid)
    memory, seconds = 0.0, 0.0
    for each in [top, *top.children(recursive=True)]:
        try:
            memory += each.memory_full_info().pss / 1e6
            seconds += sum(each.cpu_times()[:2])
        except psutil.Error:
            continue
    return {"memory_mb": round(memory, 1), "seconds": seconds}


@dataclass
class Shop:
    """A checkout's folder with two versions in its home, and `clickflow serve` there."""

    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    url: str = ""

    @classmethod
    def prepared(cls, folder: Path, versions: list[Path], serve: Mapping[str, Any]) -> "Shop":
        """The first is champion."""
        shop = cls(folder)
        for name in ("params.yaml", "dvc.yaml"):
            shutil.copy(ROOT / name, folder / name)
        with (folder / "params.yaml").open("a") as file:
            file.write(f"\nserve: {json.dumps(dict(serve))}\n")
        os.environ["CLICKFLOW_HOME"] = str(folder / ".clickflow")
        for number, source in enumerate(versions, 1):
            place = shop.version(number)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source, target_is_directory=True)
        shop.crown(1)
        return shop

    def version(self, number: int) -> Path:
        """The files of a version."""
        return self.folder / ".clickflow/models" / NAME / str(number)

    def crown(self, number: int) -> None:
        """Let a version be champion."""
        file = self.folder / ".clickflow/ledger.jsonl"
        entries = ledger.read(file)
        line: dict[str, Any] = {"version": number, "champion": number, "reason": "a benchmark"}
        line["facts"] = {"artefact_sha256": sha256_folder(self.version(number))}
        line["previous"] = ledger.standing(entries, NAME).champion
        ledger.append(file, entries, action="promote", model=NAME, **line)

    def start(self) -> float:
        """Seconds until it is ready."""
        began, log = time.perf_counter(), self.folder / "serve.log"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "clickflow.cli", "serve", "--port", "0"]
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=out, stderr=out)
        while not (line := re.search(r"answers at (http://\S+)", log.read_text())):
            assert self.process.poll() is None, log.read_text()
            time.sleep(0.02)
        self.url = line[1]
        servers.answering(f"{self.url}/readyz", self.process, log)
        return time.perf_counter() - began

    def memory(self) -> float:
        """MB, see `processes`."""
        assert self.process
        return processes(self.process)["memory_mb"]

    def stop(self) -> None:
        """End it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)


def histories(items: int, seed: int) -> list[list[dict[str, Any]]]:
    """Of short and long visits, most of them short."""
    draw = random.Random(seed)
    visits = []
    for _ in range(BODIES):
        steps = min(LONGEST, 1 + int(draw.expovariate(1 / 5)))
        visits.append(
            [
                {"item": str(draw.randrange(2, items)), "action": draw.choice(("view", "view", "cart"))}
                for _ in range(steps)
            ]
        )
    return visits


def figures_of(process: "subprocess.Popen[bytes]", url: str, bodies: list[str], **words: Any) -> dict[str, Any]:
    """A run of the generator, and what the server took of the processor for a request."""
    before = processes(process)["seconds"]
    run = drive(url, bodies, **{"connections": 256} | words)
    taken = 1000 * (processes(process)["seconds"] - before) / max(run["answered"], 1)
    figures = brief(run)
    return figures | {"processor_ms": {"server": round(taken, 3), "generator": run["processor_ms"]}}


def brief(run: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of a run of the generator."""
    kept = ("rate_asked", "requests_per_second", "sent", "errors", "statuses", "unanswered")
    late = run["late_ms"].get("p99", 0.0)
    return {name: run[name] for name in kept} | {"latency_ms": run["latency_ms"], "generator_late_p99_ms": late}


Ask = Callable[..., dict[str, Any]]
"""`figures_of` of a server; the rate, and the seconds."""


def one_by_one(ask: Ask, seconds: float) -> dict[str, Any]:
    """Each request when the one before it is answered."""
    ask(rate=0, seconds=min(2.0, seconds))
    return ask(rate=0, seconds=seconds)


def highest(ask: Ask, *, start: float, p99: float, search: float, seconds: float) -> dict[str, Any]:
    """The highest rate at which no request fails and p99 is under so many milliseconds, in two of three tries."""

    def holds(rate: float, seconds: float) -> dict[str, Any] | None:
        good: list[dict[str, Any]] = []
        for tried in range(3):
            figures = ask(rate=rate, seconds=max(seconds, min(LEAST_REQUESTS / rate, LONGEST_TRY)))
            progress(f"  {rate:.0f}/s: p50 {figures['latency_ms']['p50']} p99 {figures['latency_ms']['p99']} ms")
            if figures["latency_ms"]["p99"] < p99 and not figures["errors"]:
                good.append(figures)
            if len(good) == 2 or tried - len(good) == 1:
                break
        return max(good, key=lambda each: float(each["latency_ms"]["p99"])) if len(good) == 2 else None

    low, high, rate = 0.0, float("inf"), start
    while high / max(low, 1) > LEAST_STEP:
        if rate < start / DEEPEST:
            return {"requests_per_second": 0, "below": round(rate, 1)}
        low, high = (rate, high) if holds(rate, search) else (low, rate)
        rate = 1.5 * low if high == float("inf") else (low * high) ** 0.5 if low else high / 2
    while low >= start / DEEPEST:
        if (figures := holds(low, seconds)) is not None:
            return figures
        low /= LEAST_STEP
    return {"requests_per_second": 0}


def sought(ask: Ask, single: Mapping[str, Any], rate: float, p99: float, args: argparse.Namespace) -> dict[str, Any]:
    """`highest`, but where that cannot be."""
    if single["latency_ms"]["p99"] >= p99:
        return {"requests_per_second": 0, "why": f"one by one p99 is {single['latency_ms']['p99']} ms"}
    return highest(ask, start=rate, p99=p99, search=args.search, seconds=args.seconds)


def swapped(shop: Shop, ask: Ask, body: str, rate: float, seconds: float) -> dict[str, Any]:
    """Another champion, and back, under load."""
    opener, url = build_opener(ProxyHandler({})), f"{shop.url}/v1/recommend"
    took: list[float] = []

    def swap() -> None:
        for number in (2, 1):
            time.sleep(seconds / 8)
            shop.crown(number)
            began = time.perf_counter()
            while time.perf_counter() - began < seconds:
                request = Request(url, body.encode(), {"Content-Type": "application/json"})
                with contextlib.suppress(OSError):
                    if json.loads(opener.open(request, timeout=30).read())["version"] == number:
                        took.append(round(time.perf_counter() - began, 2))
                        break
                time.sleep(0.02)

    thread = threading.Thread(target=swap)
    thread.start()
    figures = ask(rate=rate, seconds=seconds)
    thread.join()
    return {"seconds": took, "under_load": figures}


def fetched(url: str, body: str | None = None) -> Any:
    """What a server answers."""
    request = Request(url, body.encode() if body else None, {"Content-Type": "application/json"})
    return json.loads(build_opener(ProxyHandler({})).open(request, timeout=30).read())


def about_index(shop: Shop) -> Any:
    """What a server says of its index of items; None: it has none."""
    (model,) = (each for each in fetched(f"{shop.url}/v1/models")["models"] if each["model"] == NAME)
    return model.get("index")


def named(shop: Shop, bodies: list[str]) -> list[set[str]]:
    """The items that it answers to some questions."""
    answers = (fetched(f"{shop.url}/v1/recommend", body) for body in bodies[:COMPARED])
    return [{item["item"] for item in answer["items"]} for answer in answers]


def soaked(shop: Shop, bodies: list[str], rate: float, seconds: float) -> dict[str, Any]:
    """A long load with swaps: errors, and memory as it goes."""
    stop, memory, swaps = threading.Event(), list[float](), [0]

    def watch() -> None:
        began, number = time.monotonic(), 1
        while not stop.wait(SAMPLE_EVERY):
            memory.append(shop.memory())
            if time.monotonic() - began > SWAP_EVERY:
                began, number = time.monotonic(), 3 - number
                shop.crown(number)
                swaps[0] += 1

    thread = threading.Thread(target=watch)
    thread.start()
    every = max(seconds / 10, 1)
    run = drive(f"{shop.url}/v1/recommend", bodies, rate=rate, seconds=seconds, connections=256, every=every)
    stop.set()
    thread.join()
    third = max(len(memory) // 3, 1)
    peaks = {"first_third": max(memory[:third]), "last_third": max(memory[-third:])}
    return brief(run) | {"swaps": swaps[0], "memory_mb": memory, "memory_peak_mb": peaks, "parts": run["parts"]}


@contextlib.contextmanager
def in_mlflow(folder: Path, exported: Path) -> Iterator[tuple[Any, str, float]]:
    """The process and URL of `mlflow models serve` with the artefact, and the seconds that it took to start."""
    import mlflow

    code, model, log = folder / "served_by_mlflow.py", folder / "mlflow_model", folder / "mlflow.log"
    code.write_text(SERVED_BY_MLFLOW)
    mlflow.pyfunc.save_model(
        str(model), python_model=str(code), artifacts={"exported": str(exported)}, pip_requirements=["mlflow"]
    )
    port, began = servers.port(), time.perf_counter()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}  # it calls uvicorn by name
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--workers", "1"], stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        servers.answering(f"http://127.0.0.1:{port}/ping", process, log)
        yield process, f"http://127.0.0.1:{port}/invocations", time.perf_counter() - began
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def beside(args: argparse.Namespace, folder: Path, exported: Path, visits: Any, p99: float) -> dict[str, Any]:
    """The figures of MLflow's server, or why there are none."""
    bodies = [json.dumps({"dataframe_records": [{"history": json.dumps(visit)}]}) for visit in visits]
    try:
        with in_mlflow(folder, exported) as (process, url, start):
            ask = partial(figures_of, process, url, bodies)
            single = one_by_one(ask, args.seconds / 2)
            rate = max(single["requests_per_second"] / 2, 2)
            top = highest(ask, start=rate, p99=p99, search=args.search, seconds=args.seconds / 2)
            return {"start": round(start, 2), "one_by_one": single, "highest": top}
    except (ImportError, OSError, AssertionError) as error:
        return {"skipped": f"mlflow models serve could not be asked: {type(error).__name__}: {str(error)[-300:]}"}


def machine() -> dict[str, float]:
    """Milliseconds of a float32 product of 8 queries of 128 with 100,000 items by one thread; medians of 20."""
    import numpy as np
    import threadpoolctl

    draw = np.random.default_rng(0)
    table, queries = draw.random((100_000, 128), np.float32), draw.random((8, 128), np.float32)
    into, taken = np.empty((8, 100_000), np.float32), []
    with threadpoolctl.threadpool_limits(1):
        for _ in range(20):
            began = time.perf_counter(), time.thread_time()
            np.matmul(queries, table.T, out=into)
            taken.append((time.perf_counter() - began[0], time.thread_time() - began[1]))
    wall, own = (round(1000 * sorted(each)[10], 2) for each in zip(*taken, strict=True))
    return {"by_clock": wall, "processor": own, "load_average": round(os.getloadavg()[0], 1)}


def measured(args: argparse.Namespace, folder: Path, items: int, index: str, right: list[set[str]]) -> dict[str, Any]:
    """All of one number of items, by one way to find the best. `right`: what `named` gave of all scores, or, of these
    themselves, where that goes.
    """
    rate, p99 = args.aims.get(items, (100.0, 25.0))
    folders = two_versions(args.models or folder, items, args)
    visits = histories(items, args.seed)
    bodies = [json.dumps({"history": visit, "k": K}) for visit in visits]
    place = folder / f"shop{items}{index}"
    place.mkdir()
    shop = Shop.prepared(place, folders, args.serve | ({} if index == EXACT else {"index": index}))

    def easy() -> float:
        """A rate that is no overload, also where others are at work."""
        return float(min(rate / 5, result["one_by_one"]["requests_per_second"] / 2))

    steps: dict[str, Callable[[Ask], Any]] = {
        "one_by_one": lambda ask: one_by_one(ask, args.seconds),
        "aim": lambda ask: ask(rate=rate, seconds=args.seconds),
        "highest": lambda ask: sought(ask, result["one_by_one"], rate, p99, args),
        "swap": lambda ask: swapped(shop, ask, bodies[0], easy(), max(args.seconds, 16)),
    }
    if args.soak:
        steps = {"soak": lambda _: soaked(shop, bodies, rate / 2, args.soak)}
    result: dict[str, Any] = {"aim_is": {"requests_per_second": rate, "p99_ms": p99}, "machine_ms": [machine()]}
    result["start"] = round(shop.start(), 2)
    assert shop.process
    ask = partial(figures_of, shop.process, f"{shop.url}/v1/recommend", bodies)
    try:
        ask(rate=0, seconds=min(2.0, args.seconds))
        result["memory_mb"] = shop.memory()
        if index == EXACT:
            right += named(shop, bodies) if len(args.index) > 1 else []
        else:
            result["index"] = about_index(shop)
            progress(f"{items:,} items: index: {json.dumps(result['index'])}")
            if right:
                both = [len(one & other) / K for one, other in zip(right, named(shop, bodies), strict=True)]
                result["recall_of_exact"] = round(sum(both) / len(both), 4)
        for name, step in steps.items():
            progress(f"{items:,} items, {index}: {name}")
            result[name] = step(ask)
        result["memory_after_mb"] = shop.memory()
    finally:
        shop.stop()
    if args.mlflow and index == EXACT:
        progress(f"{items:,} items: mlflow models serve")
        result["mlflow"] = beside(args, place, folders[0], visits, p99)
        if "skipped" not in result["mlflow"]:
            ours, theirs = (each["one_by_one"]["latency_ms"]["p50"] for each in (result, result["mlflow"]))
            result["one_by_one_ratio"] = round(theirs / ours, 2)
    result["machine_ms"].append(machine())
    return result


def aims(text: str) -> dict[int, tuple[float, float]]:
    """From ITEMS=RATE@MS, commas between."""
    pairs = {}
    for each in text.split(","):
        items, _, rest = each.partition("=")
        rate, _, p99 = rest.partition("@")
        pairs[int(items)] = float(rate), float(p99)
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="10000,100000,1000000")
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--seconds", type=float, default=30, help="of each step, at most 60")
    parser.add_argument("--search", type=float, default=6, help="seconds of each rate that is tried")
    parser.add_argument("--soak", type=float, default=0, metavar="SECONDS", help="nothing but a long load with swaps")
    parser.add_argument(
        "--aims", type=aims, default="10000=1500@10,100000=1500@10,1000000=500@25", metavar="ITEMS=RATE@MS,..."
    )
    parser.add_argument(
        "--neighbourhoods", type=int, default=0, metavar="SIZE", help="lay items in such, about so many each; 0: none"
    )
    parser.add_argument(
        "--index", type=lambda text: text.split(","), default=EXACT, metavar="exact,approximate", help="serve.index"
    )
    parser.add_argument(
        "--serve", type=json.loads, default="{}", metavar="JSON", help="values of section serve of params.yaml"
    )
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="where models are kept, and taken from")
    parser.add_argument("--no-mlflow", dest="mlflow", action="store_false")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    file = args.json.resolve() if args.json else None
    if args.seconds > 60:
        parser.error("--seconds: at most 60 a step")
    if not {EXACT, "approximate"} >= set(args.index):
        parser.error("--index: exact, approximate, or both")
    if args.models:
        args.models = args.models.resolve()
        args.models.mkdir(parents=True, exist_ok=True)
    shown = {name: str(value) for name, value in vars(args).items() if name not in ("json", "models")}
    result: dict[str, Any] = {"benchmark": "serving", "settings": shown, "items": {}}
    with tempfile.TemporaryDirectory(prefix="clickflow-serving-") as scratch:
        for size in (int(each) for each in args.items.split(",")):
            right: list[set[str]] = []
            for index in args.index:
                name = str(size) if index == EXACT else f"{size} {index}"
                result["items"][name] = measured(args, Path(scratch), size, index, right)
                if file:  # what is known so far is kept, whatever comes
                    file.write_text(json.dumps(result, indent=2) + "\n")
    hand_out(result | {"versions": versions("onnxruntime", "numpy", "granian", "starlette", "mlflow")}, file)


if __name__ == "__main__":
    guarded(main)
