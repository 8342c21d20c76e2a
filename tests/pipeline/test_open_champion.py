"""`clickflow open`: the champion that a candidate is compared with stands in params.yaml, and nothing else changes."""

from typing import Any

import pytest
from registry_workspace import MODEL, call, candidate, home_of
from typer.testing import CliRunner

from clickflow import cli
from clickflow.registry import champion
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths


def test_a_stage_says_before_its_work_that_params_name_another_champion(here: Paths) -> None:
    def said(*verb: str) -> str:
        return str(CliRunner().invoke(cli.app, verb).stderr)

    assert "champion" not in said("train", MODEL)
    candidate(here, "one")
    call("promote")
    warning = f"the champion of {MODEL} is version 1, and params.yaml says 0: run `clickflow open` first"
    for verb in (["train", MODEL], ["evaluate", MODEL]):
        assert warning in said(*verb).replace("\n", " ")
    call("open")
    assert "run `clickflow open` first" not in said("train", MODEL)


def test_open_writes_the_champion_and_leaves_every_other_byte(bare: Paths) -> None:
    before = bare.params.read_text(encoding="utf-8")
    stamp = bare.params.stat().st_mtime_ns
    assert call("open") == {"champion": {MODEL: 0}, "changed": {}}
    assert bare.params.stat().st_mtime_ns == stamp, "nothing changed, and the file was written"
    assert not (home_of() / "mlflow.db").exists(), "nothing was ever registered, and MLflow was started"

    candidate(bare, "one")
    call("promote")
    assert call("open")["changed"] == {MODEL: {"was": 0, "is": 1}}
    after = bare.params.read_text(encoding="utf-8")
    changed = [pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]]
    assert changed == [("  next_step: 0", "  next_step: 1")]


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("champion: {next_step: 0, other_one: 7}  # now", "champion: {next_step: 12, other_one: 3}  # now"),
        (
            "champion:\n  other_one:   7 # b\n  next_step: 0   # a",
            "champion:\n  other_one:   3 # b\n  next_step: 12   # a",
        ),
    ],
)
def test_open_changes_only_the_numbers(bare: Paths, raw_params: dict[str, Any], block: str, expected: str) -> None:
    text = bare.params.read_text(encoding="utf-8")
    head = text[: text.index("champion:  ")]
    body = head.replace("models:\n", "models:\n  other_one: &m\n" + _indented(head) + "\n", 1)
    changed = champion.with_champions(body + block + "\n", {"next_step": 12, "other_one": 3})
    assert changed == body + expected + "\n"


@pytest.mark.parametrize("value", ['"0"', "&here 0", "0x0", "+0"])
def test_open_leaves_a_number_alone_that_is_not_plain(bare: Paths, value: str) -> None:
    text = bare.params.read_text(encoding="utf-8").replace("next_step: 0", f"next_step: {value}")
    with pytest.raises(ClickflowError, match=r"line \d+: champion\.next_step is not written as a plain number"):
        champion.with_champions(text, {"next_step": 12})


def _indented(head: str) -> str:
    """The model of params.yaml once more."""
    start, end = head.index("  next_step:\n") + len("  next_step:\n"), head.index("training:\n")
    return head[start:end].rstrip()
