"""Which device trains, with which precision, and why."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from clickflow.params.training import Training
from clickflow.system.errors import UsageError


@dataclass(frozen=True)
class Device:
    """`kind`: cpu or cuda; `bfloat16`: the encoder is in bfloat16; `scores`: the type of the loss's products with the
    items that stand for all; `rounded`: factors of a training step's other products are rounded to bfloat16 and added
    up in float32; all else is in float32; `why`: one line for the person watching.
    """

    kind: str
    bfloat16: bool
    scores: torch.dtype | None
    rounded: bool
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
    auto = settings.precision == "auto"
    bfloat16 = settings.precision == "bfloat16" or (auto and kind == "cuda")
    # with its tile registers (AMX) a CPU multiplies matrices in bfloat16 several times as fast; without, more slowly
    rounded = auto and kind == "cpu" and torch.cpu._is_amx_tile_supported()
    scores = torch.bfloat16 if bfloat16 or rounded else None
    if settings.device != "auto":
        why = f"{kind}, as training.device says"
    elif there:
        why = f"cuda, as there is one: {torch.cuda.get_device_name()}"
    else:
        why = f"the CPU, {settings.threads} thread{'s' if settings.threads > 1 else ''}, as torch finds no CUDA device"
    types = "bfloat16 in encoder and loss" if bfloat16 else "products in bfloat16" if rounded else "float32"
    return Device(kind, bfloat16, scores, rounded, f"{why}; {types}")


@contextmanager
def settled(device: Device, threads: int) -> Iterator[None]:
    """Within, the same numbers come out of every run on the same kind of device; before and after, torch is as it was.

    The order in which a CPU adds depends on the number of threads, so it is fixed whatever the machine has.
    """
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    torch.set_num_threads(threads)
    if device.kind == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.set_deterministic_debug_mode("warn")  # and not by the function that imports the compiler
    try:
        with torch.random.fork_rng():
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])


@contextmanager
def learning(device: Device) -> Iterator[None]:
    """Within, products are `rounded` where the device says so: for training steps, not for answers (ties break)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if device.rounded else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
