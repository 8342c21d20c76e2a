"""Where a machine stands, and which language it speaks, changes no byte of what the stages make."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from clickflow.events import ingest
from clickflow.params.file import load
from clickflow.quality import validate
from clickflow.sequences import prepare
from clickflow.system.paths import Paths


def stages(place: Path) -> None:
    """The stages of the data, in the current directory, which is `place`."""
    paths = Paths(place)
    params = load(paths.params)
    ingest.run(params, paths)
    validate.run(params, paths)
    prepare.run(params, paths, "session")


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process, west of UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("new_york")
def test_another_zone_and_language_of_the_machine_give_the_same_bytes(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = yaml.safe_load((root / "tests/assets/params_long.yaml").read_text(encoding="utf-8"))
    raw["simulator"] |= {"events": 6000, "items": 100, "days": 9}
    raw["source"]["as_of"] = "2026-03-29T02:30:00"
    monkeypatch.setenv("CLICKFLOW_PSEUDONYM_KEY", "a key of sixteen letters")
    hashes = []
    for name in ("here", "there"):
        place = tmp_path / name
        shutil.copytree(root / "expectations", place / "expectations", ignore=shutil.ignore_patterns("uncommitted"))
        (place / "params.yaml").write_text(yaml.safe_dump(raw))
        if name == "here":
            monkeypatch.chdir(place)
            assert time.localtime(0).tm_hour == 19
            stages(place)
        else:  # a process of its own, for a language is chosen when one starts
            env = os.environ | {"TZ": "Asia/Shanghai", "LC_ALL": "de_DE.UTF-8"}
            subprocess.run([sys.executable, __file__], cwd=place, env=env, check=True, capture_output=True)
        files = [path for part in ("data", "reports") for path in (place / part).rglob("*") if path.is_file()]
        hashes.append(
            {path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
        )
    assert any("data_docs" in name for name in hashes[0])
    assert hashes[1] == hashes[0]


if __name__ == "__main__":
    stages(Path.cwd())
