"""MLflow's aliases follow the ledger. They cannot change together, and a process can die between two of them."""

from clickflow.registry import ledger
from clickflow.registry.ledger import Entry, Standing
from clickflow.system.console import say
from clickflow.system.errors import DataError
from clickflow.tracking import registered_models
from clickflow.tracking.mlflow_client import Store
from clickflow.tracking.registered_models import CANDIDATE, CHAMPION, PREVIOUS


def check(store: Store, entries: list[Entry], model: str) -> None:
    """Raise DataError where the registry has followed a ledger that is not this one, or a longer one."""
    followed = registered_models.anchor(store, model)
    if followed and all(entry.hash != followed for entry in entries):
        raise DataError(
            f"the registry at {store.shown} last followed a ledger line for {model} that is not in this ledger: "
            f"it lost lines, or belongs to another home",
            kept="no champion was changed",
            next_step="set CLICKFLOW_HOME to the home that holds the whole ledger, or put it back from a backup",
        )


def follow(store: Store, entries: list[Entry], model: str) -> bool:
    """Set `previous`, then `champion`, as the ledger says; True where one of them said otherwise.

    A version that was champion is no candidate any more, also where a rollback has taken it down. Without a line that
    made a champion no alias is touched: one that was set before there was a ledger stays.
    Raises DataError where the registry does not have the versions the ledger names.
    """
    standing = ledger.standing(entries, model)
    wrong: dict[str, int] = {}
    if standing.entry:
        current = registered_models.aliases(store, model)
        wanted = {PREVIOUS: standing.previous, CHAMPION: standing.champion}
        wrong = {alias: number for alias, number in wanted.items() if current.get(alias, 0) != number}
        if current.get(CANDIDATE, 0) in ledger.champions(entries, model):
            registered_models.point(store, model, CANDIDATE, 0)
        for number in {number for number in wrong.values() if number}:
            if registered_models.version(store, model, number) is None:
                raise DataError(
                    f"the ledger names version {number} of {model}, and the registry at {store.shown} does not have it",
                    kept="no alias was changed",
                    next_step="point registry.mlflow_uri at the registry that has it, or put its database back",
                )
        for alias, number in wrong.items():
            registered_models.point(store, model, alias, number)
    lines = [entry.hash for entry in entries if entry.model == model]
    if lines and registered_models.anchor(store, model) != lines[-1]:
        registered_models.set_anchor(store, model, lines[-1])
    return bool(wrong)


def complete(store: Store, entries: list[Entry], model: str) -> Standing:
    """Finish what a process that died left half done, and return who is champion. Under the registry's lock."""
    check(store, entries, model)
    if follow(store, entries, model):
        say(f"{model}: the aliases in MLflow did not say what the ledger says; they do now")
    standing = ledger.standing(entries, model)
    if standing.entry is None:
        before = registered_models.aliases(store, model)
        return Standing(before.get(CHAMPION, 0), before.get(PREVIOUS, 0))
    return standing
