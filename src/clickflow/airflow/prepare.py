"""`python -m clickflow.airflow.prepare --pool NAME=SLOTS …`: what must be there before Airflow starts.

The database is brought up to date and the pools are made; a second time nothing changes but a pool's slots.
"""

import argparse
from collections.abc import Collection, Mapping


def prepare(pools: Mapping[str, int], gone: Collection[str] = ()) -> None:
    """Migrate Airflow's database and make `pools` (slots by name).

    `gone`: Edge workers that have ended. What they were doing is forgotten, so that the scheduler starts it again;
    else a worker might be handed the same attempt a second time.
    """
    from airflow.models.pool import Pool
    from airflow.utils.db import upgradedb

    upgradedb()
    for name, slots in pools.items():
        Pool.create_or_update_pool(name, slots=slots, description="made by clickflow", include_deferred=False)
    if gone:
        _forget(gone)


def _forget(workers: Collection[str]) -> None:
    from airflow.providers.edge3.models.edge_job import EdgeJobModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    unfinished = EdgeJobModel.edge_worker.in_(workers), EdgeJobModel.state.not_in(["success", "failed"])
    with create_session() as session:
        session.execute(delete(EdgeJobModel).where(*unfinished))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="prepare")
    parser.add_argument("--pool", action="append", default=[], metavar="NAME=SLOTS")
    parser.add_argument("--gone", action="append", default=[], metavar="WORKER", help="an Edge worker that has ended")
    args = parser.parse_args()
    pools = [pool.partition("=") for pool in args.pool]
    prepare({name: int(slots) for name, _, slots in pools}, args.gone)


if __name__ == "__main__":
    main()
