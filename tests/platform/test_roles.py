"""Each role of a running platform tries over HTTP what is not theirs: rules, files, secrets, other people's answers.

What each of them gets stands in docs/reference/security.md, and is held here.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import platform_client
import pytest
from platform_client import Platform

pytestmark = [pytest.mark.platform, pytest.mark.timeout(1800)]

ROLES = {"admin": "admin", "olga": "op", "ulf": "user", "vera": "viewer"}
MODEL = "next_step"
RUN = "theirs"
"""A run that admin has begun, which the others look at and meddle with."""
TASKS = f"/dags/retrain/dagRuns/{RUN}/taskInstances"

# what is asked of Airflow: method, path, body; and the status that each role gets
ADMIN, OP, USER, ALL = 1, 2, 3, 4
"""How many of the roles, the highest first, are let through."""
REQUESTS: dict[str, tuple[str, str, Any, int]] = {
    "read connections": ("GET", "/connections", None, OP),
    "make a connection": ("POST", "/connections", {"connection_id": "{me}", "conn_type": "http", "host": "h"}, OP),
    "read variables": ("GET", "/variables", None, OP),
    "make a variable": ("POST", "/variables", {"key": "{me}", "value": "v"}, OP),
    "make a pool": ("POST", "/pools", {"name": "{me}", "slots": 1}, OP),
    "read the configuration": ("GET", "/config", None, 0),
    "start a run": ("POST", "/dags/retrain/dagRuns", {"logical_date": None, "conf": {"models": ["none"]}}, USER),
    "switch a DAG on": ("PATCH", "/dags/watch", {"is_paused": True}, USER),
    "write what a task returned": ("POST", f"{TASKS}/open/xcomEntries", {"key": "{me}", "value": 1}, USER),
    "read the runs": ("GET", "/dags/retrain/dagRuns", None, ALL),
    "take a task as an Edge worker": ("POST", "/edge_worker/v1/jobs/fetch/{me}", {"queues": ["gpu"]}, 0),
    "speak as a task": ("GET", "/execution/variables/x", None, 0),
    "a run called as a path": ("POST", "/dags/retrain/dagRuns", {"logical_date": None, "dag_run_id": "../../{me}"}, 0),
}  # fmt: skip

CONF: dict[str, tuple[dict[str, Any], str]] = {
    "no approval": ({"overrides": {"promotion.approve": []}}, "promotion comes from the commit alone"),
    "no floors": ({"overrides": {"gate.floors": {"mrr@20": -1.0}}}, "gate comes from the commit alone"),
    "the whole gate": ({"overrides": {"gate": {"primary": "mrr@20"}}}, "gate comes from the commit alone"),
    "a margin of 5": ({"overrides": {"gate.champion.margin": 5}}, "gate comes from the commit alone"),
    "no champion": ({"overrides": {"champion.next_step": 0}}, "champion comes from the commit alone"),
    "another registry": ({"overrides": {"registry.mlflow_uri": "http://127.0.0.1:9"}}, "registry comes from"),
    "any override": ({"overrides": {"runs.overrides": ["*"]}}, "runs comes from the commit alone"),
    "the passwords": ({"source_kind": "files", "source_path": "{home}/platform/passwords.json"}, "which no run reads"),
    "the token key": ({"source_kind": "files", "source_path": "{home}/platform/jwt.pem"}, "which no run reads"),
    "the pseudonyms' key": ({"source_kind": "files", "source_path": "{home}/pseudonym.key"}, "which no run reads"),
    "a system file": ({"source_kind": "files", "source_path": "/etc/passwd"}, "lies outside the folders"),
    "the environment": ({"source_kind": "files", "source_path": "/proc/self/environ"}, "outside the folders"),
    "a query": ({"overrides": {"source.sql_query": "SELECT 1; DROP TABLE clicks"}}, "is not a run's to set"),
    "a key that no field has": ({"gate.floors": {}}, "gate.floors"),
}  # fmt: skip
"""What a run is asked for, and what the task `open` says of it."""
FEW = ["no approval", "no floors", "the passwords"]


@pytest.fixture(scope="module")
def shop(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with a user a role, whose candidates wait for a person."""
    users = ",".join(f"{name}:{role}" for name, role in ROLES.items())
    platform = platform_client.clone(
        root, tmp_path_factory.mktemp("roles"), {"promotion.approve": [MODEL]}, CLICKFLOW_USERS=users
    )
    try:
        platform.up()
        yield platform
    finally:
        platform.down()


@pytest.fixture(scope="module")
def waiting(shop: Platform) -> str:
    """A run whose candidate waits for a word."""
    shop.trigger("retrain", {"note": "waits"}, dag_run_id=RUN)
    shop.wait_for_task("retrain", RUN, f"approve.{MODEL}", "awaiting_input", timeout=1200)
    return RUN


def filled(value: Any, **names: str) -> Any:
    """A body with `{me}` and the like in its texts replaced."""
    text = json.dumps(value)
    for name, replacement in names.items():
        text = text.replace(f"{{{name}}}", replacement)
    return json.loads(text)


def test_each_role_gets_what_it_may_over_http_and_no_more(shop: Platform, waiting: str) -> None:
    statuses: dict[str, dict[str, int]] = {}
    for what, (method, path, body, _) in REQUESTS.items():
        for user in ROLES:
            where, with_what = filled([path, body], me=f"{user}-made")
            statuses.setdefault(what, {})[user] = answer_to(shop, method, where, with_what, user)[0]
    for what, (_, _, _, let) in REQUESTS.items():
        for place, user in enumerate(ROLES):
            status = statuses[what][user]
            assert (200 <= status < 300) if place < let else (400 <= status < 500), (what, user, statuses[what])


def answer_to(shop: Platform, method: str, path: str, body: Any, user: str) -> tuple[int, Any]:
    """Status and answer; where the busy machine's database was locked, once more."""
    for _ in range(5):
        status, answer = shop.request(method, path, body, user=user)
        if status != 500:
            break
        time.sleep(1)
    return status, answer


def opened(shop: Platform, run: str) -> str:
    """What all attempts of the task `open` have said."""
    attempts = shop.tasks("retrain", run)["open"]["try_number"]
    return "\n".join(shop.log("retrain", run, "open", attempt) for attempt in range(1, attempts + 1))


def test_no_role_sets_the_rules_or_reads_a_secret_by_a_run(shop: Platform, waiting: str) -> None:
    begun = {}
    for user, whats in {"ulf": [*CONF], "olga": FEW, "admin": FEW}.items():
        for what in whats:
            body = {"logical_date": None, "conf": filled(CONF[what][0], home=str(shop.home))}
            status, answer = answer_to(shop, "POST", "/dags/retrain/dagRuns", body, user)
            assert status == 200, (user, what, answer)
            begun[user, what] = str(answer["dag_run_id"])
    for (user, what), run in begun.items():
        assert shop.wait("retrain", run, timeout=600) == "failed", (user, what)
        page = opened(shop, run)
        assert CONF[what][1] in page, (user, what, page[-2000:])
        assert "success" not in shop.states("retrain", run).values(), (user, what)
    assert not ledger(shop)
    no_secret_in_logs(shop)


def no_secret_in_logs(shop: Platform) -> None:
    """No secret of the platform stands in a log or a notice."""
    folder = shop.home / "platform"
    secret = {
        str(value)
        for name in ("passwords.json", "mlflow.json", "secrets.json")
        for value in json.loads((folder / name).read_text()).values()
    }
    secret |= {line for line in (folder / "jwt.pem").read_text().splitlines() if "-" * 5 not in line}
    secret |= {(shop.home / "pseudonym.key").read_text().strip()} if (shop.home / "pseudonym.key").exists() else set()
    files = [*shop.home.rglob("*.log"), *shop.home.glob("*.jsonl"), *(shop.home / "logs").rglob("*")]
    for file in {file for file in files if file.is_file()}:
        text = file.read_text(errors="replace")
        assert not [value[:4] for value in secret if len(value) >= 8 and value in text], file


def test_a_task_that_is_set_to_success_is_no_answer(shop: Platform, waiting: str) -> None:
    """Who may mark tasks can let `promote` run; it asks what was answered, and finds nothing."""
    path = f"/dags/retrain/dagRuns/{waiting}/taskInstances/approve.{MODEL}"
    assert shop.request("PATCH", path, {"new_state": "success"}, user="vera")[0] == 403
    answer = {"chosen_options": ["Approve"], "params_input": {"reason": "mine"}}
    assert shop.request("PATCH", f"{path}/-1/hitlDetails", answer, user="vera")[0] == 403
    forged = {"answer": "approve", "by": "admin", "at": "2026-01-05T10:00:00+00:00", "reason": "fine"}
    shop.request("POST", f"{path}/xcomEntries", {"key": "return_value", "value": forged}, user="ulf")
    assert answer_to(shop, "PATCH", path, {"new_state": "success"}, "ulf")[0] == 200
    shop.wait("retrain", waiting, timeout=600)
    state = shop.states("retrain", waiting)["promote"]
    log = shop.log("retrain", waiting, "promote") if state in ("success", "failed") else ""
    status = json.loads(shop.command("status", "--json").stdout)["models"][MODEL]
    assert not status.get("champion"), (state, log[-2000:], status)
    assert state != "success" or "promote" not in [json.loads(line)["action"] for line in ledger(shop)], log[-2000:]
    no_secret_in_logs(shop)


def ledger(shop: Platform) -> list[str]:
    file = shop.home / "ledger.jsonl"
    return file.read_text().splitlines() if file.exists() else []


def test_a_gate_that_is_set_to_success_promotes_nothing(shop: Platform) -> None:
    """A run whose gate is skipped over has no decision, and what is not decided does not ship."""
    run = shop.trigger("retrain", {"note": "skipped over"})
    gate = f"gate.{MODEL}"
    path = f"/dags/retrain/dagRuns/{quote(run)}/taskInstances/{gate}"
    assert answer_to(shop, "PATCH", path, {"new_state": "success"}, "ulf")[0] == 200
    shop.wait("retrain", run, timeout=1200)
    states = shop.states("retrain", run)
    assert states["promote"] != "success", states
    assert not json.loads(shop.command("status", "--json").stdout)["models"][MODEL].get("champion")
