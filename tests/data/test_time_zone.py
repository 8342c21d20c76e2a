"""Where a machine stands, and which language it speaks, changes no byte of what the stages make."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

STAGES = """
from clickflow.events import ingest
from clickflow.params.file import load
from clickflow.system.paths import Paths
from clickflow.quality import validate
from clickflow.sequences import prepare
from pathlib import Path
paths = Paths(Path.cwd())
params = load(paths.params)
ingest.run(params, paths)
validate.run(params, paths)
prepare.run(params, paths, "session")
"""
MACHINES = (
    {"TZ": "America/New_York", "LC_ALL": "C"},
    {"TZ": "Asia/Shanghai", "LC_ALL": "de_DE.UTF-8"},
)


def test_another_zone_and_language_of_the_machine_give_the_same_bytes(tmp_path: Path, root: Path) -> None:
    raw = yaml.safe_load((root / "tests/assets/params_long.yaml").read_text(encoding="utf-8"))
    raw["simulator"] |= {"events": 6000, "items": 100, "days": 9}
    raw["source"]["as_of"] = "2026-03-29T02:30:00"
    hashes = []
    for number, machine in enumerate(MACHINES):
        place = tmp_path / str(number)
        shutil.copytree(root / "expectations", place / "expectations", ignore=shutil.ignore_patterns("uncommitted"))
        (place / "params.yaml").write_text(yaml.safe_dump(raw))
        env = os.environ | machine | {"CLICKFLOW_PSEUDONYM_KEY": "a key of sixteen letters"}
        subprocess.run([sys.executable, "-c", STAGES], cwd=place, env=env, check=True, capture_output=True)
        made = [path for part in ("data", "reports") for path in (place / part).rglob("*") if path.is_file()]
        hashes.append(
            {path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in made}
        )
    assert any("data_docs" in name for name in hashes[0])
    assert hashes[1] == hashes[0]
