"""A head of an installed package is one of the command line's, and an error names the package that is at fault."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
from clickflow.heads.head import Head, following
from clickflow.params.models import ClassesHead

HEAD = Head(
    name="bargain", unit="session", kind="classes", question="Will the next step be a bargain?", params=ClassesHead,
    targets=lambda split, event, end, store: following(split.price, event, end, -1) < 5,
    baselines=("majority",), primary="log_loss", classes=lambda store: ("dear", "cheap"),
)
"""


def clickflow(folder: Path, root: Path, *, code: str, head: str) -> "subprocess.CompletedProcess[str]":
    """`clickflow params` of a shop whose model has the head, beside a package of somebody's with the code."""
    (folder / "our_shop").mkdir()
    (folder / "our_shop/bargain.py").write_text(code)
    about = folder / "our_shop-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: our-shop\nVersion: 1\n")
    page = (root / "docs/howto/add-a-head.md").read_text(encoding="utf-8")
    entry = re.search(r'^\[project\.entry-points\."(\S+)"\]\n(\w+) = "(\S+)"', page, re.MULTILINE)
    assert entry
    (about / "entry_points.txt").write_text("[{}]\n{} = {}\n".format(*entry.groups()))
    params = (root / "params.yaml").read_text(encoding="utf-8")
    (folder / "params.yaml").write_text(
        params.replace("      next_item: {}\n", f"      next_item: {{}}\n      {head}: {{}}\n")
    )
    (folder / "dvc.yaml").write_bytes((root / "dvc.yaml").read_bytes())
    words = [sys.executable, "-c", "from our_shop import bargain; from clickflow.cli import main; main()", "params"]
    words = words if code == HEAD else [sys.executable, "-m", "clickflow.cli", "params"]
    return subprocess.run(
        [*words, "models.next_step.heads.bargain", "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_head_of_an_installed_package_is_known(tmp_path: Path, root: Path) -> None:
    """Also where its own file is imported first."""
    done = clickflow(tmp_path, root, code=HEAD, head="bargain")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models.next_step.heads.bargain.weight"]["value"] == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_thing", r"cannot be loaded: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("HEAD = 'bargain'", r"is no Head, but of type str"),
        (HEAD.replace('name="bargain"', 'name="churn"'), r"is called 'churn', as another is"),
    ],
)
def test_what_is_no_head_is_an_error_that_names_its_package(tmp_path: Path, root: Path, code: str, said: str) -> None:
    done = clickflow(tmp_path, root, code=code, head="bargain")
    assert done.returncode == 2, done.stderr
    assert re.search(said, " ".join(done.stderr.split())), done.stderr
    assert "of the package our-shop" in done.stderr
    assert "Traceback" not in done.stderr
