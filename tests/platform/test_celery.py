"""Celery workers with Redis and PostgreSQL, and an S3-compatible remote: each is killed while a run is at work."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import faults
import pytest
import servers
from faults import PATIENCE, Recovery, another, in_training, wait_for
from platform_client import Platform
from servers import Server

pytestmark = [pytest.mark.platform, pytest.mark.timeout(900)]

RUN = "retrain"

AWAY = 6.0
"""Seconds that a server is away."""


@dataclass
class Stack:
    """The platform and the servers below it."""

    platform: Platform
    redis: Server
    postgresql: Server
    bucket: Server


@pytest.fixture(scope="module")
def below() -> Iterator[tuple[Server, Server, Server, dict[str, str]]]:
    """The servers, and the variables that lead to them; ended after the platform."""
    with ExitStack() as ended:
        pair = [servers.redis(), servers.postgresql()]
        bucket, variables = servers.bucket()
        for server in (*pair, bucket):
            ended.callback(server.stop)
            server.start()
        redis, postgresql = pair
        yield redis, postgresql, bucket, variables


@pytest.fixture(scope="module")
def stack(
    below: tuple[Server, Server, Server, dict[str, str]], start_platform: Callable[..., Platform]
) -> Iterator[Stack]:
    """A platform of Celery workers."""
    redis, postgresql, bucket, variables = below
    platform = start_platform(
        params=faults.LONG,
        CLICKFLOW_EXECUTOR="celery",
        CLICKFLOW_BROKER_URL=f"redis://127.0.0.1:{redis.port}/0",
        CLICKFLOW_DATABASE_URL=servers.database(postgresql),
        **variables,
    )
    yield Stack(platform, redis, postgresql, bucket)
    platform.down()  # while its database is there


def test_the_worker_redis_postgresql_and_the_bucket_are_killed_in_one_run(stack: Stack, recovery: Recovery) -> None:
    shop = stack.platform
    run = another(shop, 0.0031)
    training = in_training(shop, run)
    assert shop.tasks(RUN, run)["train.next_step"]["queue"] == "gpu"
    with recovery("kill -9 of the Celery worker, whose training ends with it"):
        was = shop.kill("worker-gpu")
        faults.gone(training)
        faults.healthy(shop, "worker-gpu", besides=was)
        wait_for(shop, faults.TRAINING, besides=training, run=run)
    training = in_training(shop, run)

    stack.bucket.kill()
    faults.gone(training, within=PATIENCE)
    shop.wait_for_task(RUN, run, "train.next_step", "up_for_retry", "failed", timeout=PATIENCE)
    attempt = int(shop.tasks(RUN, run)["train.next_step"]["try_number"])
    with recovery("the loss of the bucket, from the moment it is back"):
        stack.bucket.start()
        wait_for(shop, "clickflow export", run=run)
    log = shop.log(RUN, run, "train.next_step", attempt)
    assert "its outputs did not reach the DVC remote" in log
    assert "see that the remote can be reached" in log

    with recovery(f"kill -9 of Redis, away for {AWAY:.0f} s"):
        stack.redis.kill()
        time.sleep(AWAY)
        stack.redis.start()
        wait_for(shop, "clickflow evaluate", run=run)
    with recovery(f"kill -9 of PostgreSQL, away for {AWAY:.0f} s"):
        stack.postgresql.kill()
        time.sleep(AWAY)
        stack.postgresql.start()
        wait_for(shop, "clickflow gate", run=run)
    faults.ends_well(shop, run)
    faults.registry_is_whole(shop, promotions=1)
    assert all(service["healthy"] for service in shop.services().values())
    assert not faults.strays(shop)
