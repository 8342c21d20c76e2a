"""The command blocks of a page of docs, and a checkout to run them in as they stand.

A block is run from the page's top to its bottom, in one folder. A comment in the line above says what a reader knows
without being told: `<!-- not run: why -->` (with the reason, such as the machine that it needs). Everything else runs.
"""

import hashlib
import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import yaml

SHELL = ("sh", "bash")
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", flags=re.MULTILINE | re.DOTALL
)
MARK = re.compile(r"<!-- not run: (?P<why>[^>]+) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, its text without the page's indentation, and why it is not run
    (empty: it is).
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str

    @property
    def place(self) -> str:
        """page:line."""
        return f"{self.page}:{self.line}"


def blocks(page: Path, root: Path) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    content = page.read_text(encoding="utf-8")
    fenced = []
    for fence in FENCE.finditer(content):
        indent = fence["indent"]
        text = "".join(line.removeprefix(indent) for line in fence["text"].splitlines(keepends=True))
        mark = MARK.search(content[: fence.start()])
        line = content.count("\n", 0, fence.start()) + 1
        fenced.append(
            Block(page.relative_to(root).as_posix(), line, fence["language"], text, mark["why"] if mark else "")
        )
    return fenced


@dataclass(frozen=True)
class Outcome:
    """What a block did: exit code, and everything that it printed."""

    code: int
    text: str


def environment(folder: Path) -> None:
    """A `.venv` for a clone, as `make environment` builds it: with the packages of this environment, and clickflow from
    the clone.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")], check=True)
    own = folder / ".venv"
    site = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (own / site / "packages.pth").write_text(f"{folder / 'src'}\n{Path(sys.prefix) / site}\n", encoding="utf-8")
    for script in (Path(sys.prefix) / "bin").iterdir():
        copy = own / "bin" / script.name
        if script.is_symlink() or copy.exists():
            continue
        content = script.read_bytes().replace(sys.prefix.encode(), str(own).encode())
        copy.write_bytes(content)
        copy.chmod(script.stat().st_mode)
    digest = hashlib.sha256()
    for name in ("constraints.txt", "pyproject.toml", "scripts/environment.sh"):
        digest.update((folder / name).read_bytes())
    for stamp in (".built", ".built-dev"):
        (own / stamp).write_text(f"{digest.hexdigest()} {folder}", encoding="utf-8")


class Checkout:
    """A clone of this repository's commit, with this environment as its own."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder = folder
        subprocess.run(["git", "clone", "--quiet", str(root), str(folder)], check=True)
        environment(folder)
        ours = {"VIRTUAL_ENV", "PYTHONPATH", "MAKEFLAGS", "CLICKFLOW_HOME", "MLFLOW_TRACKING_URI", "AIRFLOW_HOME"}
        self.env = {name: value for name, value in os.environ.items() if name not in ours}
        self.env |= {
            "PATH": f"{folder / '.venv/bin'}{os.pathsep}{os.environ['PATH']}",
            "GIT_AUTHOR_NAME": "A reader",
            "GIT_AUTHOR_EMAIL": "reader@example.org",
            "GIT_COMMITTER_NAME": "A reader",
            "GIT_COMMITTER_EMAIL": "reader@example.org",
        }

    def sh(self, text: str, *, seconds: float = 1500) -> Outcome:
        """Run lines of a shell, ended by the first one that fails."""
        script = f"set -euo pipefail\n{text}"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Outcome(done.returncode, done.stdout)

    def put(self, text: str) -> None:
        """Write a YAML block into params.yaml, as a reader does: its values take the place of those that are there."""
        from clickflow.orchestration.overrides import apply
        from clickflow.params.file import load
        from clickflow.params.patch import plain

        params = self.folder / "params.yaml"
        values = dict(_leaves(yaml.safe_load(text), plain(load(params))))
        params.write_text(apply(params.read_text(encoding="utf-8"), values), encoding="utf-8")

    def run(self, block: Block) -> Outcome:
        """Run a block, and fail with what it printed."""
        outcome = self.sh(block.text)
        assert outcome.code == 0, f"{block.place} ended with {outcome.code}\n{block.text}\n{outcome.text[-6000:]}"
        return outcome


def _leaves(given: object, present: object, prefix: str = "") -> list[tuple[str, object]]:
    """Dotted names and values of a YAML block; a mapping whose keys are the user's own is one value."""
    if isinstance(given, dict) and isinstance(present, dict) and present and set(given) <= set(present):
        return [leaf for key, value in given.items() for leaf in _leaves(value, present[key], f"{prefix}{key}.")]
    return [(prefix.rstrip("."), given)]
