"""Who is told when a run fails: one line in a file, one message to the addresses, and never a secret or a failure."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from clickflow.orchestration import notices


@contextmanager
def listening(status: int = 200) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A server that takes messages: its port, and what came."""
    came: list[dict[str, Any]] = []

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            """Nobody reads it."""

    server = HTTPServer(("127.0.0.1", 0), Takes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tell(home: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The lines that a notice leaves, and what was said."""
    printed: list[str] = []
    notices.tell(
        home,
        "failed",
        title="clickflow: retrain has failed",
        text="train.next_step: no disk",
        dag="retrain",
        run="manual__2026-01-05T00:00:00+00:00",
        next_step="make room",
        say=printed.append,
    )
    return [json.loads(line) for line in (home / notices.FILE).read_text().splitlines()], printed


def test_without_addresses_a_notice_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLICKFLOW_NOTICES", raising=False)
    monkeypatch.setenv("CLICKFLOW_UI", "http://shop:8080/")
    (line,), printed = tell(tmp_path / "home")
    assert (line["kind"], line["next"]) == ("failed", "make room")
    assert line["link"] == "http://shop:8080/dags/retrain/runs/manual__2026-01-05T00%3A00%3A00%2B00%3A00"
    assert printed == []
    tell(tmp_path / "home")
    assert len((tmp_path / "home" / notices.FILE).read_text().splitlines()) == 2


def test_a_notice_reaches_every_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as (one, first), listening() as (two, second):
        monkeypatch.setenv("CLICKFLOW_NOTICES", f"json://127.0.0.1:{one}, json://127.0.0.1:{two}/hook")
        lines, printed = tell(tmp_path)
    assert [line["kind"] for line in lines] == ["failed"]
    assert printed == []
    for came in (first, second):
        (message,) = came
        assert message["title"] == "clickflow: retrain has failed"
        assert message["message"] == "train.next_step: no disk\nnext: make room"
        assert message["type"] == "failure"


@pytest.mark.parametrize(
    "address", ["json://me:hunter2@127.0.0.1:1", "slack://hunter2", "hunter2", "nothing://hunter2"]
)
def test_an_address_that_does_not_answer_fails_nothing_and_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], address: str
) -> None:
    with listening() as (port, came):
        monkeypatch.setenv("CLICKFLOW_NOTICES", f"{address},json://127.0.0.1:{port}")
        lines, printed = tell(tmp_path)
    assert [line["kind"] for line in lines] == ["failed", "unsent"]
    assert len(came) == 1  # the other address
    assert "CLICKFLOW_NOTICES" in printed[0]
    assert "hunter2" not in json.dumps(lines) + "".join(printed) + "".join(capfd.readouterr())


def test_a_server_that_refuses_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(500) as (port, _):
        monkeypatch.setenv("CLICKFLOW_NOTICES", f"json://127.0.0.1:{port}")
        lines, _said = tell(tmp_path)
    assert [line["kind"] for line in lines] == ["failed", "unsent"]


def test_a_home_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    printed: list[str] = []
    notices.tell(tmp_path / "home", "late", title="t", text="x", dag="d", run="r", next_step="", say=printed.append)
    assert "could not be written" in printed[0]
