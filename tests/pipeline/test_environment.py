"""The first command in a fresh clone: what it says, and what it says where something is missing."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FILES = ["Makefile", "constraints.txt", "pyproject.toml", "scripts/environment.sh"]

OLD = """#!/bin/sh
case "$1" in --version) echo "Python 3.9.2"; exit 0;; esac
exit 1
"""

WITHOUT_VENV = f"""#!/bin/sh
case "$2" in *ensurepip*) exit 1;; esac
exec {sys.executable} "$@"
"""


@pytest.fixture
def clone(root: Path, tmp_path: Path) -> Path:
    """The files that the first command reads, and nothing that it makes."""
    for name in FILES:
        target = tmp_path / "clone" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, target)
    return tmp_path / "clone"


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH of a bare machine: the tools that every Debian has, no git, no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    essential = ["bash", "sh", "env", "cat", "cut", "sha256sum", "touch", "mkdir", "rm", "dirname", "sed", "expand"]
    for tool in [*essential, "make", "flock"]:
        program = shutil.which(tool)
        assert program, tool
        (folder / tool).symlink_to(program)
    return folder


def give(folder: Path, name: str, script: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


def make(clone: Path, path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": str(path), "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(["make", *words], cwd=clone, env=env, capture_output=True, text=True, timeout=60)


def test_make_alone_says_what_there_is(clone: Path, bare: Path) -> None:
    done = make(clone, bare)
    assert done.returncode == 0
    for target in ["demo", "up", "down", "doctor", "test", "quick", "lint", "types", "clean"]:
        assert f"make {target} " in done.stdout
    assert not (clone / ".venv").exists()


def test_a_missing_git_is_named_with_the_line_that_installs_it(clone: Path, bare: Path) -> None:
    give(bare, "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    done = make(clone, bare, "demo")
    assert done.returncode != 0
    assert "git is needed" in done.stderr
    assert "sudo apt-get install git" in done.stderr


@pytest.mark.parametrize(
    ("python", "message"),
    [
        (None, "Python 3.11 or newer is needed, and there is none"),
        (OLD, "Python 3.11 or newer is needed; this is Python 3.9.2"),
        (WITHOUT_VENV, "comes without it"),
    ],
)
def test_a_python_that_will_not_do_is_named(clone: Path, bare: Path, python: str | None, message: str) -> None:
    give(bare, "git", "#!/bin/sh\n")
    if python:
        give(bare, "python3", python)
    done = make(clone, bare, "environment")
    assert done.returncode != 0
    assert message in done.stderr
    assert "sudo apt-get install python3" in done.stderr
    assert not (clone / ".venv").exists()


def test_a_newer_python_beside_an_old_one_is_found(clone: Path, bare: Path) -> None:
    give(bare, "git", "#!/bin/sh\n")
    give(bare, "python3", OLD)
    give(bare, "python3.12", WITHOUT_VENV)
    assert f"{bare / 'python3.12'} comes without it" in make(clone, bare, "environment").stderr


@pytest.mark.parametrize("target", ["environment", "development"])
def test_an_environment_that_is_there_is_left_alone(clone: Path, bare: Path, target: str) -> None:
    give(bare, "git", "#!/bin/sh\n")
    give(bare, "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (clone / ".venv/bin").mkdir(parents=True)
    give(clone / ".venv/bin", "python", "#!/bin/sh\n")
    content = b"".join((clone / name).read_bytes() for name in FILES[1:])
    for stamp in (".built", ".built-dev"):
        (clone / ".venv" / stamp).write_text(f"{hashlib.sha256(content).hexdigest()} {clone}")
    done = make(clone, bare, "--always-make", target)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_demo_needs_no_developers_packages(clone: Path, bare: Path) -> None:
    give(bare, "git", "#!/bin/sh\n")
    give(bare, "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (clone / ".venv/bin").mkdir(parents=True)
    give(clone / ".venv/bin", "python", "#!/bin/sh\n")
    give(clone / ".venv/bin", "uv", '#!/bin/sh\necho "installed: $*"\n')
    give(clone / ".venv/bin", "clickflow", "#!/bin/sh\n")
    give(clone / ".venv/bin", "ruff", "#!/bin/sh\n")
    demo = make(clone, bare, "demo")
    assert demo.returncode == 0, demo.stderr
    assert "--editable ." in demo.stdout
    assert "[dev]" not in demo.stdout
    assert "installed:" not in make(clone, bare, "up").stdout, "built twice"
    lint = make(clone, bare, "lint")
    assert lint.stdout.count("installed:") == 1
    assert "--editable .[dev]" in lint.stdout
    assert "installed:" not in make(clone, bare, "lint", "demo").stdout, "built twice"


def test_an_installation_that_takes_its_time_says_that_it_is_at_work(clone: Path, bare: Path) -> None:
    sleep = shutil.which("sleep")
    give(bare, "git", "#!/bin/sh\n")
    give(bare, "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    give(bare, "sleep", f"#!/bin/sh\nexec {sleep} .2\n")  # half a minute
    (clone / ".venv/bin").mkdir(parents=True)
    (clone / ".venv/lib/python3/site-packages/one-1.dist-info").mkdir(parents=True)
    give(clone / ".venv/bin", "python", "#!/bin/sh\n")
    give(clone / ".venv/bin", "uv", f"#!/bin/sh\nexec {sleep} 1\n")
    done = make(clone, bare, "environment")
    assert done.returncode == 0, done.stderr
    assert "s, 1 packages are in place" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("environment: ready after")
