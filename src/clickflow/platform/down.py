"""`clickflow down`: end the local platform and every process that it has started."""

import time

from clickflow.platform import configuration, launch, processes, settings, state, supervisor
from clickflow.platform.settings import Settings
from clickflow.system import console
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths


def down(paths: Paths) -> None:
    """End everything, tasks and their stages included, and see that nothing is left.

    What a run has done stays; a training that was ended keeps its checkpoint and goes on after the next `up`.
    """
    chosen = settings.read(paths, {})  # a variable that is wrong now must not keep anything alive
    with state.alone(chosen):
        ended = stop(chosen)
    console.say("down: everything has ended; the runs, models and logs stay" if ended else "down: nothing was running")


def stop(chosen: Settings) -> bool:
    """End the platform's processes; whether there were any. Raises ClickflowError where one cannot be ended."""
    folder = chosen.folder

    def left() -> list[processes.Process]:
        return processes.ours(folder)

    if not left():
        _forget(chosen)
        return False
    with console.progress("down: ending the services", None) as advance:
        # First the tasks' own programs, as by Ctrl-C: training writes its checkpoint, and the task reports its end.
        processes.end(lambda: [process for process in left() if process.task], patience=20)
        supervisor.shut_down(chosen)
        deadline = time.monotonic() + 90
        while supervisor.answers(chosen) and time.monotonic() < deadline:
            advance(0, note=", ".join(sorted({process.service for process in left()})))
            time.sleep(0.2)
        processes.end(left, patience=15)
    if still := left():
        shown = ", ".join(f"{process.id} ({process.command[:60]})" for process in still)
        raise ClickflowError(f"these processes could not be ended: {shown}", next_step="end them by hand: kill -9")
    _forget(chosen)
    return True


def _forget(chosen: Settings) -> None:
    launch.clear(chosen.folder)
    (chosen.folder / state.FILE).unlink(missing_ok=True)
    configuration.socket(chosen).unlink(missing_ok=True)
