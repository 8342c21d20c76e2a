"""`ingest`, then `validate`, on real shop logs."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import real_logs
from ingest_setup import Desk
from quality_log import broken, run

from clickflow.system.paths import Paths

Validated = Callable[[str, str], dict[str, Any]]


@pytest.fixture
def validated(
    place: Path, raw_params: dict[str, Any], shop_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Validated:
    """The verdict on a folder of shop data, read by a preset."""

    def verdict(folder: str, preset: str) -> dict[str, Any]:
        raw = copy.deepcopy(raw_params)
        raw["source"] |= {"kind": "files", "path": str(shop_data / folder), "preset": preset}
        params = Desk(place, raw).params(source__path=str(shop_data / folder))
        shutil.copytree(real_logs.ingested(tmp_path_factory, params).paths.root, place, dirs_exist_ok=True)
        return run(Paths(place), raw)

    return verdict


def test_rees46(validated: Validated) -> None:
    verdict = validated("rees46_slice", "rees46")
    assert verdict["success"] and broken(verdict)["warnings"] == []
    figures = verdict["statistics"]
    assert figures["read"] == 17_435 == figures["events"] + figures["quarantined"]
    assert figures["types"]["view"]["events"] > 17_000


def test_taobao(validated: Validated) -> None:
    verdict = validated("taobao_slice", "taobao")
    assert verdict["success"] and broken(verdict)["warnings"] == []
    # no sessions are given: a user's day stands for one
    assert verdict["statistics"]["sessions"] == 66_454
    assert verdict["statistics"]["volume_ratio"] is None


@pytest.mark.slow
def test_uci_online_retail(validated: Validated) -> None:
    verdict = validated("uci_online_retail", "uci_retail")
    # the busy weeks before Christmas, one invoice of 1,114 lines, and lines that all have the time of their invoice
    assert verdict["success"] and broken(verdict)["warnings"] == ["no_endless_session", "few_ties", "volume_usual"]
    assert verdict["warnings"][0]["observed"] == 1114
    figures = verdict["statistics"]
    # the shop is closed on Saturdays
    assert figures["days_without_events"] == 69 and figures["days"] == 374
    assert 0.2 < figures["no_user_share"] < 0.3
