"""Notices to people: a run failed, is late, or waits for an answer. No Airflow, no heavy import.

Each is a line of `<home>/notices.jsonl`. Where `CLICKFLOW_NOTICES` names addresses as Apprise writes them (Slack,
mail, …; commas between them), it is also sent there, by a process of its own. An address holds a secret: it is never
logged, and a notice that cannot be sent never fails a task.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from clickflow.system.files import append
from clickflow.system.process import Say

Kind = Literal["failed", "late", "waiting", "stale"]

FILE = "notices.jsonl"

SECONDS = 60.0
"""How long the sending may take in all."""

_SEND = """
import json, logging, os, sys
logging.disable(logging.CRITICAL)
import apprise
apprise.URLBase.socket_connect_timeout = apprise.URLBase.socket_read_timeout = 15.0
title, body, kind = json.load(sys.stdin)
failed = 0
for address in filter(None, map(str.strip, os.environ["CLICKFLOW_NOTICES"].split(","))):
    sender = apprise.Apprise()
    failed += not (sender.add(address) and sender.notify(title=title, body=body, notify_type=kind))
sys.exit(failed)
"""

_APPRISE_KINDS = {"failed": "failure", "late": "warning", "waiting": "info", "stale": "warning"}


def tell(home: Path, kind: Kind, *, title: str, text: str, dag: str, run: str, next_step: str, say: Say) -> None:
    """Write a notice down, then send it; what goes wrong is said, and raises nothing.

    Where not every address took it, a second line of kind `unsent` follows.
    """
    link = _link(dag, run)
    notice = {"kind": kind, "dag": dag, "run": run, "title": title, "text": text, "next": next_step, "link": link}
    _write(home, notice, say)
    if os.environ.get("CLICKFLOW_NOTICES", "").strip():
        body = "\n".join(filter(None, [text, f"next: {next_step}" if next_step else "", link]))
        if fault := _send(kind, title, body):
            say(fault)
            _write(
                home, {**notice, "kind": "unsent", "text": fault, "next": "see the addresses in CLICKFLOW_NOTICES"}, say
            )


def _write(home: Path, notice: dict[str, str], say: Say) -> None:
    line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **notice}
    try:
        append(home / FILE, f"{json.dumps(line, ensure_ascii=False)}\n".encode(), mode=0o640)
    except OSError as error:
        say(f"the notice could not be written: {error}")


def _link(dag: str, run: str) -> str:
    base = os.environ.get("CLICKFLOW_UI", "").rstrip("/")
    return f"{base}/dags/{quote(dag, safe='')}/runs/{quote(run, safe='')}" if base else ""


def _send(kind: Kind, title: str, body: str) -> str:
    """What went wrong; empty where every address took it."""
    # What Apprise itself says may hold an address, so that nobody hears it.
    quiet = subprocess.DEVNULL
    words = json.dumps([title, body, _APPRISE_KINDS[kind]])
    command = [sys.executable, "-c", _SEND]
    try:
        done = subprocess.run(command, input=words, text=True, stdout=quiet, stderr=quiet, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the notice was not sent: {type(error).__name__}"
    return "the notice did not reach every address of CLICKFLOW_NOTICES" if done.returncode else ""
