"""What every verb of the command line does, whatever it is for."""

import json
import subprocess
import sys

import pytest

from clickflow.system import console

VERBS = [
    *("simulate", "ingest", "replay", "validate", "sequences", "train", "export", "evaluate", "gate"),
    *("open", "promote", "rollback", "status", "score", "who", "watch", "retrain"),
]


def clickflow(*arguments: str, cwd, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clickflow.cli", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        **more,
    )


def test_help_names_every_verb(root):
    shown = clickflow("--help", cwd=root)
    assert shown.returncode == 0
    assert [verb for verb in VERBS if verb not in shown.stdout] == []


def test_help_is_light(root):
    """Nothing heavy is imported before a verb needs it."""
    code = (
        "import sys, clickflow.cli\n"
        "heavy = {'torch', 'pandas', 'mlflow', 'great_expectations', 'dvc', 'airflow', 'ibis', 'duckdb'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", ["ingest", "validate", "status"])
def test_outside_a_repository_the_error_says_so(tmp_path, verb):
    shown = clickflow(verb, cwd=tmp_path)
    assert shown.returncode == 2
    assert "there is no params.yaml" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_wrong_parameter_ends_every_stage_before_it_starts(tmp_path, root):
    text = (root / "tests/assets/params_long.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text.replace("gap_minutes:", "gap_minute:"), encoding="utf-8")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    for verb in (["ingest"], ["validate"], ["sequences", "session"], ["train", "next_step"], ["gate", "next_step"]):
        shown = clickflow(*verb, cwd=tmp_path)
        assert shown.returncode == 2, shown.stderr
        assert "sequences.session.gap_minute: unknown key; did you mean 'gap_minutes'?" in shown.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_an_unknown_model_names_the_known_ones(root):
    shown = clickflow("train", "next_stp", cwd=root)
    assert shown.returncode == 2
    assert "did you mean 'next_step'?" in shown.stderr


def test_json_for_machines_is_json(capsys):
    console.emit({"a": [float("nan"), 1.5], "b": {"c": float("inf")}}, as_json=True, text=str)
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"a": [None, 1.5], "b": {"c": None}}


def test_a_line_of_progress_says_what_is_left_once_enough_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PLAIN_INTERVAL", 0.0)
    with console.progress("counting", 100) as advance:
        for _ in range(4):
            advance()
    assert [" s left" in line for line in capsys.readouterr().err.splitlines()] == [False, False, True, True]


def test_of_several_workers_each_says_who_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_speaker", "")
    console.say("one alone")
    console.speak_as("worker 7")
    console.say("warning: no room")
    assert capsys.readouterr().err.splitlines() == ["one alone", "worker 7: warning: no room"]


def test_a_fault_of_every_request_is_said_once_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("clickflow.system.console.time.monotonic", lambda: now[0])
    monkeypatch.setattr(console, "_repeated", {})
    for _ in range(500):
        console.say_seldom("warning: the canary failed")
    console.say_seldom("another")
    now[0] += console.SELDOM
    console.say_seldom("warning: the canary failed")
    for number in range(1000):
        console.say_seldom(str(number))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["warning: the canary failed", "another", "warning: the canary failed (499 times more since)"]
    assert len(console._repeated) == 100
