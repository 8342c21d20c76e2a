"""What params.yaml may say of heads: their metrics and baselines. Each function yields a line a fault, with its place.

`params.rules` asks for it, so that params know no head.
"""

from collections.abc import Iterator, Mapping

from clickflow.heads import metrics, named, outputs
from clickflow.heads.outputs import Output
from clickflow.params.evaluation import NAMES
from clickflow.params.gate import OTHERS
from clickflow.params.models import units
from clickflow.params.schema import Params
from clickflow.system.errors import nearest


def checks(params: Params) -> Iterator[str]:
    """All of them."""
    yield from _units(params)
    yield from _needs(params)
    yield from _evaluated(params)
    yield from _costs(params)
    yield from _gate(params)
    yield from _own(params)
    yield from _beaten(params)
    yield from _watched(params)
    yield from _compared(params)


def _units(params: Params) -> Iterator[str]:
    """A head asks about what its model reads."""
    for name, model in params.models.items():
        for head in model.heads:
            asks = named(head).unit
            if asks != model.unit and model.unit in units():
                yield f"models.{name}.heads.{head}: asks about the unit {asks!r}; models.{name}.unit is {model.unit!r}"


def _needs(params: Params) -> Iterator[str]:
    """The types of event that a head asks about become steps."""
    for name, model in params.models.items():
        for head in model.heads:
            kept = getattr(getattr(params.sequences, model.unit, None), "event_types", None)
            if kept is not None and (missing := [each for each in named(head).needs if each not in kept]):
                yield (
                    f"models.{name}.heads.{head}: asks about {' and '.join(missing)}, which "
                    f"sequences.{model.unit}.event_types does not keep; add {' and '.join(missing)} there"
                )


def _evaluated(params: Params) -> Iterator[str]:
    """Baselines are those of their head's kind."""
    if not isinstance(params.evaluation.baselines, Mapping):
        return
    heads = {output.name: output.kind for output in outputs.every() if not output.second}
    for name, baselines in params.evaluation.baselines.items():
        at = f"evaluation.baselines.{name}"
        if name not in heads:
            yield f"{at}: no head is called {name!r}{nearest(name, heads)}; there is: {', '.join(heads)}"
            continue
        for baseline in baselines:
            if baseline not in NAMES[heads[name]]:
                known = NAMES[heads[name]]
                yield f"{at}: no baseline {baseline!r}{nearest(baseline, known)}; there is: {', '.join(known)}"


def _costs(params: Params) -> Iterator[str]:
    """What acting is worth is asked of heads whose answer says whom to act on."""
    able = [output.name for output in outputs.every() if output.kind in ("probability", "amount")]
    for name, costs in params.evaluation.costs.items():
        at = f"evaluation.costs.{name}"
        if name not in able:
            yield f"{at}: no head of kind probability or amount is called {name!r}{nearest(name, able)}"
        elif outputs.named(name).kind == "amount" and costs.act_on == "no":
            yield f"{at}.act_on: an amount is acted on where it is large enough: yes"
        elif costs.response * costs.value <= costs.contact:
            yield (
                f"{at}: acting never pays: response x value is {costs.response * costs.value:g}, and contact alone "
                f"costs {costs.contact:g}"
            )


def _gate(params: Params) -> Iterator[str]:
    """The gate speaks of metrics that the evaluation measures; what is compared is a mean over rows."""
    gate = params.gate
    primary = gate.primary
    given = [primary] if isinstance(primary, str) else [f"{head}.{metric}" for head, metric in primary.items()]
    for where, names, rows in (
        ("gate.primary", given, True),
        ("gate.beat_baselines", gate.beat_baselines or (), True),
        ("gate.floors", gate.floors or (), False),
    ):
        for name in names:
            yield from _named(params, where, name, rows=rows)


def _named(params: Params, where: str, name: str, *, rows: bool) -> Iterator[str]:
    """A metric of a head that there is; `rows`: one that two systems can be compared by."""
    every = {output.name: output for output in outputs.every()}
    head, key = outputs.place_of(name)
    if head not in every:
        yield f"{where}: {name!r}: no head is called {head!r}{nearest(head, every)}; there is: {', '.join(every)}"
        return
    known = _measured(params, every[head], rows=rows)
    if outputs.full(head, key) in known or (key.endswith("_known") and outputs.full(head, key[:-6]) in known):
        return
    if rows and metrics.of(every[head].kind, key) and not metrics.by_row(every[head].kind, key):
        yield f"{where}: two systems cannot be compared by {name!r}; of {head} there is: {', '.join(known)}"
    else:
        by = "by evaluation.cutoffs " if every[head].kind == "ranking" else ""
        yield (
            f"{where}: no metric {name!r} is measured{nearest(name, known)}; {by}there is: {', '.join(known) or 'none'}"
        )


def _measured(params: Params, output: Output, *, rows: bool) -> list[str]:
    """The metrics of an output, as they are written."""
    names = metrics.names(output.kind, params.evaluation.cutoffs, params.evaluation.budgets, rows=rows)
    return [outputs.full(output.name, name) for name in names]


def _own(params: Params) -> Iterator[str]:
    """What the heads of the models are judged by of their own is measured."""
    for name in dict.fromkeys(head for model in params.models.values() for head in model.heads):
        head = named(name)
        known = list(metrics.names(head.kind, params.evaluation.cutoffs, params.evaluation.budgets))
        own = {"gate.floors": outputs.own_floors(params.gate, head)}
        if isinstance(params.gate.primary, Mapping) and name not in params.gate.primary:
            own["gate.primary"] = {head.primary: 0.0}
        for where, keys in own.items():
            for key in keys:
                if known and key not in known:
                    like = [each for each in known if each.partition("@")[0] == key.partition("@")[0]] or known
                    yield (
                        f"{where}: {name} has {key} of its own, which is not measured: set evaluation.cutoffs, or name "
                        f"another, such as {outputs.full(name, like[0])}"
                    )


def _beaten(params: Params) -> Iterator[str]:
    """Baselines that are to be beaten are those that are evaluated."""
    every = {output.name: output for output in outputs.every()}
    for name, severities in (params.gate.beat_baselines or {}).items():
        head = outputs.place_of(name)[0]
        if isinstance(severities, str) or head not in every:
            continue
        own, place = outputs.baselines(params.evaluation, every[head].head)
        for baseline in severities:
            if baseline not in (OTHERS, *own):
                yield (
                    f"gate.beat_baselines.{name}: no {baseline!r} is in {place}{nearest(baseline, own)}; "
                    f"there is: {', '.join(own) or 'none'}, and {OTHERS!r} for all others"
                )


def _watched(params: Params) -> Iterator[str]:
    """What is watched is a mean over rows."""
    heads = [output for output in outputs.every() if not output.second]
    known = [name for output in heads for name in _measured(params, output, rows=True)]
    drops = params.watch.max_metric_drop
    for name in drops if isinstance(drops, Mapping) else ():
        if name not in known:
            yield f"watch.max_metric_drop: no metric {name!r} is measured{nearest(name, known)}"


def _compared(params: Params) -> Iterator[str]:
    """Versions are compared by a mean over rows between two bounds, of a model that there is."""
    live, bounded = params.live, ("ranking", "classes", "probability")
    for at, names in (("live.canary", live.canary), ("live.metric", live.metric)):
        for name in names:
            if name not in params.models:
                yield f"{at}: no model is called {name!r}{nearest(name, params.models)}"
    for model, metric in live.metric.items():
        heads = params.models[model].heads if model in params.models else ()
        own = [output for output in outputs.of(heads) if output.kind in bounded]
        known = ["ctr", "conversion", *(name for output in own for name in _measured(params, output, rows=True))]
        if heads and metric not in known:
            yield f"live.metric.{model}: {metric!r} cannot be compared{nearest(metric, known)}; there is: " + ", ".join(
                known
            )
    if live.keep_days < live.max_days + live.visitor_hours / 24:
        yield f"live.keep_days: {live.keep_days:g} days are shorter than a canary may last, live.max_days and a day"
