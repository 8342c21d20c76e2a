"""The table of model kinds: what params may say, and that every room knows what to do with it."""

from pathlib import Path
from typing import Any

import pytest
from small_models import shop

from clickflow.artefact import export
from clickflow.models.kinds import KINDS, Kind
from clickflow.params.file import check
from clickflow.system import integrity
from clickflow.system.errors import UsageError
from clickflow.system.paths import Paths
from clickflow.training import stage
from clickflow.tuning import trial


def test_every_room_knows_every_kind() -> None:
    assert set(stage.TRAINERS) == set(export.EXPORTERS) == set(trial.TRIALS) == set(KINDS)


def test_train_and_export_ask_the_table(raw_params: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(_: Any, paths: Paths, name: str, __: Any) -> None:
        paths.trained(name).mkdir(parents=True)
        (paths.trained(name) / export.TRAINED_CARD).write_text("{}", encoding="utf-8")
        integrity.seal(paths.trained(name))

    monkeypatch.setitem(
        KINDS, "oracle", Kind(what="knows", reads=KINDS["network"].reads, answers=("ranking", "classes"))
    )
    monkeypatch.setitem(stage.TRAINERS, "oracle", train)
    shipped = []
    monkeypatch.setitem(export.EXPORTERS, "oracle", lambda _, __, name: shipped.append(name))
    raw_params["models"]["next_step"]["kind"] = "oracle"
    params, paths = check(raw_params), Paths(tmp_path)
    shop(paths.sequences("session"))
    stage.run(params, paths, "next_step")
    export.run(params, paths, "next_step")
    assert shipped == ["next_step"]


def test_a_kind_that_there_is_not_names_the_nearest(raw_params: Any) -> None:
    raw_params["models"]["next_step"]["kind"] = "netwrok"
    with pytest.raises(UsageError, match=r"models\.next_step\.kind: there is no kind 'netwrok'; .* did you mean"):
        check(raw_params)
