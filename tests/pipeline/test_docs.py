"""What the docs say is what the code does."""

import re
import subprocess
import sys


def test_the_reference_pages_are_made_from_the_present_code(root):
    made = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"], cwd=root, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr


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


def test_every_stage_of_the_pipeline_is_a_verb_of_the_command_line(root):
    import yaml

    from clickflow.cli import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    stages = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert set(stages) <= verbs
