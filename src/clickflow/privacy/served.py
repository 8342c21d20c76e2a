"""What servers keep of a person: the steps in the Redis that they share, and in their own memory.

A server reads the list of forgotten people (`clickflow.online.remembering`), drops what it holds of them and keeps
nothing more. What lies in Redis is removed here as well, and once more when every server has read the list.
"""

import asyncio
import time

from clickflow.online.remembering import AGE
from clickflow.online.state import Redis
from clickflow.params.schema import Params
from clickflow.privacy.leftovers import Removed
from clickflow.privacy.people import People
from clickflow.system.errors import ClickflowError

PLACE = "served state"


def remove(params: Params, people: People, *, dry: bool) -> tuple[list[Removed], list[str]]:
    """What was removed (`dry`: would be) of the state of servers, and what could not be reached."""
    if params.serve.redis is None:
        return [], []
    try:
        return asyncio.run(_removed(params, people, dry=dry)), []
    except ClickflowError as error:
        return [], [f"the Redis in serve.redis, which keeps what visitors did: {error.what}"]


def settled() -> None:
    """Return when every server has read the list, as it is now."""
    time.sleep(AGE * 1.1)


async def _removed(params: Params, people: People, *, dry: bool) -> list[Removed]:
    serve = params.serve
    state = Redis(str(serve.redis), steps=serve.steps, keep_seconds=serve.keep_hours * 3600)
    subjects = [*(f"customer:{user}" for user in people.users), *(f"session:{each}" for each in people.sessions)]
    try:
        # dry: what can be read of them; else what there is, whether it can be read or not
        held = [each for each in sorted(subjects) if await (state.history(each) if dry else state.forget(each))]
    finally:
        await state.close()
    return [Removed(PLACE, "steps of a " + subject.partition(":")[0], "removed", 1) for subject in held]
