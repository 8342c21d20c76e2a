"""`benchmarks/orchestration.py` where a machine lacks what it needs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path


def test_what_the_machine_lacks_is_left_out_at_once_and_with_a_word(root: Path, tmp_path: Path) -> None:
    git = shutil.which("git")
    assert git
    (tmp_path / "git").symlink_to(git)  # and no Redis
    file = tmp_path / "result.json"
    command = [sys.executable, "benchmarks/orchestration.py", "--executor", "celery", "--json", str(file)]
    done = subprocess.run(
        [*command, "--only", "tasks,concurrent,recovery"],
        cwd=root,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "celery is left out: no Redis server here" in done.stderr
    results = json.loads(file.read_text())
    assert results == json.loads(done.stdout)
    assert set(results["skipped"]) == {"celery", "recovery"}
    assert "recovery_seconds" not in results
