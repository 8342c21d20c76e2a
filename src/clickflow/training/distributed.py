"""Several processes that train one network: each reads a part of every batch, and all take the same step.

Data-parallel training by torch.distributed, gloo on CPUs and NCCL on GPUs (one each). All processes hold the same
weights, plan and draws; a batch's sequences are divided, and the gradients added up. So the loss is that of one process
but for the order of additions, and a checkpoint knows nothing of how many there were.
"""

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clickflow.system.errors import ClickflowError, UsageError

PATIENCE = timedelta(minutes=30)
"""Processes that wait longer than this for the others give up."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process's `rank` among `size`."""

    rank: int
    size: int

    def broadcast(self, value: Any) -> Any:
        """The first process's `value`, for all."""
        import torch.distributed as distributed

        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def all_reduce(self, losses: Mapping[str, Tensor], leaves: Sequence[Tensor]) -> dict[str, Tensor]:
        """Add up `losses` and the gradients of `leaves` over all processes; the gradients in place.

        A gradient that no process has stays None.
        """
        import torch.distributed as distributed

        names = sorted(losses)
        there = torch.stack([torch.tensor(float(leaf.grad is not None)) for leaf in leaves]).to(leaves[0].device)
        flat = [(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).ravel() for leaf in leaves]
        sums = torch.cat([torch.stack([losses[name].detach() for name in names]), there, *flat])
        distributed.all_reduce(sums)
        totals, there, *parts = torch.split(sums, [len(names), len(leaves), *(len(each) for each in flat)])
        for leaf, known, part in zip(leaves, there.tolist(), parts, strict=True):
            leaf.grad = part.view_as(leaf) if known else None
        return dict(zip(names, totals.unbind(), strict=True))


@contextmanager
def process_group(processes: int, kind: str, work: Callable[[ProcessGroup], Any]) -> Iterator[ProcessGroup | None]:
    """Within, this process is the first of so many; the others do `work` meanwhile, on this machine. None for one.

    `kind`: cpu or cuda. Raises UsageError where there are fewer GPUs, ClickflowError where one of the others ends too
    early.
    """
    if processes == 1:
        yield None
        return
    if kind == "cuda" and torch.cuda.device_count() < processes:
        raise UsageError(
            f"training.processes is {processes}, and there are {torch.cuda.device_count()} GPUs here",
            kept="nothing was run",
            next_step="set it to the number of GPUs, or training.device to cpu",
        )
    import torch.distributed as distributed
    from torch.multiprocessing import get_context

    context = get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="clickflow-training-") as folder:
        meeting = str(Path(folder) / "meeting")
        ready, arrival = context.Pipe(duplex=False)
        others = [
            context.Process(
                target=_member, args=(ProcessGroup(rank, processes), kind, meeting, arrival, work), daemon=True
            )
            for rank in range(1, processes)
        ]
        for other in others:
            other.start()
        try:
            _await(others, ready)
            _join(ProcessGroup(0, processes), kind, meeting)
            yield ProcessGroup(0, processes)
            for other in others:
                other.join()
        except RuntimeError as error:  # what torch raises where one it waits for is gone
            for other in others:
                other.join(5)
            gone = [f"{other.name} with code {other.exitcode}" for other in others if other.exitcode]
            if not gone:
                raise
            raise ClickflowError(
                f"a training process has died: {', '.join(gone)}",
                kept="the last checkpoint, from which training goes on",
                next_step="see whether memory ran out (fewer training.processes need less), then run it again",
            ) from error
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
            for other in others:
                other.terminate()
                other.join()


def _await(others: Sequence[SpawnProcess], ready: Connection) -> None:
    """Until all others are about to join. torch would wait `PATIENCE` for one that has died on its way there."""
    coming = len(others)
    while coming:
        if ready not in wait([ready, *(other.sentinel for other in others)]):
            raise RuntimeError("one of the others has ended")
        ready.recv()
        coming -= 1


def _member(
    group: ProcessGroup, kind: str, meeting: str, arrival: Connection, work: Callable[[ProcessGroup], Any]
) -> None:
    """What another process does. It has nothing to say: what goes wrong goes wrong in the first one too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first, which ends the others
    try:
        arrival.send(group.rank)
        _join(group, kind, meeting)
        work(group)
    except (ClickflowError, RuntimeError):
        sys.exit(1)


def _join(group: ProcessGroup, kind: str, meeting: str) -> None:
    import torch.distributed as distributed

    if kind == "cuda":
        torch.cuda.set_device(group.rank)
    try:
        distributed.init_process_group(
            "nccl" if kind == "cuda" else "gloo",
            init_method=f"file://{meeting}",
            rank=group.rank,
            world_size=group.size,
            timeout=PATIENCE,
        )
    except RuntimeError:
        # torch numbers groups, and counts one that never came about: the next one's processes would wait for each other
        # under two numbers. To destroy a group sets that back, so there has to be one.
        distributed.init_process_group("gloo", init_method=f"file://{meeting}-alone", rank=0, world_size=1)
        distributed.destroy_process_group()
        raise
