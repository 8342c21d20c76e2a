"""The page's routes, in this process: its files, whom it finds, answers after each step, models and their change."""

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import online_shop
import pytest
import small_models
from http_app import Ask, client

from clickflow.online.http import about, keys, problems, server, shop
from clickflow.online.http.schema import EPOCH
from clickflow.online.page import after, chinese, chinese_faults, registry, static_files, subjects
from clickflow.online.served import Served
from clickflow.params.file import load
from clickflow.params.schema import Params
from clickflow.registry import ledger
from clickflow.sequences.store import open_split
from clickflow.system import integrity
from clickflow.system.errors import UsageError
from clickflow.system.files import write_json
from clickflow.system.paths import Paths


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a store of visits."""
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def served(folder: Path) -> Served:
    """Its model."""
    return online_shop.exported(folder, heads=("next_item", "next_action", "purchase"))


@pytest.fixture(scope="module")
def params() -> Params:
    """As the repository ships them."""
    return load(small_models.ROOT / "params.yaml")


@pytest.fixture
def ask(folder: Path, served: Served, params: Params) -> Ask:
    """A server beside the workspace."""
    return client(served, extra={"params": params, "paths": Paths(folder)})


def test_who_is_searched_may_stand_for_nobody_or_be_no_id(params: Params) -> None:
    of = server.pseudonyms(params, b"k" * 32)
    assert subjects.pseudonyms("undefined", of) == {"undefined": None}
    assert subjects.pseudonyms("1.23457e+06", of) == {"1.23457e+06": None}
    assert list(subjects.pseudonyms("ann", of).values()) == [None, "session", "user"]


def files(suffix: str) -> dict[str, str]:
    return {name: body.decode() for name, (body, _) in static_files.every().items() if name.endswith(suffix)}


def test_the_page_runs_no_script_but_its_own_files_and_asks_no_other_host(ask: Ask) -> None:
    page = ask("GET", "/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    for name in re.findall(r'(?:src|href)="/page/([^"]+)"', page.text) + [
        each for text in files(".js").values() for each in re.findall(r'from "\./([^"]+)"', text)
    ]:
        assert ask("GET", f"/page/{name}").status_code == 200, name
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", page.text)
    for name, text in {**files(".js"), **files(".css")}.items():
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), name
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|@import|url\(", text), name
    for wrong in ("/page/none.js", "/page/..%2froutes.py", "/page/routes.py"):
        assert ask("GET", wrong).status_code == 404


def test_every_line_is_there_in_both_languages_and_none_is_left_over() -> None:
    scripts = files(".js")
    table = dict(re.findall(r'^  "([\w. ]+)": \[(.+?)\],$', scripts["strings.js"], flags=re.MULTILINE | re.DOTALL))
    assert len(table) > 200
    for key, lines in table.items():
        english, chinese = re.findall(r'"((?:[^"\\]|\\.)*)"', lines)
        assert english
        assert chinese
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", chinese)), key
        assert not re.search(r"[\u4e00-\u9fff]", english), key
    code = "\n".join(text for name, text in scripts.items() if name != "strings.js")
    code += scripts["strings.js"].partition("let language")[2]
    for name in re.findall(r'\bt\("([\w.]+)"', code):
        assert name in table, f"no line for {name}"
    named = set(re.findall(r'"([\w. ]+)"', code))
    prefixes = (*re.findall(r"`([\w.]+\.)\$", code), "forecasts.", "segments.")  # `gate.${…}`
    assert [key for key in table if key.removesuffix(".one") not in named and not key.startswith(prefixes)] == []


@pytest.mark.parametrize("cells", [1, 1 << 23])
def test_answers_after_each_step_are_those_of_the_public_route(
    ask: Ask, folder: Path, served: Served, cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(after, "CELLS", cells)
    steps = [
        {"item": step.item, "action": step.action, "time": (EPOCH + timedelta(microseconds=step.time or 0)).isoformat()}
        | ({"price": step.price} if step.price else {})
        for step in online_shop.history(folder, served, 3)
    ]
    body = {"model": served.model, "history": steps, "k": 4, "watch": ["5", "none"]}
    answer = ask("POST", "/v1/console/answers", json=body).json()
    assert (answer["version"], answer["first"], answer["count"]) == (1, 0, len(steps))
    for place in range(len(steps)):
        question = {"history": steps[: place + 1], "k": 4}
        public = ask("POST", "/v1/predict", json=question).json()["answers"]
        own = answer["outputs"]
        assert own["purchase"]["values"][place] == pytest.approx(public["purchase"]["probability"], abs=2e-6)
        classes = dict(zip(own["next_action"]["names"], own["next_action"]["values"][place], strict=True))
        assert classes == pytest.approx(public["next_action"]["classes"], abs=2e-6)
        ranked = [(each["item"], each["score"]) for each in public["next_item"]["items"]]
        assert [item for item, _ in own["next_item"]["top"][place]] == [item for item, _ in ranked]
        assert [p for _, p in own["next_item"]["top"][place]] == pytest.approx([p for _, p in ranked], abs=2e-6)
        one = {"history": steps[: place + 1], "items": ["5"]}
        scores = ask("POST", "/v1/score", json=one)
        assert own["next_item"]["watched"]["5"][place] == pytest.approx(scores.json()["scores"][0], abs=2e-6)
        if place + 1 < len(steps) and own["next_item"]["rank"][place] is not None:
            rank = own["next_item"]["rank"][place]
            every = ask("POST", "/v1/recommend", json={"history": question["history"], "k": small_models.KNOWN}).json()
            assert every["items"][rank - 1]["item"] == steps[place + 1]["item"]
    assert answer["outputs"]["next_item"]["watched"]["none"] == [None] * len(steps)


def test_of_a_long_history_the_last_steps_and_of_none_what_is_popular(ask: Ask, served: Served) -> None:
    many = [{"item": str(2 + n % 30), "time": 1_700_000_000_000_000 + n} for n in range(after.STEPS + 15)]
    answer = ask("POST", "/v1/console/answers", json={"model": served.model, "history": many, "k": 2}).json()
    assert (answer["first"], answer["count"]) == (15, after.STEPS)
    assert len(answer["outputs"]["purchase"]["values"]) == after.STEPS
    none = ask("POST", "/v1/console/answers", json={"model": served.model, "history": [], "k": 2}).json()
    assert none["count"] == 1
    assert none["outputs"]["next_item"]["fallback"] == ["popularity"]
    assert none["outputs"]["purchase"]["values"] == [None]
    unknown = ask(
        "POST", "/v1/console/answers", json={"model": served.model, "history": [{"item": "?"}], "k": 2}
    ).json()
    assert unknown["outputs"]["next_item"]["fallback"] == ["popularity"]


def test_who_can_be_looked_at_is_found_by_id_or_pseudonym_and_who_is_here_now_comes_first(
    ask: Ask, folder: Path, served: Served
) -> None:
    latest = ask("GET", "/v1/console/subjects?unit=session&limit=5").json()["subjects"]
    split = open_split(Paths(folder).sequences("session"), "test")
    assert [each["last"] for each in latest] == sorted((each["last"] for each in latest), reverse=True)
    assert latest[0]["last"] == pytest.approx(int(split.time.max()), abs=1e9)
    one = ask("GET", f"/v1/console/subjects/session/{latest[0]['id']}").json()
    sequence = int(latest[0]["id"].removeprefix("test-"))
    assert [step["item"] for step in one["steps"]] == [
        step.item for step in online_shop.history(folder, served, sequence)
    ]
    assert {"known", "name", "brand", "category", "price", "action", "time"} <= set(one["steps"][0])
    short = ask("GET", "/v1/console/subjects", params={"unit": "session", "q": latest[0]["id"][:6]}).json()["subjects"]
    assert latest[0]["id"] in {each["id"] for each in short}

    ask(
        "POST",
        "/v1/events",
        json={"session": "ann", "events": [{"item": "5", "action": "cart"}, {"item": "unheard of"}]},
    )
    first = ask("GET", "/v1/console/subjects?unit=session").json()["subjects"][0]
    assert (first["source"], first["steps"]) == ("live", 2)
    assert "ann" not in first["id"], "people are called by pseudonyms alone"
    by_id = ask("GET", "/v1/console/subjects?unit=session&q=ann").json()["subjects"]
    assert [each["id"] for each in by_id] == [first["id"]]
    assert ask("GET", "/v1/console/subjects?unit=session&q=nobody").json()["subjects"] == []
    assert ask("GET", f"/v1/console/subjects?unit=session&q={first['id']}").json()["subjects"]
    log = Paths(folder).home / "who.jsonl"
    line = json.loads(log.read_text())  # one: whom a raw id led to
    assert (line["verb"], line["asked"], line["kind"], line["pseudonym"]) == (
        "page",
        "pseudonym",
        "session",
        first["id"],
    )
    assert "ann" not in log.read_text()
    log.unlink()
    log.mkdir()
    assert ask("GET", "/v1/console/subjects?unit=session&q=ann").status_code >= 500, "not recorded: not answered"
    log.rmdir()
    visit = ask("GET", f"/v1/console/subjects/session/{first['id']}").json()
    assert [(step["item"], step["known"]) for step in visit["steps"]] == [("5", True), ("unheard of", False)]
    nobody = ask("GET", "/v1/console/subjects/session/nobody")
    assert nobody.status_code == 404
    assert nobody.json()["next"]
    assert ask("GET", "/v1/console/subjects?unit=customer").json()["subjects"] == [], "there is no such store: no fault"


def test_where_nothing_was_run_by_hand_the_visits_and_the_decision_are_those_of_the_last_run(
    folder: Path, served: Served, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `make demo`, and beside Airflow: the checkout holds no data."""
    home, here = tmp_path / "home", Paths(tmp_path / "checkout")
    monkeypatch.setenv("CLICKFLOW_HOME", str(home))
    ask = client(served, extra={"params": params, "paths": here})
    state: dict[str, Any] = {}

    def look() -> None:
        state["visits"] = ask("GET", "/v1/console/subjects?unit=session").json()["subjects"]
        state["gate"] = ask("GET", "/v1/console/models").json()["models"][-1]["gate"]

    look()
    assert state == {"visits": [], "gate": None}
    line: dict[str, Any] = {"version": 1, "champion": 1, "previous": 0, "reason": "a test"}
    for run in ("gone", "earlier", "../../checkout", "latest"):
        entries = ledger.read(ledger.path(here))
        ledger.append(ledger.path(here), entries, action="promote", model=served.model, facts={"run_id": run}, **line)
    for run, verdict in (("earlier", "hold"), ("latest", "promote")):
        run_paths = Paths(home / "runs" / run)
        shutil.copytree(Paths(folder).sequences("session"), run_paths.sequences("session"))
        write_json(run_paths.gate(served.model) / "decision.json", {"decision": verdict, "summary": "", "rules": []})
    look()
    assert state["gate"]["decision"] == "promote"
    one = ask("GET", f"/v1/console/subjects/session/{state['visits'][0]['id']}").json()
    assert len(one["steps"]) == state["visits"][0]["steps"]
    write_json(here.gate(served.model) / "decision.json", {"decision": "reject", "summary": "", "rules": []})
    look()
    assert state["gate"]["decision"] == "reject", "of the checkout, where there is one"
    assert not state["gate"]["sealed"], "promote refuses it, and the page says why"
    file = here.gate(served.model) / "decision.json"
    integrity.seal(file.parent)
    look()
    assert (state["gate"]["decision"], state["gate"]["sealed"]) == ("reject", True)
    for artefact, promotable in (("new", True), ("champion's", False)):
        (file.parent / integrity.SEAL).unlink(missing_ok=True)
        write_json(file, {"decision": "promote", "artefact_sha256": artefact, "summary": artefact, "rules": []})
        entries = ledger.read(ledger.path(here))
        facts = {"artefact_sha256": "champion's", "run_id": "latest"}
        ledger.append(ledger.path(here), entries, action="promote", model=served.model, facts=facts, **line)
        assert ask("GET", "/v1/console/models").json()["models"][-1]["promotable"] is promotable, artefact
    integrity.seal(file.parent)
    file.write_text(file.read_text().replace("promote", "bromote"))
    for language, reason in (("en", "it is not what the stage wrote"), ("zh", "与该阶段写出的内容不符")):
        shown = ask("GET", "/v1/console/models").json()
        assert shown["models"][-1]["gate"] is None
        assert str(file) in shown["note"][language]
        assert reason in shown["note"][language]
    assert ask("GET", "/v1/console/models").status_code == 200


def test_the_last_runs_are_those_that_the_command_line_lists(
    served: Served, params: Params, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    shop = tmp_path / "shop"
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    trailer = {"id": "march", "dag_run": "retrain/manual__1", "reason": "by hand", "decisions": {"next_step": {}}}
    subprocess.run([*git, "init", "-q", str(shop)], check=True)
    words = ["commit", "-q", "--allow-empty", "-m", f"Run march\n\nclickflow-run: {json.dumps(trailer)}"]
    subprocess.run([*git, *words], cwd=shop, check=True)
    subprocess.run([*git, "update-ref", "refs/runs/march", "HEAD"], cwd=shop, check=True)
    write_json(tmp_path / "home/logs/april/run.json", {"ended": "failed", "opened": "2099-01-01T00:00:00+00:00"})
    ask = client(served, extra={"params": params, "paths": Paths(shop)})
    answer = ask("GET", "/v1/console/runs").json()
    assert [(run["id"], run["state"]) for run in answer["runs"]] == [("april", "failed"), ("march", "recorded")]
    assert answer["runs"][1]["dag_run"] == "retrain/manual__1"


def test_what_the_registry_said_before_is_shown_at_once_while_it_is_asked_again(
    served: Served, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow opens slowly: seconds, and a quarter of a minute under load."""
    calls: list[Any] = []

    def verb(_: Any, words: Any, person: str | None = None) -> Any:
        calls.append(words)
        if len(calls) > 2:
            raise UsageError("MLflow is away")
        return {"models": {served.model: {"candidate": len(calls), "notes": []}}}

    monkeypatch.setattr(registry.Registry, "_verb", verb)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("CLICKFLOW_HOME", str(home))
    extra = {"params": params, "paths": Paths(tmp_path)}
    ask = client(served, extra=dict(extra))

    def status(query: str = "") -> tuple[Any, ...]:
        answer = ask("GET", f"/v1/console/status{query}").json()
        return answer["models"][served.model]["candidate"], answer["stale"], answer["note"], len(calls), answer["made"]

    first = status()
    assert first[:4] == (1, False, "", 1)
    assert status() == first
    monkeypatch.setattr(registry, "FRESH", -1.0)
    assert status() == (1, True, "", 1, first[4]), "nobody is asked for this answer"
    assert status("?fresh=true")[:4] == (2, False, "", 2)
    candidate, stale, note, times, _ = status("?fresh=true")
    assert (candidate, stale, times) == (2, False, 3) and note["en"] == "MLflow is away"
    ask = client(served, extra=dict(extra))  # started anew, or another worker
    assert status()[:4] == (2, True, "", 3)
    file = home / registry.KEPT
    file.write_text(file.read_text().replace('"candidate": 2', '"candidate": 9'))
    ask = client(served, extra=dict(extra))
    answer = ask("GET", "/v1/console/status").json()
    assert (answer["models"], answer["note"]["en"], len(calls)) == ({}, "MLflow is away", 4), "it is not as written"


def said_in(file: Path) -> Iterator[str]:
    """What the sentences of a module hold beside values, clause by clause: of strings, not of docstrings and faults."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    left = {id(node) for each in ast.walk(tree) if isinstance(each, ast.Raise | ast.Expr) for node in ast.walk(each)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left:
            for clause in node.value.split("; "):
                if re.search(r"[a-z]{2,} [a-z]{2,}", clause):
                    yield clause.strip(" ,:.;")


def test_all_that_the_gate_says_is_said_in_chinese_too(root: Path) -> None:
    known = "\0".join(re.sub(r"\{\w+\}", "\0", english) for english, _ in chinese.FORMS)
    silent = {"agreement.py", "draws.py", "evidence.py", "stage.py"}  # faults, and names of metrics and of the method
    files = [file for file in (root / "src/clickflow/gate").glob("*.py") if file.name not in silent]
    unknown = {clause for file in files for clause in said_in(file) if clause not in known}
    assert unknown <= {"next items", "steps (only for"}, "those stand within a clause"
    for english, other in chinese.FORMS:
        assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", other)), english


def known() -> list[tuple[str, str]]:
    return [*chinese.FORMS, *chinese_faults.FAULTS]


def refused_in(file: Path) -> Iterator[str]:
    """What the faults of a module say beside values, clause by clause."""
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") in ("Refused", "UsageError", "Standing"):
            for node in ast.walk(call):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    clauses = (each.strip(" ,:.;'") for each in node.value.split("; "))
                    yield from (each for each in clauses if re.search(r"[a-z]{2,} [a-z]{2,}", each))


def test_all_that_a_server_says_is_wrong_is_said_in_chinese_too(root: Path) -> None:
    made_by = (*shop.MADE_BY.values(), *(f"there are no {what}" for what in shop.MADE_BY))
    tables = [
        about.NEXT.values(),
        server.MENDS.values(),
        made_by,
        (text for row in problems.TYPES.values() for text in row[1:]),
    ]
    for text in (each for table in tables for each in table):
        for clause in text.split("; "):
            assert chinese.chinese(clause), clause
    every = "\0".join(re.sub(r"\{\w+\}", "\0", english) for english, _ in known())
    online = root / "src/clickflow/online"
    files = [online / "champions.py", *(online / "http").glob("*.py"), *(online / "page").glob("*.py")]
    files += [online / "why/routes.py", online / "why/targets.py", online / "state.py"]
    own = ("http/server.py", "http/keys.py")  # beside what they say of health: faults of who starts it
    unknown = {clause for file in files if not str(file).endswith(own) for clause in refused_in(file)} | set(
        said_in(online / "champions.py")
    )
    inside = {"items has over", "there are no", "is not a model"}
    aside = {"nothing was run", "nothing was changed", "is fetched from the registry, and answers then"}  # not shown
    assert {clause for clause in unknown if clause not in every} <= inside | aside
    for english, other in chinese_faults.FAULTS:
        assert set(re.findall(r"\{\w+\}", english)) >= set(re.findall(r"\{\w+\}", other)), english


def test_what_is_wrong_is_said_in_the_language_that_is_asked_for(served: Served, params: Params) -> None:
    spoilt = "version 3, the champion, cannot be loaded: version 3, the champion, is not here yet"
    spoilt += "; version 2 goes on answering"
    mends = "free some space; it is tried again by itself, within 5 minutes"
    ask = client(
        served, wrong=lambda: {"next_step": spoilt, "live log": "[Errno 28]"}, next=lambda: {"next_step": mends}
    )
    first, second = ask("GET", "/v1/console").json()["health"]["wrong"]
    assert first["what"] == {"en": spoilt, "zh": "线上的第 3 版无法载入：线上的第 3 版还没有取到此处；第 2 版继续应答"}
    assert first["next"]["zh"] == "请腾出一些空间；它会在 5 分钟内自行重试"
    assert (second["name"]["zh"], second["what"]) == ("应答日志", {"en": "[Errno 28]"})
    for language, title, where in (("en-GB", "There is no such thing", "here"), ("zh-CN,zh;q=0.9", "没有此项", "此处")):
        problem = ask("GET", "/v1/console/subjects/session/none", headers={"accept-language": language}).json()
        assert problem["title"] == title
        assert where in problem["detail"]
        assert "none" in problem["detail"]
    long = {"model": served.model, "history": [{"item": "5"}] * 2001}
    problem = ask("POST", "/v1/console/answers", json=long, headers={"accept-language": "zh-CN"}).json()
    assert problem["detail"] == "$.history 有 2,001 步；最多取 2,000 步"
    assert ask("GET", "/nowhere", headers={"accept-language": "zh-CN"}).json()["detail"] == "没有此路径"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mrr@20 is 0.1234 [0.1200, 0.1300], below 0.2", "mrr@20 为 0.1234 [0.1200, 0.1300]，低于 0.2"),
        ("floor: mrr@20: mrr@20 is 0.1, below 0.2", "下限：mrr@20：mrr@20 为 0.1，低于 0.2"),
        ("38.0% of the next items stood in the training part often enough to be known", "下一件商品中有 38.0% "),
        (
            "12 rules passed, 3 had nothing to judge; 1 warn, not shown: beats vsknn: mrr@20",
            "未证明：优于 vsknn：mrr@20",
        ),
        ("floor: a, latency and 3 more: 50 ms, 95th percentile, above 20", "下限：a、延迟等另外 3 条：50 毫秒"),
        ("mrr@20 is 0.2, version 3 0.1: +1.20% [+0.50%, +2.00%]; a gain of at least 1.00% is shown", "第 3 版为 0.1"),
        ("2 of 3 windows breach, the latest by item", "3 个窗口中 2 个超出界限"),
    ],
)
def test_a_sentence_is_read_back_with_its_numbers(text: str, said: str) -> None:
    assert said in chinese.both(text)["zh"]
    assert chinese.both("because I say so") == {"en": "because I say so"}


def test_items_are_found_by_what_they_are_called(ask: Ask, served: Served) -> None:
    items = ask("GET", f"/v1/console/items?model={served.model}&q=17").json()["items"]
    assert items[0]["item"] == "17"
    assert ask("GET", f"/v1/console/items?model={served.model}&q=nothing+such").json()["items"] == []
    popular = ask("GET", f"/v1/console/items?model={served.model}").json()["items"]
    assert [each["item"] for each in popular] == [served.items.ids[n] for n in served.items.popular[: len(popular)]]


def test_without_a_workspace_the_page_still_answers(served: Served) -> None:
    ask = client(served)
    assert [each["name"] for each in ask("GET", "/v1/console").json()["models"]] == [served.model]
    assert ask("GET", "/v1/console/models").json() == {"models": [], "note": ""}
    assert ask("GET", "/v1/console/runs").json() == {"runs": [], "note": ""}
    for name in ("segments", "forecasts"):
        assert ask("GET", f"/v1/console/{name}").json() == {"missing": True}
    assert client(None)("GET", "/v1/console").json()["models"] == []


def test_a_champion_is_changed_by_who_may_and_by_the_command_lines_own_rules(
    folder: Path, served: Served, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    paths = Paths(folder)
    file = ledger.path(paths)
    for number in (1, 2):
        line: dict[str, Any] = {"version": number, "champion": number, "previous": number - 1, "reason": "a test"}
        ledger.append(file, ledger.read(file), action="promote", model=served.model, facts={}, **line)
    entries = ledger.read(file)
    on: dict[str, Any] = {"version": 1, "champion": 2, "previous": 1, "reason": "again", "facts": {"share": 0.1}}
    ledger.append(file, entries, action="canary", model=served.model, **on)
    goes_on = {"call": "wait", "why": "3 and 4 visitors, 100 of each are needed"}
    write_json(tmp_path / "home/live/live.json", {"canaries": {served.model: goes_on}})
    ran: list[tuple[tuple[str, ...], str | None]] = []

    def verb(_: Any, words: Any, person: str | None = None) -> Any:
        ran.append((tuple(words), person))
        return {"champion": 1, "models": [{"text": "done"}]}

    monkeypatch.setattr(registry.Registry, "_verb", verb)
    extra = {"params": params, "paths": paths}
    ask = client(served, extra=dict(extra))
    model = {each["name"]: each for each in ask("GET", "/v1/console/models").json()["models"]}[served.model]
    assert (model["champion"]["version"], model["champion"]["previous"], model["served"]) == (2, 1, 1)
    assert [line["version"] for line in model["ledger"]] == [1, 2, 1]
    assert model["champion"]["why"] == {"en": "a test"}
    assert (model["canary"]["version"], model["canary"]["share"], model["canary"]["call"]) == (1, 0.1, "wait")
    assert model["canary"]["why"]["zh"] == "3 位和 4 位访客，各需 100 位"
    place = f"/v1/console/models/{served.model}"
    body = {"to": 1, "reason": "-- it was better"}
    assert ask("POST", f"{place}/rollback", json=body).status_code == 401, "nobody has a key: nobody may"

    scopes = {"shop": ("read",), "ann": ("read", "people"), "eve": ("read", "promote")}
    allowed = {name: keys.make(tmp_path, name, own) for name, own in scopes.items()}
    ask = client(served, "shop.example", keys=server.Keys(tmp_path).now, extra=dict(extra))
    own = {name: {"authorization": f"Bearer {key}"} for name, key in allowed.items()}
    assert ask("GET", "/v1/console", headers=own["shop"]).json()["person"] == {"name": "shop", "may_promote": False}
    assert ask("GET", "/v1/console/models").status_code == 401
    for verb_ in ("rollback", "promote"):
        assert ask("POST", f"{place}/{verb_}", headers=own["shop"], json=body).status_code == 403
    assert ran == []
    for unit in ("%00", "..", "../..", "none", "session%00"):  # no path, and no key of a Redis
        for path in (f"subjects?unit={unit}", f"subjects/{unit.replace('/', '%2F')}/x"):
            assert ask("GET", f"/v1/console/{path}", headers=own["ann"]).status_code in (200, 404), path
    named = {"session": "somebody", "output": "next_action"}
    for name, seen in (("shop", False), ("ann", True), ("eve", False)):  # a history is seen by who may see people
        for path in ("subjects?unit=session", "subjects/session/none"):
            assert (ask("GET", f"/v1/console/{path}", headers=own[name]).status_code != 403) is seen, (name, path)
        assert (ask("POST", "/v1/explain", headers=own[name], json=named).status_code != 403) is seen, name
        sent = {"history": [{"item": "5"}], "output": "next_action"}
        assert ask("POST", "/v1/explain", headers=own[name], json=sent).status_code == 200
    assert ask("POST", f"{place}/rollback", headers=own["eve"], json=body).status_code == 200
    assert ran.pop() == (("rollback", served.model, "--reason=-- it was better", "--to=1"), "eve")
    for reason in ("a\0b", "two\nlines", ""):  # no word of a command, and no other line of what people read
        response = ask("POST", f"{place}/rollback", headers=own["eve"], json={"to": 1, "reason": reason})
        assert response.status_code == 422, reason
    good = {"reason": "good"}
    assert ask("POST", f"{place}/promote", headers=own["eve"], json=good).status_code == 404, "there is no decision"
    decision = {"decision": "promote", "summary": "", "rules": []}
    write_json(paths.gate(served.model) / "decision.json", decision)
    assert ask("POST", f"{place}/promote", headers=own["eve"], json=good).status_code == 200
    assert ran.pop() == (("promote", served.model, "--approve=good"), "eve")
    assert ask("POST", "/v1/console/models/none/promote", headers=own["eve"], json={"reason": "x"}).status_code == 404
    assert ran == []


def test_segments_and_forecasts_are_those_that_the_verbs_left(ask: Ask, folder: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    for name in ("segments", "forecasts"):
        assert ask("GET", f"/v1/console/{name}").json() == {"missing": True}
    reports = folder / "reports"
    write_json(reports / "profiles/card.json", {"as_of": "2026-01-01", "customers": 3, "horizon_days": 7})
    write_json(reports / "profiles/segments.json", {"segments": [{"name": {"en": "Best", "zh": "最好"}}]})
    answer = ask("GET", "/v1/console/segments").json()
    assert (answer["customers"], answer["segments"][0]["name"]["zh"]) == (3, "最好")
    card = {"level": "item", "step": "day", "horizon": 2, "from": "2026-01-01", "count": 2, "past": None}
    write_json(reports / "demand/card.json", card)
    stock = [{"item": name, "expected": value} for name, value in (("a1", 1.0), ("B2", 5.0))]
    parquet.write_table(pa.Table.from_pylist(stock), reports / "demand/stock.parquet")
    numbers = {"expected": 1.0, "low_10": 0.0, "middle": 1.0, "high_90": 2.0}
    ahead = [{"item": name, "period": f"2026-01-0{day}", **numbers} for name in ("a1", "B2") for day in (1, 2)]
    parquet.write_table(pa.Table.from_pylist(ahead), reports / "demand/forecasts.parquet")
    series = ask("GET", "/v1/console/forecasts").json()["series"]
    assert [each["id"] for each in series] == ["B2", "a1"], "the largest first"
    assert [len(each["periods"]) for each in series] == [2, 2]
    assert [each["id"] for each in ask("GET", "/v1/console/forecasts?q=b").json()["series"]] == ["B2"]
