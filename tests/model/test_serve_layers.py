"""`clickflow serve` at its edges: hostile requests, the way past Starlette's layers, spans, the schema."""

import asyncio
import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import online_shop
import pytest
from http_app import KEY, VISIT, Ask, asking, client
from starlette.routing import Match
from starlette.routing import Route as Place

from clickflow.online import state
from clickflow.online.engine import Busy, Engine
from clickflow.online.http import guard, keys, server, tracing
from clickflow.online.http.app import ROUTES, Direct, app
from clickflow.online.http.settings import Settings
from clickflow.online.served import Served
from clickflow.params.serve import Serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A model that answers."""
    return online_shop.exported(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def ask(served: Served) -> Ask:
    """An application without keys."""
    return client(served)


@pytest.fixture(autouse=True)
def _every_line_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of a second is bounded: a test that floods it leaves the next one of that second no line."""
    monkeypatch.setattr(guard, "_written", guard._Written())


OWN = ("x-request-id", "content-length")
"""Headers that are of one answer."""


def test_hostile_requests_get_problem_details_and_never_a_500(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import hostile

    limits = Serve()
    memory = state.Memory(subjects=100, steps=50, keep_seconds=60)
    settings = Settings(serve=limits, pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw))
    result = asyncio.run(hostile.storm(app(Engine({served.model: served}), memory, settings), 300, 20_000))
    assert result["still_answers"]
    assert not result["faults"]
    assert {"400", "404", "413", "415", "422"} <= result["statuses"].keys()


def both_ways(served: Served, **given: Any) -> list[Direct]:
    """Two applications: as it is, and with Starlette's layers before every route."""
    limits = Serve(**given.pop("serve", {}))
    applications = []
    for _ in range(2):
        memory = state.Memory(subjects=100, steps=50, keep_seconds=60)
        settings = Settings(serve=limits, pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw), **given)
        applications.append(app(Engine({served.model: served}), memory, settings))
    assert applications[1].endpoints
    applications[1].endpoints = {}
    return applications


class Tracer:
    """Keeps what spans it was told of."""

    def __init__(self) -> None:
        self.spans: list[list[Any]] = []

    def start_span(self, name: str, _: dict[str, str]) -> Any:
        """Of `tracing.Tracer`."""
        span: list[Any] = [name]
        self.spans.append(span)

        def attributes(values: dict[str, Any]) -> None:
            span.append({name: value for name, value in values.items() if name != "clickflow.request"})

        return SimpleNamespace(set_attributes=attributes, end=lambda: span.append("ended"))


def same(answer: tuple[int, dict[bytes, bytes], bytes]) -> tuple[Any, ...]:
    """An answer without what is of its own time: ids, seconds, and the length of a body that names these."""
    status, headers, body = answer
    kept = {name: value for name, value in headers.items() if name not in (b"x-request-id", b"content-length")}
    named = re.sub(rb"[0-9a-f]{8}-[0-9a-f]+(?=[\".])", b"ID", body)
    return (
        status,
        kept,
        b"request-id" in b"".join(headers),
        re.sub(rb'("uptime_seconds"|"seconds"):[0-9.e-]+', b"", named),
    )


def lines(text: str) -> list[dict[str, Any]]:
    """Lines of the log without what is of their own time."""
    own = ("time", "ms", "request")
    return [{name: value for name, value in json.loads(line).items() if name not in own} for line in text.splitlines()]


def counted(application: Any) -> dict[str, float]:
    """How often each route answered with which status, how many were timed, and what was answered."""
    registry = application.state.service.metrics.registry
    return {
        f"{each.name}{sorted(each.labels.items())}": each.value
        for metric in registry.collect()
        for each in metric.samples
        if each.name in ("clickflow_requests_total", "clickflow_request_seconds_count", "clickflow_answers_total")
    }


def test_what_skips_starlettes_layers_answers_counts_logs_and_traces_as_through_them(
    served: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import hostile

    monkeypatch.setattr(guard, "LINES_A_SECOND", 1 << 30)
    plain = b'{"history": [{"item": "5"}]}'
    head = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    requests = [hostile.request(seed) for seed in range(40_000, 40_300)]
    requests += [
        ("method", (method, path, head, b"", plain))
        for method in ("HEAD", "OPTIONS", "GET", "POST", "PUT")
        for path in ("/v1/recommend", "/v1/models", "/healthz", "/v1/recommend/", "/V1/recommend", "//v1/recommend")
    ]
    requests += [("language", ("POST", "/v1/recommend", [*head, (b"accept-language", b"zh-CN")], b"", b"{"))]
    outcomes = []
    for application in both_ways(served, serve={"log_requests": True}, extra={"tracer": (tracer := Tracer())}):
        tracer.spans.clear()
        answers = [asyncio.run(hostile.send(application, each, place)) for place, (_, each) in enumerate(requests)]
        dynamic = ("/metrics", "/v1/live", "/v1/console")
        kept = [
            same(answer)[: 3 if each[1].startswith(dynamic) else 4]
            for answer, (_, each) in zip(answers, requests, strict=True)
        ]
        outcomes.append((kept, lines(capsys.readouterr().err), [*tracer.spans], counted(application)))
    for one, other in zip(*outcomes, strict=True):
        assert one == other
    statuses = {answer[0] for answer in outcomes[0][0]}
    assert {200, 400, 404, 405, 413, 415, 422} <= statuses
    assert len(outcomes[0][1]) > 100
    assert len(outcomes[0][2]) > 100


@pytest.mark.parametrize("what", ["keys", "rate", "queue", "time", "fault", "unwritable"])
def test_keys_limits_and_faults_are_the_same_on_the_way_that_skips_starlettes_layers(
    what: str, served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: dict[str, Any] = {}
    key = keys.make(tmp_path, "reader", ("events",))
    if what == "keys":
        given["keys"] = server.Keys(tmp_path).now
    if what == "rate":
        given["serve"] = {"rate": 0.001, "burst": 1}
    broken: Any = {
        "queue": Busy("too many questions wait", kept="none is lost", next_step="try again"),
        "time": TimeoutError(),
        "fault": ZeroDivisionError(),
    }
    wanted = {"keys": 401, "rate": 429, "queue": 503, "time": 504, "fault": 500, "unwritable": 500}
    outcomes: list[Any] = []
    for application in both_ways(served, **given):
        service, ask = application.state.service, asking(application)

        async def ask_engine(*_: Any) -> Any:
            raise broken[what]

        if what in broken:
            monkeypatch.setattr(service.engine, "ask", ask_engine)
        if what == "unwritable":
            monkeypatch.setattr(guard, "_encoder", SimpleNamespace(encode=lambda _: 1 / 0))
        each = [
            ask("POST", "/v1/recommend", json={"history": VISIT}),
            ask("POST", "/v1/recommend", json={"history": VISIT}, headers={"Authorization": f"Bearer {key}"}),
            ask("POST", "/v1/recommend", content=b"{", headers={"Host": "evil.example"}),
        ]
        header_sets = [{name: text for name, text in one.headers.items() if name not in OWN} for one in each]
        bodies = [one.json() | {"request": "", "detail": ""} for one in each]
        if what == "rate":
            header_sets = [headers | {"retry-after": ""} for headers in header_sets]
        outcomes.append(([one.status_code for one in each], header_sets, bodies, counted(application)))
    assert outcomes[0] == outcomes[1]
    assert wanted[what] in outcomes[0][0]
    refused = outcomes[0][1][outcomes[0][0].index(wanted[what])]
    assert refused["content-type"] == "application/problem+json"
    assert ("retry-after" in refused) == (what in ("rate", "queue"))


def test_what_there_is_not_has_an_id_that_the_log_names(ask: Ask, capsys: pytest.CaptureFixture[str]) -> None:
    for method, path, status in (("GET", "/nowhere", 404), ("GET", "/v1/recommend", 405)):
        capsys.readouterr()
        response = ask(method, path)
        (line,) = [json.loads(each) for each in capsys.readouterr().err.splitlines() if '"unmatched"' in each]
        assert response.status_code == line["status"] == status
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-request-id"] == response.json()["request"] == line["request"] != ""
        assert "path" not in line
        assert ("the path takes POST" in response.json()["detail"]) == (status == 405)


class Collector(BaseHTTPRequestHandler):
    """A collector of OpenTelemetry that keeps what it is sent."""

    batches: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        """A batch of spans."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.batches.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_spans_go_to_the_collector_that_a_variable_names_and_belong_to_the_trace_of_who_asks(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    assert tracing.tracer() is None
    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        monkeypatch.setenv(tracing.VARIABLES[0], f"http://127.0.0.1:{collector.server_port}")
        tracer = tracing.tracer()
        assert tracer is not None
        ask = client(served, extra={"tracer": tracer})
        trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        body = {"history": [{"item": "5"}], "session": "a-secret-visit"}
        ask("POST", "/v1/recommend", json=body, headers={"traceparent": f"00-{trace}-{parent}-01"})
        ask("POST", "/v1/recommend", json=VISIT, headers={"traceparent": "00-nonsense"})
        ask("GET", "/v1/similar/5")
        tracer.close()
        collector.shutdown()
    assert not any(b"a-secret-visit" in each for each in Collector.batches)
    spans = [
        span
        for each in Collector.batches
        for resource in ExportTraceServiceRequest.FromString(each).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [span.name for span in spans] == ["POST /v1/recommend"] * 2 + ["GET /v1/similar/{item:path}"]
    assert (spans[0].trace_id.hex(), spans[0].parent_span_id.hex()) == (trace, parent)
    assert not spans[1].parent_span_id
    status = [
        value.value.int_value for span in spans for value in span.attributes if value.key == "http.response.status_code"
    ]
    assert status == [200, 422, 200]
    assert {span.kind for span in spans} == {2}, "of a server"


def test_a_collector_that_is_away_holds_nobody_up(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(tracing.VARIABLES[0], "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "LAST", 0.2)
    tracer = tracing.tracer()
    assert tracer is not None
    assert client(served, extra={"tracer": tracer})("GET", "/v1/models").status_code == 200
    tracer.close()


def test_a_path_of_one_text_has_one_route_and_no_other_before_it(served: Served) -> None:
    direct, through = both_ways(served)
    assert len(direct.endpoints) == sum("{" not in route.path for route in ROUTES)
    for method, path in direct.endpoints:
        scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
        first = next(place for place in through.routes if place.matches(scope)[0] is Match.FULL)
        assert isinstance(first, Place)
        assert first.path == path


def test_the_schema_is_kept_by_what_schemathesis_sends(served: Served, tmp_path: Path) -> None:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    key = keys.make(tmp_path, "fuzz", ("read", "events"))
    own_settings = Settings(
        serve=Serve(), keys=server.Keys(tmp_path).now, pseudonym=lambda kind, raw: server.pseudonym(KEY, kind, raw)
    )
    memory = state.Memory(subjects=100, steps=50, keep_seconds=60)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app(Engine({served.model: served}), memory, own_settings))

    def send(case: Any) -> None:
        # right by the schema may still name a model that there is not
        case.call_and_validate(headers={"Authorization": f"Bearer {key}"}, excluded_checks=[positive_data_acceptance])

    few: Any = settings(
        max_examples=8,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    every: Any = schema.get_all_operations()
    operations: list[Any] = [result.ok() for result in every]
    assert len(operations) > 10
    for operation in operations:
        tried: Any = given(operation.as_strategy())
        few(tried(send))()
