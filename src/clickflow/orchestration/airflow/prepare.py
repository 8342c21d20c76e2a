"""`python -m clickflow.orchestration.airflow.prepare --pool NAME=SLOTS …`: what must be there before Airflow starts.

The database is brought up to date and the pools are made; a second time nothing changes but a pool's slots.
"""

import argparse
from collections.abc import Mapping


def prepare(pools: Mapping[str, int]) -> None:
    """Migrate Airflow's database and make `pools` (slots by name)."""
    from airflow.models.pool import Pool
    from airflow.utils.db import upgradedb

    upgradedb()
    for name, slots in pools.items():
        Pool.create_or_update_pool(name, slots=slots, description="made by clickflow", include_deferred=False)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="prepare")
    parser.add_argument("--pool", action="append", default=[], metavar="NAME=SLOTS")
    said = [pool.partition("=") for pool in parser.parse_args().pool]
    prepare({name: int(slots) for name, _, slots in said})


if __name__ == "__main__":
    main()
