"""Memory of a serving process: that of replaced versions is returned to the system, and what stays lies in large pages,
so that a pass over all items needs fewer address look-ups.
"""

import contextlib
import ctypes
import gc
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
THRIFT = {M_ARENA_MAX: 2, M_MMAP_THRESHOLD: 4 << 20, M_TRIM_THRESHOLD: 64 << 20}
"""What glibc is told: threads share two heaps, and what is large is mapped by itself and goes back when it is freed. By
itself glibc learns not to map what was freed once, and the holes that versions leave stay.
"""
PAGE, LARGE = 1 << 12, 1 << 21
"""Bytes of a page, and of a large one; where pages are others nothing is done."""
FULL = 0.9
"""A large page is made of pages of which so many are in use: memory grows by less than a tenth of what is gathered."""
COLLAPSE = 25
"""MADV_COLLAPSE, of Linux 6.1 on."""


def thrift() -> None:
    """From now on this process gives back what versions that are swapped out held."""
    with contextlib.suppress(OSError, AttributeError):
        for name, value in THRIFT.items():
            ctypes.CDLL("libc.so.6").mallopt(name, value)


def trim() -> None:
    """Give back what loading took for a while, and the version before held: glibc keeps it otherwise. The rest is
    gathered. What was there at the last call is not looked through again, which would hold up who answers for 50 to 90
    ms each time: a version goes with its last question, as nothing in it refers back to it.
    """
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with contextlib.suppress(OSError, AttributeError, ValueError):
        gather()


def gather() -> int:
    """Have this process' own memory, where it is in use, in large pages; how many bytes were gathered. Where the kernel
    cannot, all stays as it is.
    """
    if os.sysconf("SC_PAGE_SIZE") != PAGE:
        return 0
    libc = ctypes.CDLL("libc.so.6", use_errno=True)
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return sum(LARGE for at in _full() if libc.madvise(at, LARGE, COLLAPSE) == 0)


def _full() -> Iterator[int]:
    """Where large pages could begin whose pages are in use, nearly all of them."""
    with Path("/proc/self/pagemap").open("rb", buffering=0) as file:
        for first, end in list(_anonymous()):
            first, end = -(-first // LARGE) * LARGE, end // LARGE * LARGE
            if first >= end:
                continue
            file.seek(first // PAGE * 8)
            pages = np.frombuffer(file.read((end - first) // PAGE * 8), np.uint64)
            pages = pages[: len(pages) // (LARGE // PAGE) * (LARGE // PAGE)].reshape(-1, LARGE // PAGE)
            there = (pages >> np.uint64(63)).mean(axis=1)  # the highest bit: it is in memory
            yield from (first + LARGE * np.flatnonzero(there >= FULL)).tolist()


def _anonymous() -> Iterator[tuple[int, int]]:
    """Where what is in no file and may be written lies."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p \S+ \S+ 0 *(\[heap\])?$", line):
            yield int(match[1], 16), int(match[2], 16)
