"""The resources of this machine for training."""

import os
import subprocess

import psutil

EACH_GB = 8
"""Memory that must be free for each training beside the first, as dvc.yaml asks for one."""


def gpus() -> int:
    """How many GPUs this machine shows."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0


def trainings() -> int:
    """How many may run at once without a server: one on a GPU, for all take the first; on the CPU, where each has a
    thread of its own (`training.threads`), as many as processors and free memory are for.
    """
    if gpus():
        return 1
    free = int(psutil.virtual_memory().available // (EACH_GB << 30))
    return min(len(os.sched_getaffinity(0)), 1 + free)
