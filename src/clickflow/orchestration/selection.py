"""The stages of a run of only some models."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from clickflow.orchestration.graph import Graph
from clickflow.system.errors import UsageError, nearest


def check(models: Iterable[str], params: Mapping[str, Any]) -> tuple[str, ...]:
    """The chosen models in params.yaml's order; empty where all are chosen. Raises UsageError on an unknown one."""
    known, chosen = list(params.get("models") or {}), list(models)
    for name in chosen:
        if name not in known:
            raise UsageError(
                f"there is no model {name!r}{nearest(str(name), known)}",
                kept="nothing was run",
                next_step=f"choose among {', '.join(known)}",
            )
    picked = tuple(name for name in known if name in chosen)
    return () if len(picked) == len(known) else picked


def stages(plan: Graph, models: Collection[str], known: Collection[str]) -> tuple[str, ...]:
    """What a run of `models` (none: of all) must do, in running order.

    That is where the pipeline ends for a chosen model, or for no model at all, and whatever comes before. The rest
    keeps in dvc.lock what it had, as `dvc repro gate@chosen` leaves it by hand.
    """
    if not models:
        return tuple(plan.stages)
    ends = [name for name in plan.leaves() if plan.stages[name].key not in known or plan.stages[name].key in models]
    wanted = {*ends, *(above for name in ends for above in plan.ancestors(name))}
    return tuple(name for name in plan.stages if name in wanted)
