"""`clickflow worker`: an Edge worker of an Airflow elsewhere, on this machine, in the foreground.

It speaks HTTP with the API server and nothing else of it: no database, no broker, no port of its own.
"""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from clickflow.platform import configuration, keys, processes
from clickflow.system import console
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths
from clickflow.system.process import NO_TELEMETRY

NEEDS = {
    "CLICKFLOW_API_URL": "the Airflow that it works for, for instance http://127.0.0.1:8080 through an SSH tunnel",
    "CLICKFLOW_JWT_SECRET": "what it signs with: `jwt` in <home>/platform/secrets.json of the platform",
    "CLICKFLOW_REPOSITORY": "the git repository of the runs, as this machine reaches it: a URL or a folder",
    "CLICKFLOW_DVC_REMOTE": "where the bytes of runs go, as this machine reaches it: s3://…, ssh://…, a shared folder",
}


def run(paths: Paths, *, queue: str, gpu: int | None, name: str) -> None:
    """Become a worker that takes the tasks of `queue`, until it is told to end.

    SIGTERM ends its tasks too (they are tried again, elsewhere or here), Ctrl-C lets the one at work finish.
    Raises UsageError where a variable is missing, or such a worker runs already.
    """
    env = {**os.environ, **_given(os.environ)}
    name = name or f"{socket.gethostname()}-{queue}" + (f"-{gpu}" if gpu is not None else "")
    folder = paths.home / "workers" / name
    pid = folder / "worker.pid"
    if (process := _process(pid)) and processes.alive(process):
        raise UsageError(
            f"worker {name} runs already, as process {process}",
            next_step="a second one needs another --name; one a GPU: --gpu 0, --gpu 1, …",
        )
    pid.unlink(missing_ok=True)
    url, secret, logs = env["CLICKFLOW_API_URL"], env["CLICKFLOW_JWT_SECRET"], paths.home / "logs/airflow"
    worker = configuration.edge_worker(url, secret, root=paths.root, logs=logs)
    keys.write_private(folder / "airflow.cfg", configuration.ini(worker))
    for ours in ("CLICKFLOW_JWT_SECRET", "AIRFLOW_CONFIG", "PYTHONDONTWRITEBYTECODE"):
        env.pop(ours, None)  # airflow.cfg has it, and stages have no use for it
    env |= {
        "AIRFLOW_HOME": str(folder),
        "CLICKFLOW_HOME": str(paths.home),
        **NO_TELEMETRY,
        **configuration.EDGE_PATIENCE,
    }
    if gpu is not None:
        env["CUDA_VISIBLE_DEVICES"] = str(gpu)
    console.say(f"worker {name}: takes tasks of queue {queue} from {env['CLICKFLOW_API_URL']}")
    words = ["clickflow.airflow.edge", "--queue", queue, "--name", name, "--pid", str(pid)]
    os.chdir(folder)
    os.execvpe(sys.executable, [sys.executable, "-m", *words], env)


def _given(env: Mapping[str, str]) -> dict[str, str]:
    missing = [name for name in NEEDS if not env.get(name)]
    if missing:
        raise UsageError(
            "a worker needs to know:\n" + "\n".join(f"  {name}: {NEEDS[name]}" for name in missing),
            next_step="set them; docs/howto/gpu-box.md has an example",
        )
    url = env["CLICKFLOW_API_URL"].rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"CLICKFLOW_API_URL is {url!r}, and must begin with http:// or https://")
    return {"CLICKFLOW_API_URL": url}


def _process(pid: Path) -> int:
    try:
        return int(pid.read_text().strip())
    except (OSError, ValueError):
        return 0
