"""A process that is ended by SIGKILL at a place of its work, and not after a time, which no two machines share."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any


def killed(
    at: int, run: Callable[[], object], near: str, listen: Callable[[Callable[..., None]], object] = lambda one_more: 0
) -> int:
    """Let a process run that is killed at its `at`-th place: a touch of what is called `near`, or a call of what
    `listen` is given. How many places there were where it ended before, else 0.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        seen = 0

        def one_more(*_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGKILL)

        def touched(event: str, values: tuple[Any, ...]) -> None:
            if event.startswith(("open", "os.", "shutil.")) and any(near in str(value) for value in values):
                one_more()

        sys.addaudithook(touched)
        listen(one_more)
        try:
            run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os.write(writing, str(seen).encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        places = int(pipe.read() or 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"failed when it was to be killed at {at}"
    return places
