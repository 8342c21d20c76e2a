"""How long does a swap of champions hold up who answers? The longest stalls of a server's loop, and at what.

    python benchmarks/swaps.py --items 100000,1000000 --swaps 6 --rate 50 --json FILE

The untrained network of `benchmarks/serving.py` answers in this process as `clickflow serve` sets it up, without HTTP:
the loop of asyncio asks the engine at `--rate` by a Poisson process, while a thread follows the ledger, in which
another version becomes champion every `--every` seconds. A tick of the loop is due each millisecond. `stall_ms`: how
much later one came, the longest of each swap (from the new line of the ledger until two refreshes after it have given
memory back), less what the system let the loop's thread wait for a processor (`/proc/.../schedstat`); `calm_ms`: the
longest between swaps. `held_ms`: of such a stall so much as the thread that follows the ledger was at work, by its own
processor time: where others are at work too, a thread that holds Python's lock is itself kept from the processor, and
this alone says what the swap does. `at`: where that thread stood at the end of stalls in which it was at work for
`LONG` ms and more, the longest for each place. `asked_ms`: what answers took during swaps, and between them. `seconds`:
until the new one answers; `processor`: seconds of all threads from the new line of the ledger on, answers among them.
`memory_mb`: this process' own (PSS), at the end of each swap.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import threading
import time
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from load import percentiles
from outcome import hand_out, versions
from serving import NAME, Shop, histories, machine, progress, two_versions

from clickflow.cli import guarded
from clickflow.online.champions import TRIMS, Champions
from clickflow.online.engine import Engine
from clickflow.online.history import Question, Step
from clickflow.online.http.server import SWITCH
from clickflow.online.memory import thrift
from clickflow.online.ranking import Rules
from clickflow.params.file import load
from clickflow.system.paths import Paths

TICK, LONG = 0.001, 3.0
REFRESH = 2.0


class Loop:
    """A loop that ticks and asks, and what held it up."""

    def __init__(self, engine: Engine, questions: list[Question], rate: float, watched: threading.Thread) -> None:
        self.engine, self.questions, self.rate, self.watched = engine, questions, rate, watched
        self.stop = False
        self.stalls: list[tuple[float, float, float, str]] = []
        """When a tick was late, by how many milliseconds, of which the other thread was at work, and where it stood."""
        self.taken: list[tuple[float, float]] = []
        """When was asked, and seconds that the answer took."""

    async def run(self) -> None:
        """Until `stop`."""
        await asyncio.gather(self.tick(), self.ask())

    async def tick(self) -> None:
        """Note each tick that is late."""
        other = self.watched.native_id or 0
        due, (_, waited), (worked, _) = time.perf_counter(), scheduled(threading.get_native_id()), scheduled(other)
        while not self.stop:
            await asyncio.sleep(TICK)
            now, (_, waits), (works, _) = time.perf_counter(), scheduled(threading.get_native_id()), scheduled(other)
            late = 1000 * ((now - due - TICK) - (waits - waited))
            if late > 1:
                held = min(late, 1000 * (works - worked))
                frame = sys._current_frames().get(self.watched.ident or 0) if held > LONG else None
                self.stalls.append((now, late, held, place(frame)))
            due, waited, worked = time.perf_counter(), waits, works

    async def ask(self) -> None:
        """By a Poisson process, each in a task of its own."""
        draw, tasks, due = random.Random(0), set[Any](), time.perf_counter()
        while not self.stop and self.rate:
            due += draw.expovariate(self.rate)
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            task = asyncio.create_task(self.one(due, draw.choice(self.questions)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def one(self, due: float, question: Question) -> None:
        """Ask, and note how long it took since it was due."""
        await self.engine.ask(NAME, question, Rules(k=20))
        self.taken.append((due, time.perf_counter() - due))


def scheduled(thread: int) -> tuple[float, float]:
    """Seconds that a thread had a processor, and that it waited for one."""
    try:
        had, waited, _ = Path(f"/proc/self/task/{thread}/schedstat").read_text().split()
    except OSError:
        return 0.0, 0.0
    return int(had) / 1e9, int(waited) / 1e9


def place(frame: Any) -> str:
    """The innermost line of clickflow, and what it called."""
    if frame is None:
        return ""
    stack = traceback.extract_stack(frame)
    own = [each for each in stack if "/clickflow/" in each.filename] or stack
    inner = stack[-1]
    name = f"{Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}"
    return name if inner is own[-1] else f"{name} > {Path(inner.filename).name}:{inner.lineno} {inner.name}"


def memory() -> float:
    """MB of this process, shared pages in shares."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1000
    return 0.0


def measured(args: argparse.Namespace, items: int, folder: Path) -> dict[str, Any]:
    """All of one number of items."""
    place_of = folder / f"shop{items}"
    place_of.mkdir()
    shop = Shop.prepared(place_of, two_versions(args.models or folder, items, args), {"refresh_seconds": REFRESH})
    questions = [
        Question(tuple(Step(item=step["item"], action=step["action"]) for step in visit), 1_700_000_000_000_000)
        for visit in histories(items, args.seed)
    ]
    paths = Paths(place_of)
    engine = Engine({})
    champions = Champions(engine, load(paths.params), paths, models=[NAME])
    champions.refresh()
    over = threading.Event()
    follower = threading.Thread(target=champions.follow, args=(REFRESH, over), daemon=True)
    loop = Loop(engine, questions, args.rate, follower)
    follower.start()
    thread = threading.Thread(target=partial(asyncio.run, loop.run()), daemon=True)
    thread.start()
    time.sleep(max(TRIMS * REFRESH, args.every / 2))
    windows: list[tuple[float, float]] = []
    seconds, processor, memories = [], [], []
    for turn in range(args.swaps):
        number = 2 - turn % 2
        begun, own = time.perf_counter(), time.process_time()
        shop.crown(number)
        while engine.current(NAME).version != number:
            time.sleep(0.01)
            assert time.perf_counter() - begun < 300, champions.health()
        seconds.append(round(time.perf_counter() - begun, 2))
        time.sleep((TRIMS + 0.5) * REFRESH + 0.5)
        windows.append((begun, time.perf_counter()))
        processor.append(round(time.process_time() - own, 2))
        memories.append(round(memory(), 1))
        time.sleep(max(args.every - (time.perf_counter() - begun), 1))
    loop.stop = True
    thread.join(30)
    over.set()
    follower.join(30)

    def within(at: float) -> bool:
        return any(first <= at <= last for first, last in windows)

    worst: dict[str, float] = {}
    for at, _, held, where in loop.stalls:
        if where and within(at):
            worst[where] = max(worst.get(where, 0.0), round(held, 1))

    swap = [[stall for stall in loop.stalls if first <= stall[0] <= last] for first, last in windows]
    return {
        "held_ms": [round(max((held for _, _, held, _ in each), default=0.0), 1) for each in swap],
        "stall_ms": [round(max((late for _, late, _, _ in each), default=0.0), 1) for each in swap],
        "calm_ms": round(max((late for at, late, _, _ in loop.stalls if not within(at)), default=0.0), 1),
        "at": dict(sorted(worst.items(), key=lambda each: -each[1])[: args.places]),
        "asked_ms": {
            name: percentiles([taken for at, taken in loop.taken if within(at) == during])
            for name, during in (("during", True), ("between", False))
        },
        "seconds": seconds,
        "processor": processor,
        "memory_mb": memories,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="100000")
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--swaps", type=int, default=6)
    parser.add_argument("--every", type=float, default=12, help="seconds between two swaps")
    parser.add_argument("--rate", type=float, default=50, help="questions a second")
    parser.add_argument("--places", type=int, default=12, help="that are named")
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="where models are kept, and taken from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the result there too")
    args = parser.parse_args()
    args.neighbourhoods = 0
    file = args.json.resolve() if args.json else None
    if args.models:
        args.models = args.models.resolve()
        args.models.mkdir(parents=True, exist_ok=True)
    import threadpoolctl

    thrift()
    sys.setswitchinterval(SWITCH)
    threadpoolctl.threadpool_limits(1)
    shown = {name: str(value) for name, value in vars(args).items() if name not in ("json", "models")}
    result: dict[str, Any] = {"benchmark": "swaps", "settings": shown, "machine_ms": [machine()], "items": {}}
    with tempfile.TemporaryDirectory(prefix="clickflow-swaps-") as scratch:
        for size in (int(each) for each in args.items.split(",")):
            result["items"][str(size)] = measured(args, size, Path(scratch))
            progress(f"{size:,} items: {json.dumps(result['items'][str(size)]['held_ms'])}")
    result["machine_ms"].append(machine())
    result["load_average"] = round(os.getloadavg()[0], 1)
    hand_out(result | {"versions": versions("onnxruntime", "numpy", "pyarrow")}, file)


if __name__ == "__main__":
    guarded(main)
