"""Which device trains, with which precision, and why."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from clickflow.errors import UsageError
from clickflow.params import Training


@dataclass(frozen=True)
class Device:
    """`kind`: cpu or cuda; `bfloat16`: the encoder's products are in bfloat16, everything else in float32; `why`: one
    line for the person watching.
    """

    kind: str
    bfloat16: bool
    why: str


def choose(settings: Training) -> Device:
    """The device that `settings` ask for. UsageError where it is not there."""
    there = torch.cuda.is_available()
    if settings.device == "cuda" and not there:
        raise UsageError(
            "training.device is cuda, but torch finds no CUDA device here",
            kept="nothing was run",
            next_step="set training.device to auto, or run where there is one",
        )
    kind = "cuda" if there and settings.device != "cpu" else "cpu"
    bfloat16 = settings.precision == "bfloat16" or (settings.precision == "auto" and kind == "cuda")
    if settings.device != "auto":
        why = f"{kind}, as training.device says"
    elif there:
        why = f"cuda, as there is one: {torch.cuda.get_device_name()}"
    else:
        why = f"the CPU, {settings.threads} thread{'s' if settings.threads > 1 else ''}, as torch finds no CUDA device"
    return Device(kind, bfloat16, f"{why}; {'bfloat16 in the encoder' if bfloat16 else 'float32'}")


@contextmanager
def settled(device: Device, threads: int) -> Iterator[None]:
    """Within, the same numbers come out of every run on the same kind of device; before and after, torch is as it was.

    The order in which a CPU adds depends on the number of threads, so it is fixed whatever the machine has.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    if device.kind == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
