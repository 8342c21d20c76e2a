"""`python -m clickflow.platform.launch SERVICE -- COMMAND…`: what supervisord starts for each service.

Clears away what an earlier instance of the service, killed before it could, has left; then becomes the command.
"""

import os
import sys
from pathlib import Path

from clickflow.platform import processes

KEEP = "worker-"
"""Tasks outlive a worker that was killed: they report to the API server by themselves. They are left to end."""


def main(service: str, command: list[str]) -> None:
    """Take the place of an earlier instance, and run."""
    os.environ[processes.SERVICE] = service
    folder = Path(os.environ[processes.PLATFORM])
    if not service.startswith(KEEP):
        # What a killed scheduler had started in its own processes is started again by the new one.
        processes.end(lambda: [process for process in processes.ours(folder) if process.service == service], patience=5)
    clear(folder, service)
    os.execvpe(command[0], command, os.environ)


def clear(folder: Path, service: str = "") -> None:
    """Remove PID files whose process is gone: Airflow and Celery refuse to start beside them."""
    homes = [folder / "airflow", *folder.glob(f"workers/{service or '*'}")]
    for file in [*folder.glob(f"{service}*.pid"), *(file for home in homes for file in home.glob("*.pid"))]:
        try:
            process = int(file.read_text().strip() or 0)
        except (OSError, ValueError):
            process = 0
        if not process or not processes.alive(process):
            file.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3:])
