"""`ingest`, then `validate`, on real shop logs."""

import copy
from pathlib import Path
from typing import Any

import pytest
from quality_log import broken, run

from clickflow.events import ingest
from clickflow.params.file import check
from clickflow.system.paths import Paths


def validated(place: Path, raw: dict[str, Any], folder: Path, preset: str) -> dict[str, Any]:
    raw = copy.deepcopy(raw)
    raw["source"] |= {"kind": "files", "path": str(folder), "preset": preset}
    ingest.run(check(raw), Paths(place))
    return run(Paths(place), raw)


def test_rees46(place: Path, shop_data: Path, raw_params: dict[str, Any]) -> None:
    verdict = validated(place, raw_params, shop_data / "rees46_slice", "rees46")
    assert verdict["success"] and broken(verdict)["warnings"] == []
    figures = verdict["statistics"]
    assert figures["read"] == 17_435 == figures["events"] + figures["quarantined"]
    assert figures["types"]["view"]["events"] > 17_000


def test_taobao(place: Path, shop_data: Path, raw_params: dict[str, Any]) -> None:
    verdict = validated(place, raw_params, shop_data / "taobao_slice", "taobao")
    assert verdict["success"] and broken(verdict)["warnings"] == []
    # no sessions are given: a user's day stands for one
    assert verdict["statistics"]["sessions"] == 66_454
    assert verdict["statistics"]["volume_ratio"] is None


@pytest.mark.slow
def test_uci_online_retail(place: Path, shop_data: Path, raw_params: dict[str, Any]) -> None:
    verdict = validated(place, raw_params, shop_data / "uci_online_retail", "uci_retail")
    # the busy weeks before Christmas, one invoice of 1,114 lines, and lines that all have the time of their invoice
    assert verdict["success"] and broken(verdict)["warnings"] == ["no_endless_session", "few_ties", "volume_usual"]
    assert verdict["warnings"][0]["observed"] == 1114
    figures = verdict["statistics"]
    # the shop is closed on Saturdays
    assert figures["days_without_events"] == 69 and figures["days"] == 374
    assert 0.2 < figures["no_user_share"] < 0.3
