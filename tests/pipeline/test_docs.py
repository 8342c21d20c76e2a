"""What the docs say is what the code does."""

import re
import subprocess
import sys

import yaml


def test_the_reference_pages_are_made_from_the_present_code(root):
    done = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_link_between_pages_leads_somewhere(root):
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("benchmarks/**/*.md")]
    assert pages
    broken = [
        f"{page.relative_to(root)}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", re.sub(r"`[^`]*`", "", page.read_text(encoding="utf-8")))
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert broken == []


def test_each_decision_has_a_number_of_its_own(root):
    pages = sorted(root.glob("docs/decisions/[0-9]*.md"))
    numbers = [page.name[:4] for page in pages]
    assert len(numbers) == len(set(numbers))
    for page, number in zip(pages, numbers, strict=True):
        heading = re.match(r"# (\d+)", page.read_text(encoding="utf-8"))
        assert heading is None or int(heading[1]) == int(number), page.name


def test_the_paths_that_contributors_read_of_exist(root):
    """Each path in backticks is a file or folder of the repository, or an output of the pipeline."""
    outs = ["dvc[.]lock"] + [
        re.sub(r"\\\$\\\{.*?\\\}", "[^/]+", re.escape(next(iter(out)) if isinstance(out, dict) else out))
        for stage in yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
        for part in ("outs", "metrics", "plots")
        for out in stage.get("do", stage).get(part, [])
    ]
    missing = [
        f"{page}: {path}"
        for page in ("CONTRIBUTING.md", "docs/life-of-an-event.md")
        for path in re.findall(r"`([\w./-]*(?:/|\.(?:py|ya?ml|md|txt|toml|lock|json)))`", _text(root / page))
        if not (root / path).exists()
        and not (root / "src/clickflow" / path).exists()
        and not any(re.fullmatch(f"{out}(/.*)?", path.rstrip("/")) for out in outs)
    ]
    assert missing == []


def test_the_tree_in_the_readme_is_that_of_the_repository(root):
    for page in ("README.md", "README.zh-CN.md"):
        tree = re.search(r"^```\ndags/.*?^```$", _text(root / page), re.MULTILINE | re.DOTALL)
        assert tree
        rooms = set(re.findall(r"^  (\w+(?:/|\.py)) ", tree[0], re.MULTILINE))
        package = root / "src/clickflow"
        assert rooms - {"cli.py"} == {f"{init.parent.name}/" for init in package.glob("*/__init__.py")}, page
        top = re.findall(r"^([\w./-]+(?:/|\.\w+)|Makefile)(?= |$)", tree[0], re.MULTILINE)
        assert [name for name in top if not (root / name).exists()] == []


def test_both_readmes_have_the_same_figures_commands_and_links(root):
    pages = [_text(root / page) for page in ("README.md", "README.zh-CN.md")]
    english, chinese = (re.sub(r"(\d+) to (\d+)%", r"\1% to \2%", text) for text in pages)
    measures = r"(?<![\w.])\.\d+|\d[\d,.]*(?= ?(?:s|GB|%)(?!\w))"
    commands = r"`((?:python|pytest|make|clickflow|dvc) [^`]*)`"
    for what in (measures, commands):
        assert sorted(re.findall(what, english)) == sorted(re.findall(what, chinese))
    links = [set(re.findall(r"\]\(([^)#\s]+)", text)) for text in pages]
    assert {link for link in links[0] ^ links[1] if not link.startswith("README")} == set()


def test_each_figure_of_the_readme_names_its_command(root):
    """Each row of a table with a column of commands has one; under each table of measures stands the line *Command*."""
    text = _text(root / "README.md")
    sections = re.split(r"^(?=##)", text[text.index("## Results") : text.index("## More")], flags=re.MULTILINE)
    for section in sections:
        rows = re.findall(r"^\|.*\|$", section, re.MULTILINE)
        if not rows or not re.search(r"[^\w]\.\d\d|\d s\b", "".join(rows)):
            continue
        if "command" in rows[0]:
            bare = [
                row for row in rows[2:] if not re.search(r"`(python|pytest) |the same|public tools", row.split("|")[-2])
            ]
            assert bare == []
        else:
            assert re.search(r"^Commands?: ", section, re.MULTILINE), section[:80]


def test_no_entry_of_the_changelog_stands_twice(root):
    entries = re.split(r"\n(?=- |#)", _text(root / "CHANGELOG.md"))
    firsts = [entry[:80] for entry in entries if entry.startswith("- ")]
    assert len(firsts) == len(set(firsts))


def _text(path):
    return path.read_text(encoding="utf-8")


def test_every_stage_of_the_pipeline_is_a_verb_of_the_command_line(root):
    from clickflow.cli import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}  # type: ignore[union-attr]
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(stages) <= verbs
