"""Profiles of customers: neighbours share tastes, segments are named apart, and their worth is as counted by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pyarrow import parquet
from scipy.sparse import csr_matrix
from sklearn.metrics import log_loss, roc_auc_score
from typer.testing import CliRunner

from clickflow import cli, features
from clickflow.evaluation.bootstrap import Resampling
from clickflow.params.file import load
from clickflow.profiles import embedding, segments, stability, verb, words, worth
from clickflow.profiles.embedding import Customers
from clickflow.sequences.card import NOW
from clickflow.sequences.store import open_split, read_card
from clickflow.system import integrity
from clickflow.system.errors import DataError, UsageError
from clickflow.system.files import sha256_folder
from clickflow.system.paths import Paths

NAMES = features.names("customer")


def call(*arguments: str) -> Any:
    """`clickflow … --json` in this process; its fault is raised."""
    result = CliRunner().invoke(cli.app, [*arguments, "--json"])
    if result.exception:
        raise result.exception
    return json.loads(result.stdout)


def people(draw: np.random.Generator, each: int = 60) -> tuple[Customers, np.ndarray, np.ndarray]:
    """Three kinds of buyers (often, once lately, once long ago), and two tastes that have nothing to do with it."""
    kind, taste = np.repeat([0, 1, 2], each), np.tile([0, 1], 3 * each // 2)
    values = np.full((len(kind), len(NAMES)), np.nan)
    for name, centre in {
        "recency_days": (5, 8, 200),
        "tenure_days": (300, 10, 220),
        "purchases": (20, 1, 1),
        "purchases_90d": (8, 1, 0),
        "amount": (900, 30, 40),
        "amount_mean": (45, 30, 40),
    }.items():
        spread = draw.uniform(0.95, 1.05, len(kind)) if name in ("amount", "amount_mean", "recency_days") else 1.0
        values[:, NAMES.index(name)] = np.array(centre)[kind] * spread
    seen = np.zeros((len(kind), 40))
    for row in range(len(kind)):
        seen[row, draw.choice(20, 6, replace=False) + 20 * taste[row]] = draw.integers(1, 4, 6)
    users = [f"u{row}" for row in range(len(kind))]
    return Customers(users, "now", np.arange(len(kind)), values, csr_matrix(seen)), kind, taste


def test_the_most_similar_buy_alike_and_the_same_things() -> None:
    own, kind, taste = people(np.random.default_rng(0))
    learned = embedding.learn(own, 0)
    assert "views_30d" not in learned.behaviour  # nobody has any
    near, cosine = embedding.similar(learned.of(own), np.arange(len(own)), 5)
    assert (near != np.arange(len(own))[:, None]).all() and (np.diff(cosine) <= 1e-9).all() and cosine.max() <= 1 + 1e-9
    assert (kind[near] == kind[:, None]).mean() > 0.95 and (taste[near] == taste[:, None]).mean() > 0.95
    largest = np.abs(learned.direction).argmax(axis=0)
    assert (learned.direction[largest, np.arange(learned.direction.shape[1])] > 0).all()


def test_segments_are_found_again_and_have_names_of_their_own() -> None:
    own, kind, _ = people(np.random.default_rng(1))
    learned = embedding.learn(own, 0)
    clusters = segments.clusters(own, learned, 3, 0)
    segment = clusters.of(own)
    assert segment.tolist() == clusters.of(own.take(np.arange(len(own))[::-1]))[::-1].tolist()
    assert sorted({(a, b) for a, b in zip(kind.tolist(), segment.tolist(), strict=True)}) == [(0, 0), (1, 2), (2, 1)]
    held = stability.measure(own, own, 3, 0)
    assert held["segments"] == 1 and held["neighbours"] > 2 * held["neighbours_by_chance"]
    named = words.names(segments.standings(own, segment, 3))
    assert [key for key, _ in named] == ["best", "once", "newcomers"]
    traits = words.traits(own, learned, segment, 3)
    assert "purchases: 20 (of all customers: 1)" in [trait.words["en"] for trait in traits[0]]
    many = words.names(segments.standings(own, np.arange(len(own)) % 9, 10))
    assert all(len({name[tongue] for _, name in many}) == 10 for tongue in ("en", "zh"))
    assert words.names([{}])[0][0] == "nobody"


def test_the_worth_of_segments_is_as_counted_row_by_row() -> None:
    draw = np.random.default_rng(2)
    past, own = draw.integers(0, 4, 500), draw.integers(0, 4, 300)
    before, after = (
        worth.Later((draw.random(len(s)) < 0.2 + 0.15 * s).astype(float), draw.uniform(0, 9, len(s)) * (4 - s))
        for s in (past, own)
    )
    judged = worth.judged(own, np.arange(300) // 2, after, 4, (past, before))
    measures = worth.measures(judged.sums.sum(axis=0, keepdims=True), judged)
    p = judged.expected_back[own]
    assert measures["log_loss"][0] == pytest.approx(log_loss(after.back, p))
    assert measures["roc_auc"][0] == pytest.approx(roc_auc_score(after.back, p))
    best = own == 0  # they spent most before; a fifth of all is less than they are
    assert best.mean() > worth.TOP
    assert measures["top_fifth_lift"][0] == pytest.approx(after.value[best].mean() / after.value.mean())
    how = Resampling(50, 0.9, 0)
    compared = worth.compare({"segments": judged, "rfm": judged}, how)
    assert compared["segments_less"]["rfm"]["log_loss"] == {"value": 0, "low": 0, "high": 0}
    each = worth.by_segment(judged, how)[3]
    assert each["came_back"]["value"] == pytest.approx(after.back[own == 3].mean(), abs=1e-5)
    assert each["lift"]["low"] < each["lift"]["value"] < each["lift"]["high"]


@pytest.fixture(scope="module")
def shop(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A simulated shop with a store of customers, and no model."""
    folder = tmp_path_factory.mktemp("shop")
    raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    raw["simulator"] = {"events": 20_000, "days": 50, "items": 60, "dirt": 0.0}
    raw["sequences"] = {"customer": {"horizon_days": 7, "every_days": 7}}
    raw["units"] = ["customer"]
    raw["models"] = {"churn": {"unit": "customer", "kind": "logistic", "heads": {"churn": {}}}}
    raw["champion"] = {"churn": 0}
    raw["gate"] = {}
    paths = Paths(folder)
    paths.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("CLICKFLOW_HOME", str(folder / "home"))
        for verb in (["ingest"], ["sequences", "customer"]):
            if verb == ["sequences", "customer"]:
                (folder / "reports/validation.json").write_text("{}")
            result = CliRunner().invoke(cli.app, verb)
            assert not result.exception, result.output
    return paths


@pytest.fixture
def inside(shop: Paths, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """The shop, in the current folder."""
    monkeypatch.chdir(shop.root)
    monkeypatch.setenv("CLICKFLOW_HOME", str(shop.root / "home"))
    return shop


def test_a_shop_is_profiled_the_same_twice(inside: Paths, tmp_path: Path) -> None:
    cards = [call("profiles", "--segments", "4", "--out", str(tmp_path / name)) for name in ("a", "b")]
    assert cards[0] == cards[1] and sha256_folder(tmp_path / "a") == sha256_folder(tmp_path / "b")
    assert (tmp_path / "a" / integrity.SEAL).is_file() and not integrity.damaged(tmp_path / "a", None)
    table = parquet.read_table(tmp_path / "a" / "profiles.parquet").to_pandas()
    now = parquet.read_table(inside.sequences("customer") / NOW / "sequences.parquet")["user_id"].to_pylist()
    assert table["user_id"].tolist() == now and len(now) == cards[0]["customers"]
    assert sum(each["customers"] for each in cards[0]["segments"]) == len(now)
    assert {len(row) for row in table["embedding"]} == {len(cards[0]["embedding"])}
    assert all(
        user not in near and len(near) == 10 for user, near in zip(table["user_id"], table["similar"], strict=True)
    )
    assert set(cards[0]["compared"]["systems"]) == {"segments", "rfm"} and 0 <= cards[0]["stability"]["neighbours"] <= 1
    assert cards[0]["segments"][0]["name"]["en"] in (tmp_path / "a" / "profiles.html").read_text()
    one = call("profiles", "--segments", "4", "--user", now[0], "--similar", "3")["customer"]
    assert [each["user"] for each in one["similar"]] == table["similar"][0][:3].tolist()


def test_the_gate_holds_segments_that_another_sample_would_not_give(
    inside: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = yaml.safe_load(inside.params.read_text(encoding="utf-8"))
    monkeypatch.setattr(verb, "_worse_than_rfm", lambda _: True)
    text = inside.params.read_text(encoding="utf-8")
    try:
        for rule, reason in (({"min_stability": 1.0}, "min_stability 1"), ({"worse_than_rfm": "hold"}, "RFM")):
            inside.params.write_text(yaml.safe_dump(params | {"gate": {"profiles": rule}}), encoding="utf-8")
            with pytest.raises(DataError, match=f"the segments are held: .*{reason}"):
                call("profiles", "--segments", "4", "--out", str(tmp_path / "held"))
            assert not (tmp_path / "held").exists()
            beside = verb.beside(load(inside.params), "churn", 4)
            assert beside(None, inside.sequences("customer"), None) == {}
        inside.params.write_text(yaml.safe_dump(params | {"gate": {"profiles": {"min_stability": -1.0}}}))
        assert call("profiles", "--segments", "4", "--out", str(tmp_path / "out"))["customers"]
        beside = verb.beside(load(inside.params), "churn", 4)
        assert set(beside(None, inside.sequences("customer"), None)) == {"segments.parquet"}
    finally:
        inside.params.write_text(text, encoding="utf-8")


def test_what_is_read_lies_before_the_cut_off(inside: Paths) -> None:
    store = inside.sequences("customer")
    card, split = read_card(store), open_split(store, "test")
    own = embedding.read(store, card, "test", last=True)
    cut_off = np.asarray(split.cut_off)
    weight = np.array([embedding.WEIGHTS.get(name, 0) for name in card.actions])
    for row in range(0, len(own), 7):
        steps = np.arange(split.begin[own.sequence[row]], split.end[own.sequence[row]])
        assert (split.time[steps] < cut_off[own.sequence[row]]).all()
        item, weights = split.item[steps], weight[split.action[steps]]
        known = (item >= 2) & (item < card.known)
        assert own.seen[row, : card.known - 2].sum() == pytest.approx(weights[known].sum())


def test_what_cannot_be_profiled_is_refused(inside: Paths, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too few for 30 segments"):
        call("profiles", "--segments", "30")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no profiles"):
        call("profiles", "--out", str(tmp_path))
    with pytest.raises(UsageError):
        call("profiles", "--user", "nobody-at-all")
