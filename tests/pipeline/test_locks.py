"""A lock between processes: who must wait for it is told so, and refused in the end."""

from pathlib import Path

import pytest

from clickflow.system.errors import UsageError
from clickflow.system.locks import held

REFUSAL = UsageError("another one is at work")


@pytest.mark.parametrize(("patience", "said"), [(0, ""), (0.6, "waiting for the other one")])
def test_a_lock_of_another_is_refused_and_can_be_had_when_it_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], patience: float, said: str
) -> None:
    file = tmp_path / "home" / "it.lock"
    with (
        held(file, REFUSAL),
        pytest.raises(UsageError, match="another one is at work"),
        held(file, REFUSAL, waiting="waiting for the other one", patience=patience),
    ):
        pytest.fail("both hold it")
    assert capsys.readouterr().err.strip() == said
    with held(file, REFUSAL):
        pass


def test_what_fails_under_a_lock_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="astray"), held(tmp_path / "it.lock", REFUSAL):
        raise ValueError("astray")
    with held(tmp_path / "it.lock", REFUSAL):
        pass
