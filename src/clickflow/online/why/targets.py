"""What is asked to be explained, by its names: a target, and the threshold that costs give."""

from collections.abc import Mapping

from clickflow.evaluation import money
from clickflow.online.served import Served
from clickflow.params.evaluation import Costs
from clickflow.system.errors import UsageError, nearest


def thresholds(served: Served, costs: Mapping[str, Costs]) -> dict[str, float]:
    """By output, the answer at which acting on it is worth nothing, of those of which `evaluation.costs` says it."""
    thresholds = {}
    for output in served.outputs:
        if output.name in costs:
            at = money.payoff(costs[output.name], output.kind).threshold
            if at is not None:
                thresholds[output.name] = at
    return thresholds


def place(served: Served, output: str, target: str | None) -> int | None:
    """The index of a target by its name: an item, or a class. Raises UsageError where there is no such."""
    own = next((each for each in served.outputs if each.name == output), None)
    if target is None or own is None:
        return None
    if own.kind == "ranking":
        if target in served.items.index_of:
            return served.items.index_of[target]
        raise UsageError(f"{served.model} does not know the item {target!r}", kept="nothing was run")
    classes = served.artefact.heads[own.head.name].classes
    if target in classes:
        return classes.index(target)
    known = ", ".join(classes) or "none to choose from"
    raise UsageError(
        f"{output} has no answer {target!r}; it has {known}{nearest(target, classes)}", kept="nothing was run"
    )
