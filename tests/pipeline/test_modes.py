"""What the program writes is for its user and group alone."""

import subprocess
import sys
from pathlib import Path


def test_files_and_folders_of_a_command_are_not_for_others(tmp_path: Path) -> None:
    words = ["simulate", "--events", "1000", "--out", "shop"]
    code = "import os, sys; os.umask(0); from clickflow.cli import main; sys.argv[0] = 'clickflow'; main()"
    subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, check=True, capture_output=True)
    paths = list((tmp_path / "shop").rglob("*"))
    assert paths
    for path in paths:
        assert path.stat().st_mode & 0o027 == 0, path


def test_a_stricter_umask_stays(tmp_path: Path) -> None:
    code = "import os; from clickflow.system.files import withhold; os.umask(0o077); withhold(); open('a', 'w')"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600
