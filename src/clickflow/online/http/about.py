"""Routes about the server itself: models, health, readiness, metrics, the schema."""

from dataclasses import asdict

import msgspec
from msgspec import UNSET
from starlette.responses import Response

from clickflow.online.http import schema
from clickflow.online.http.route import Call, Route
from clickflow.online.http.settings import Service
from clickflow.sequences.indexes import FIRST_ITEM

METRICS_MEDIA = "text/plain; version=0.0.4; charset=utf-8"

NEXT = {
    "keys": "put serving-keys.json back, or make a key with `clickflow serve --new-key`",
    "state": "start Redis again, which serve.redis of params.yaml names; nothing else has to be started anew",
    "live ledger": "put the ledger back from a backup, with ledger.key and ledger.pub; then run `clickflow status`",
    "live log": "free some space where the home is; rows wait in memory until then, at most live.queue of them",
    "live report": "run `clickflow live` on this machine: it says what is in its way",
    "live canary judge": "run `clickflow canary judge`; a server that may not promote leaves it to the DAG watch",
    "watch": "run `clickflow watch`, or the DAG watch: its next report is read",
    "pseudonyms": "start the server again",
    "models": "run `dvc repro`, then `clickflow promote`; where the gate holds a candidate `clickflow status` says why",
}
"""What mends each part; see docs/runbooks/serving.md."""


async def models(service: Service, _: Call) -> schema.Models:
    """All that answer."""
    served = [service.engine.current(name) for name in service.engine.models]
    listed = [
        schema.Model(
            one.model,
            one.version,
            one.unit,
            len(one.items) - FIRST_ITEM,
            [
                schema.Output(output.name, "categories" if output.by else output.kind, output.head.question)
                for output in one.shown_outputs
            ],
            UNSET if one.index is None else schema.Index(one.approximate, **asdict(one.index)),
        )
        for one in served
    ]
    return schema.Models(listed, await wrong_of(service))


async def wrong_of(service: Service) -> dict[str, str]:
    """What is wrong, by model or part."""
    said = await service.state.wrong()
    return {**service.settings.wrong(), **({"state": said} if said else {})}


async def health_of(service: Service) -> schema.Health:
    """What answers, and what is wrong."""
    wrong = await wrong_of(service)
    next_ = {**NEXT, **service.settings.next()}
    versions = {name: service.engine.current(name).version for name in service.engine.models}
    if not versions and not wrong:
        wrong["models"] = "none has a champion yet: `clickflow promote` makes the first one"
    return schema.Health(
        "not ready" if not versions else "degraded" if wrong else "ok",
        wrong,
        versions,
        {name: next_[name] for name in wrong if name in next_},
    )


async def healthz(service: Service, _: Call) -> schema.Health:
    """The process answers; what is wrong is said, and no reason to start it again."""
    return await health_of(service)


async def readyz(service: Service, _: Call) -> Response:
    """Whether it can answer questions: 503 where no model is served yet."""
    health = await health_of(service)
    return Response(msgspec.json.encode(health), 200 if health.versions else 503, media_type="application/json")


async def show(service: Service) -> None:
    """Set the gauges to what is now."""
    serving = {name: service.engine.current(name).version for name in service.engine.models}
    wanted = dict(service.settings.champions())
    for name, version in serving.items():
        if service.metrics.answered.setdefault(name, version) != version:
            service.metrics.swaps.labels(name).inc()
            service.metrics.answered[name] = version
    service.metrics.show("clickflow_state", {(name,): value for name, value in service.state.counts.items()})
    service.metrics.show("clickflow_serving_version", {(name,): serving.get(name, 0) for name in {**serving, **wanted}})
    service.metrics.show("clickflow_champion_version", {(name,): version for name, version in wanted.items()})
    service.metrics.show("clickflow_wrong", {(name,): 1 for name in await wrong_of(service)})
    if (live := service.settings.extra.get("live")) is not None:
        for name, values in live.gauges().items():
            service.metrics.show(name, values)


async def metrics(service: Service, _: Call) -> Response:
    """For Prometheus."""
    await show(service)
    return Response(service.metrics.text(), media_type=METRICS_MEDIA, headers={"Cache-Control": "no-store"})


ROUTES = (
    Route(method="GET", path="/v1/models", answer=models, gives=schema.Models, summary="What is served."),
    Route(
        method="GET",
        path="/healthz",
        answer=healthz,
        gives=schema.Health,
        scope=None,
        summary="Whether the process is alive, and what is wrong.",
    ),
    Route(
        method="GET",
        path="/readyz",
        answer=readyz,
        gives=schema.Health,
        scope=None,
        summary="Whether it can answer questions; 503 until it can.",
    ),
    Route(
        method="GET", path="/metrics", answer=metrics, media="text/plain", summary="Counts and times, for Prometheus."
    ),
)
