"""`clickflow watch` on a simulated shop: it stays quiet where nothing has moved, and calls where something has."""

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import watched_shop
from rich.console import Console
from watched_shop import MODEL, call, change_later, param

from clickflow.monitoring import report, rule, windows
from clickflow.monitoring.rule import Bound, Judged, Verdict
from clickflow.sequences.store import Bounds, PackedSplit
from clickflow.system import integrity
from clickflow.system.errors import UsageError
from clickflow.system.files import read_json
from clickflow.system.moments import DAY
from clickflow.system.paths import Paths

pytestmark = pytest.mark.slow


@pytest.fixture
def drawn(watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A copy of the shop for one test; the champion is shared, and nobody changes it."""
    monkeypatch.setenv("CLICKFLOW_HOME", str(watched / "home"))
    return watched_shop.copied(Paths(watched / "shop"), tmp_path, monkeypatch)


@pytest.fixture
def paths(drawn: Paths, undrawn: None) -> Paths:
    """The same, its reports without figures."""
    return drawn


def broken(result: Any) -> list[set[str]]:
    """What broke in each window, the oldest first."""
    return [set(window["broken"]) for window in result["models"][MODEL]["windows"]]


def bounds(result: Any, window: int = -1) -> dict[str, Any]:
    return {bound["name"]: bound for bound in result["models"][MODEL]["windows"][window]["bounds"]}


@pytest.mark.usefixtures("figures_rendered")
def test_where_nothing_has_moved_nothing_is_called_for(drawn: Paths) -> None:
    result = call("watch")
    assert result["retrain"] == []
    assert "nothing breaches: 0 of 5 windows" in result["why"]
    latest = bounds(result)
    assert all(bound["value"] is not None for bound in latest.values()), "every bound was judged"
    assert 0 < latest["popularity"]["value"] < latest["popularity"]["limit"]
    at_evaluation = read_json(_home() / f"models/{MODEL}/1.evaluation/reference.json")["metrics"]
    for name in ("recall@20", "mrr@20", "next_action.accuracy"):
        assert latest[name]["expected"] == at_evaluation[name]["value"]
        assert latest[name]["low"] <= latest[name]["value"] <= latest[name]["high"]

    # the same once more is the same, and a person sees a table and where the report is
    integrity.verify_files(drawn.watch, "watch.json", "report.html", home=None)
    report = (drawn.watch / "report.html").read_bytes()
    as_of = result["as_of"]
    assert call("watch", "--as-of", as_of) == result
    page = (drawn.watch / "report.html").read_bytes()
    assert report == page
    for outside in (b"http://", b"https://", b"<script", b"<link"):
        assert outside not in page
    shown = call("watch", "--as-of", as_of, as_json=False)
    assert (drawn.watch / "report.html").read_bytes() == page
    assert "no call for retraining" in shown
    assert "report.html" in shown


def _home() -> Path:
    import os

    return Path(os.environ["CLICKFLOW_HOME"])


def test_other_items_call_for_retraining(paths: Paths) -> None:
    def reverse(columns: Any) -> None:
        columns["item"][:] = 201 - (columns["item"] - 2)  # the most frequent item becomes the rarest

    change_later(paths, 3, reverse)
    result = call("watch")
    assert result["retrain"] == [MODEL]
    causes = broken(result)
    assert all("popularity" in window for window in causes[-3:])
    assert not any("popularity" in window for window in causes[:2])
    assert not any({"hour", "session_length", "event_types"} & window for window in causes)


def test_another_mix_of_actions_calls_for_retraining(paths: Paths) -> None:
    def carts(columns: Any) -> None:
        views = np.flatnonzero(columns["action"] == 0)
        columns["action"][views[::3]] = 1

    change_later(paths, 2, carts)
    result = call("watch")
    assert result["retrain"] == [MODEL]
    assert all("event_types" in window for window in broken(result)[-2:])
    assert not any("popularity" in window for window in broken(result))


@pytest.mark.parametrize(
    ("column", "change", "bound"),
    [("hour", lambda hour: (hour + 12) % 24, "hour"), ("price", lambda price: price * 3, "price")],
)
def test_each_bound_sees_its_own_column(paths: Paths, column: str, change: Any, bound: str) -> None:
    def shift(columns: Any) -> None:
        columns[column][:] = change(columns[column])

    change_later(paths, 2, shift)
    assert broken(call("watch"))[-1] - {"recall@20", "mrr@20", "next_action.accuracy"} == {bound}


def test_items_that_the_champion_has_never_seen_are_counted_and_fail_nothing(paths: Paths) -> None:
    from clickflow.sequences.store import read_card
    from clickflow.system import integrity

    card = read_card(paths.sequences("session"))
    assert card.known == 202, "every item is known, so that the last one can be made new by its name"
    table = paths.sequences("session") / "vocabulary.parquet"
    _rename_half(table)
    integrity.seal(table.parent)
    result = call("watch")
    unknown = bounds(result)["unknown_items"]
    assert unknown["breach"]
    assert unknown["value"] == pytest.approx(0.5, abs=0.15)
    predictions = call("score", MODEL, "--all", "--since", "48", "--out", str(paths.root / "predictions"))
    assert predictions["sessions"] > 50


def _rename_half(table: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    rows = parquet.read_table(table)
    names = [f"new-{name}" if row % 2 else name for row, name in enumerate(rows["item_id"].to_pylist())]
    place = rows.schema.get_field_index("item_id")
    parquet.write_table(rows.set_column(place, "item_id", pa.array(names, pa.string())), table)


def test_a_champion_that_answers_worse_breaches_by_its_metrics_alone(paths: Paths) -> None:
    """Each session's steps in another order: the same items, actions, hours and prices, and nothing to learn from."""
    draw = np.random.default_rng(0)

    def pass_on(columns: Any) -> None:
        # every session gets another session's items, so that what was looked at says nothing of what follows
        order = draw.permutation(len(columns["item"]))
        for name in ("item", "price"):
            columns[name][:] = columns[name][order]

    change_later(paths, 2, pass_on)
    result = call("watch")
    assert result["retrain"] == [MODEL]
    for window in broken(result)[-2:]:
        assert {"recall@20", "mrr@20"} <= window
        assert not {"popularity", "hour", "price", "event_types", "session_length"} & window


def test_a_single_breach_is_not_enough_nor_one_that_is_over(paths: Paths) -> None:
    def carts(columns: Any) -> None:
        columns["action"][:] = 1

    change_later(paths, 1, carts)
    result = call("watch")
    assert result["retrain"] == []
    assert "too few windows breach: 1 of 5 windows, 2 are needed" in result["why"]
    param(paths, "breaches: 2", "breaches: 1")
    assert call("watch")["retrain"] == [MODEL]


def test_windows_of_customers_are_no_shorter_than_their_cut_offs_are_apart() -> None:
    cut_off = np.repeat(np.arange(100, 205, 7), 3) * DAY
    steps = np.arange(len(cut_off))
    stored = {"test": PackedSplit(Bounds(steps, steps + 1, steps + 1, cut_off), "last", 30 * DAY, time=cut_off)}
    assert windows.spacing(stored) == 7
    newest = int(cut_off[-1]) + 33 * DAY
    cut = windows.cut(stored, until=newest, days=windows.spacing(stored), number=5, most=100)
    assert [window.sequences for window in cut] == 5 * [3]
    visits = PackedSplit(offsets=np.arange(len(cut_off) + 1), time=cut_off)
    assert windows.spacing({"test": visits}) == 0


def test_stale_data_is_told_and_calls_for_no_training(paths: Paths) -> None:
    param(paths, "max_age_hours: null", "max_age_hours: 24")
    newest = call("watch")["newest_event"]
    day = np.datetime64(newest[:19])
    fresh = call("watch", "--as-of", f"{day + np.timedelta64(23, 'h')}Z")
    assert not fresh["stale"]
    late = call("watch", "--as-of", f"{day + np.timedelta64(25, 'h')}Z")
    assert late["stale"]
    assert late["retrain"] == []
    assert late["newest_event"] == newest
    assert "look to the source" in late["why"]


def test_what_came_after_as_of_is_not_looked_at(paths: Paths) -> None:
    newest = np.datetime64(call("watch")["newest_event"][:19])
    before = call("watch", "--as-of", f"{newest - np.timedelta64(24, 'h')}Z")
    assert np.datetime64(before["newest_event"][:19]) <= newest - np.timedelta64(24, "h")
    with pytest.raises(UsageError, match="is not a time"):
        call("watch", "--as-of", "yesterday")


def test_what_cannot_be_judged_says_why(paths: Paths) -> None:
    param(paths, "min_sequences: 50", "min_sequences: 5000")
    result = call("watch")
    assert result["retrain"] == []
    assert "nothing could be judged" in result["why"]
    assert "5000 are needed" in bounds(result)["hour"]["why"]
    param(paths, "min_sequences: 5000", "min_sequences: 50")
    param(paths, "gap_minutes: 30", "gap_minutes: 20")
    call("sequences", "session", as_json=False)
    assert "other rules than in training: gap_minutes" in bounds(call("watch"))["hour"]["why"]


def test_without_a_champion_there_is_nothing_to_watch(
    paths: Paths, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path_factory.mktemp("empty")))
    result = call("watch")
    assert result["retrain"] == []
    assert "no champion yet" in result["why"]


def test_a_folder_that_holds_something_else_is_left_alone(paths: Paths) -> None:
    (paths.root / "mine").mkdir()
    (paths.root / "mine/letter.txt").write_text("dear")
    for words in (["watch"], ["score", MODEL, "--all"]):
        with pytest.raises(UsageError, match="mine exists and holds no"):
            call(*words, "--out", str(paths.root / "mine"))
    assert (paths.root / "mine/letter.txt").read_text() == "dear"


def test_in_a_narrow_terminal_each_bound_stands_whole() -> None:
    """A name as long as the longest of the shipped models, five windows, 80 columns."""
    bound = Bound(name="next_action.log_loss", kind=rule.METRIC, value=0.863, limit=1.041, breach=True)
    windows = tuple(
        Judged(
            since=f"2026-02-0{day}T00:00",
            until=f"2026-02-0{day}T22:23",
            sequences=700,
            after_training=700,
            bounds=(bound,),
        )
        for day in range(1, 6)
    )
    verdict = Verdict(model="next_step", version=1, windows=windows, breaches=5, retrain=True, why="5 of 5")
    content = {
        "newest_event": "2026-02-05T22:23:00",
        "age_hours": 7218.4,
        "report": "report.html",
        "stale": False,
        "refused_files": [],
    }
    screen = Console(width=80, file=StringIO())
    screen.print(report.console_text(content, [verdict]))
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    assert text.count("≤1.041") == 5
    assert text.count(".863✗") == 5
    assert "300.8 days old" in text


def test_a_page_says_of_a_loss_what_is_the_most_and_each_reason_once() -> None:
    html = Path(report.__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    assert "bound|least" in html
    least = {name: report._least(Bound(name=name, kind=rule.METRIC)) for name in ("next_action.log_loss", "recall@20")}
    assert least == {"next_action.log_loss": False, "recall@20": True}
    few = Bound(name="hour", kind="drift", why="3 sequences, 100 are needed")
    window = Judged(
        since="2026-02-01T00:00", until="2026-02-01T22:23", sequences=3, after_training=3, bounds=(few, few)
    )
    assert report._reasons([window, window]) == [(few.why, ["2026-02-01 22:23"] * 2)]
