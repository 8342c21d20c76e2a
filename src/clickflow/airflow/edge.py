"""`python -m clickflow.airflow.edge --queue QUEUE --name NAME`: an Edge worker that can restart at once.

For half a minute after a worker was killed, Airflow takes its name to be in use and refuses a new worker of that name.
Here the name is known to be free, so the old worker is signed off first.
"""

import argparse
import asyncio
import sys
from http import HTTPStatus


def main() -> None:
    """Sign the name off, then become `airflow edge worker`."""
    parser = argparse.ArgumentParser(prog="edge")
    parser.add_argument("--queue", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--concurrency", default="1")
    parser.add_argument("--pid", default="")
    args = parser.parse_args()
    # Airflow looks at the words of the command to see that it is a worker, which has no database.
    sys.argv = ["airflow", "edge", "worker", "-q", args.queue, "-H", args.name, "-c", args.concurrency]
    sys.argv += ["--pid", args.pid] if args.pid else []
    from airflow.__main__ import main as airflow

    asyncio.run(_sign_off(args.name, args.queue))
    airflow()


async def _sign_off(name: str, queue: str) -> None:
    from aiohttp import ClientResponseError
    from airflow import __version__
    from airflow.providers.edge3 import __version__ as provider
    from airflow.providers.edge3.cli.api_client import worker_set_state
    from airflow.providers.edge3.models.edge_worker import EdgeWorkerState

    known: dict[str, str | int] = {"airflow_version": __version__, "edge_provider_version": provider, "concurrency": 1}
    try:
        await worker_set_state(name, EdgeWorkerState.OFFLINE, 0, [queue], {**known, "free_concurrency": 0})
    except ClientResponseError as error:
        if error.status != HTTPStatus.NOT_FOUND:  # never seen before
            raise


if __name__ == "__main__":
    main()
