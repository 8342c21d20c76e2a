"""Memory in large pages holds what it held, and what is not in use takes no more."""

import mmap
from pathlib import Path

import pytest

from clickflow.online import memory


def kept(name: str) -> int:
    """kB of this process, of one line of its smaps."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="of Linux")
def test_what_is_in_use_is_gathered_and_holds_what_it_held() -> None:
    size = 16 * memory.LARGE
    memory.gather()
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE) as used, mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE) as bare:
        content = bytes(range(256)) * (size // 256)
        used[:] = content
        for at in range(0, size, memory.LARGE):
            bare[at] = 1
        before, large = kept("Rss"), kept("AnonHugePages")
        gathered = memory.gather()
        assert used[:] == content and bare[: memory.LARGE].count(1) == 1
        assert kept("Rss") - before < size // 1024 // 2, "what is not in use was given memory"
        if gathered:  # the kernel can
            assert kept("AnonHugePages") - large >= 14 * memory.LARGE // 1024
