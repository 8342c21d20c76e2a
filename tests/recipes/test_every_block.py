"""No command block of the docs is left out: it runs in a test of this folder, or the page says why it is not run."""

from pathlib import Path

import pytest
from recipe import SHELL, Block, blocks
from test_by_hand import BY_HAND
from test_logs import POINT_IT, recipe
from test_on_the_platform import ON_THE_PLATFORM

PAGES = ("README.md", "docs/tutorial.md", "docs/simulator.md", "docs/howto/*.md", "docs/runbooks/*.md")


def all_blocks(root: Path) -> list[Block]:
    return [block for pattern in PAGES for page in sorted(root.glob(pattern)) for block in blocks(page, root)]


def test_every_command_block_runs_or_says_why_not(root: Path) -> None:
    tried = {*BY_HAND, *ON_THE_PLATFORM}
    of_the_recipe = {block.place for block in recipe(root)}
    left = [
        block.place
        for block in all_blocks(root)
        if block.language in SHELL
        and not block.not_run
        and block.page not in tried
        and block.place not in of_the_recipe
    ]
    assert left == [], "these command blocks run in no test; run them, or write <!-- not run: why --> above them"


def test_commands_stand_in_blocks_that_say_so(root: Path) -> None:
    """A block of commands without a language would be passed over."""
    silent = [
        block.place
        for block in all_blocks(root)
        if not block.language
        and any(line.startswith(("clickflow ", "dvc ", "make ")) for line in block.text.split("\n"))
    ]
    assert silent == []


@pytest.mark.parametrize("page", sorted({*BY_HAND, *ON_THE_PLATFORM}))
def test_a_page_that_is_said_to_be_tried_has_something_to_try(root: Path, page: str) -> None:
    assert [block for block in blocks(root / page, root) if block.language in SHELL and not block.not_run]


def test_the_chinese_readme_has_the_same_commands(root: Path) -> None:
    def commands(page: str) -> list[list[str]]:
        return [
            [line.partition("#")[0].strip() for line in block.text.splitlines()]
            for block in blocks(root / page, root)
            if block.language in SHELL
        ]

    assert commands("README.zh-CN.md") == commands(POINT_IT)
