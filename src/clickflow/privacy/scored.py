"""What the tables of predictions keep of a person (`clickflow score --sql`): their rows, in every batch."""

import os

from clickflow.params.schema import Params
from clickflow.privacy.leftovers import Removed
from clickflow.privacy.people import People
from clickflow.serving import score_database, tables
from clickflow.system.errors import ClickflowError

PLACE = "database of predictions"


def remove(params: Params, people: People, *, dry: bool) -> tuple[list[Removed], list[str]]:
    """What was removed (`dry`: would be), and what could not be reached."""
    variable = params.score.sql_url_env
    if not os.environ.get(variable, "").strip():
        left = [f"the tables of predictions (score.sql): the environment variable {variable} is not set here"]
        return [], left if params.score.sql else []
    try:
        rows = tables.without(
            score_database.connect(params.score), params.score, people.users, people.sessions, dry=dry
        )
    except ClickflowError as error:
        return [], [f"the tables of predictions: {error.what}"]
    return [Removed(PLACE, name, "rewritten", count) for name, count in rows.items()], []
