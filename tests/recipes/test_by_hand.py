"""Pages that a reader follows in a checkout of their own, by hand, one after the other."""

import json

import pytest
from recipe import SHELL, Checkout, blocks

pytestmark = pytest.mark.platform

BY_HAND = (
    "docs/howto/your-data.md",
    "docs/howto/promote-and-roll-back.md",
    "docs/howto/approve.md",
    "docs/howto/score.md",
    "docs/howto/explain.md",
    "docs/howto/serve.md",
    "docs/howto/page.md",
    "docs/howto/live.md",
    "docs/howto/watch.md",
    "docs/howto/compression.md",
    "docs/howto/forget.md",
)
"""In this order: the first ones make the champion that the others speak of. The log is the simulated one."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", BY_HAND)
def test_the_blocks_of_a_page(page: str, root, checkout: Checkout) -> None:
    tried = [block for block in blocks(root / page, root) if block.language in SHELL and not block.not_run]
    assert tried
    for block in tried:
        outcome = checkout.run(block)
        assert "Traceback" not in outcome.text, outcome.text


def test_there_is_a_champion_then(checkout: Checkout) -> None:
    status = json.loads(checkout.sh("clickflow status --json").text)
    assert status["models"]["next_step"]["champion"]["version"] == 1
