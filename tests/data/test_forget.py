"""A person who is forgotten is gone from what ingest has made, as if their rows had never come, and stays so."""

import gzip
import json
import shutil
import sqlite3
import stat
import subprocess
import zipfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from ingest_setup import HEADER, Desk, row, rows

from clickflow.events import forgotten
from clickflow.events.pseudonyms import load_key, pseudonyms
from clickflow.events.replay import replay
from clickflow.privacy import forget as verb
from clickflow.privacy import leftovers
from clickflow.system import files, integrity
from clickflow.system.errors import ClickflowError, DataError, UsageError

LOG = (
    HEADER
    + rows(40)
    + row(user="customer-3", session="", item="alone")
    + row(user="", session="visit-3", item="before the login")
    + row("2026-01-05 10:00:09", user="customer-3", session="visit-3", item="after it")
    + row("2026-01-05 10:00:09", user="customer-3", session="visit-3", item="after it")
    + row(user="customer-3", kind="strange")
    + row(user="u2", kind="strange")
    + b"2026-01-05 10:00:00,view,u3,s9\n"
    + b'2026-01-06 10:00:00,view,u3,s3,"over\ntwo lines",,,,,\n'
    + row("2026-01-07 10:00:00", user="customer-3", session="s3", item="a day of their own")
    + row("2026-01-08 10:00:00", user="u4", session="s4")
).replace(b",u3,", b",customer-3,")
MORE = (
    HEADER
    + row("2026-01-08 11:00:00", user="customer-3", session="s5")
    + row("2026-01-08 12:00:00", user="u5", session="s6")
)


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    desk = Desk(tmp_path / "w", raw_params)
    desk.put("a.csv", LOG)
    desk.put("b.csv.gz", gzip.compress(MORE))
    return desk


def forget(desk: Desk, *ids: str, dry: bool = False, outside: bool = False, **changes: object) -> dict[str, Any]:
    return verb.forget(desk.params(**changes), desk.paths, ids, dry=dry, raw_outside=outside)[0]


def named(desk: Desk, *texts: str) -> list[str]:
    """The files of the workspace and its home that hold one of some texts, unpacked."""
    places = []
    for folder in (desk.paths.root, desk.paths.home):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            data = path.read_bytes()
            if path.suffix == ".gz":
                data += gzip.decompress(data)
            if path.suffix == ".parquet":
                data += repr(pq.read_table(path, partitioning=None).to_pylist()).encode()
            places += [f"{path.name}: {text}" for text in texts if text.encode() in data]
    return places


def pseudonym(desk: Desk, kind: Any, name: str) -> str:
    return str(pseudonyms(pa.array([name]), load_key(desk.paths.home), kind)[0].as_py())


def from_nothing(desk: Desk, **changes: object) -> dict[str, str]:
    """The outputs of an ingest that knows the list and nothing of an earlier one."""
    shutil.rmtree(desk.paths.root / "data")
    desk.ingest(**changes)
    return desk.bytes()


def test_what_is_left_is_what_an_ingest_makes_that_knows_the_list(desk: Desk) -> None:
    before = desk.ingest().card
    report = forget(desk, "customer-3")
    assert report["unreached"] == []
    assert report["rows"] == {"events": 14, "quarantine": 3, "raw": 17}
    assert (
        named(
            desk,
            "customer-3",
            pseudonym(desk, "user", "customer-3"),
            pseudonym(desk, "session", "visit-3"),
            "visit-3",
            "two lines",
        )
        == []
    )
    after = json.loads(desk.paths.ingest_card.read_text())
    assert (before["read"], after["read"], after["forgotten"]) == (52, 35, 0)
    left = desk.bytes()
    assert from_nothing(desk) == left


def test_a_raw_parquet_file_is_read_anew_for_its_rows_have_other_numbers(desk: Desk) -> None:
    for file in desk.log.iterdir():
        file.unlink()
    names = HEADER.decode().strip().split(",")
    lines = [
        row(user="ann", session="s1"),
        row(user="bob", session="s2"),
        row(user="bob", session="s3", kind="strange"),
    ]
    table = pa.table(
        dict(zip(names, zip(*(line.decode()[:-1].split(",") for line in lines), strict=True), strict=True))
    )
    pq.write_table(table, desk.log / "a.parquet")
    assert desk.ingest().reasons() == {3: ["unknown_type"]}
    assert forget(desk, "ann")["rows"] == {"events": 1, "quarantine": 0, "raw": 1}
    assert desk.ingest().reasons() == {2: ["unknown_type"]}
    again = desk.bytes()
    assert from_nothing(desk) == again


@pytest.mark.parametrize("name", ["17", "20017", "import"])
def test_an_id_that_is_a_number_or_a_word_is_a_person_only_where_an_id_is_due(desk: Desk, name: str) -> None:
    root = desk.paths.root
    others = row(user="u2", session="s2", item=name, kind="strange")
    desk.put("a.csv", HEADER + rows(9) + row(user=name, session="") + row(user="u2", session="s2", item=name) + others)
    cut = f"2026-01-05 10:00:00,view,{name},s9\n".encode()
    desk.put("b.csv", HEADER + row(user=name, session="s2", kind="strange") + cut + row(campaign=name, kind="strange"))
    (desk.log / "b.csv.gz").unlink()
    (root / "tool.py").write_text(f"{name} = 17, 20017\n")
    (root / "reports").mkdir(exist_ok=True)
    (root / "reports/said.json").write_text(f'{{"rows": 17, "of": 20017, "import": "{name}"}}\n')
    desk.ingest()
    report = forget(desk, name)
    assert (report["rows"], report["unreached"]) == ({"events": 1, "quarantine": 2, "raw": 3}, [])
    assert any("is a number, a word or short" in note for note in report["notes"])
    raw = pq.read_table(desk.paths.quarantine / "quarantine.parquet")["raw"].to_pylist()
    assert raw == [others.decode().strip(), row(campaign=name, kind="strange").decode().strip()]
    assert name in (root / "tool.py").read_text() and name in (root / "reports/said.json").read_text()
    left = desk.bytes()
    assert from_nothing(desk) == left


def test_a_row_whose_object_names_its_user_twice_is_of_both(tmp_path: Path, raw_params: dict[str, object]) -> None:
    desk = Desk(tmp_path / "w", raw_params)
    plain = '{"event_time":"2026-01-05 10:00:00","event_type":"view","item_id":"i1","user_id":"17"'
    desk.put("a.jsonl", f'{plain}}}\n{plain},"user_id":"18"}}\n{plain.replace("17", "19")}}}\n'.encode())
    assert desk.ingest().reasons() == {2: ["double_key"]}
    assert forget(desk, "17")["rows"] == {"events": 1, "quarantine": 1, "raw": 2}
    assert named(desk, '"17"', '"18"') == []


def test_files_that_git_keeps_are_left_alone(desk: Desk) -> None:
    desk.ingest()
    root = desk.paths.root
    for name in ("kept.py", "made.py"):
        (root / name).write_text("customer-3\n")
    for words in (["init", "--quiet"], ["add", "kept.py"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    forget(desk, "customer-3")
    assert (root / "kept.py").is_file() and not (root / "made.py").exists()


@pytest.mark.parametrize("damage", [False, True])
def test_what_is_sealed_is_sealed_again_unless_it_was_damaged(desk: Desk, damage: bool) -> None:
    """Profiles that verbs leave: who is forgotten is gone from table and text, and what is left is whole."""
    desk.ingest()
    profiles = desk.paths.root / "reports/profiles"
    profiles.mkdir(parents=True)
    names = [pseudonym(desk, "user", name) for name in ("customer-3", "u5")]
    pq.write_table(pa.table({"user_id": names, "segment": [0, 1]}), profiles / "profiles.parquet")
    (profiles / "similar.json").write_text(json.dumps({"pairs": [names]}))
    (profiles / "card.json").write_text("{}")
    integrity.seal(profiles)
    if damage:
        (profiles / "card.json").write_text("[]")
    forget(desk, "customer-3")
    assert pq.read_table(profiles / "profiles.parquet")["user_id"].to_pylist() == names[1:]
    assert names[0] not in (profiles / "similar.json").read_text()
    faults = [each.path.name for each in integrity.damaged(profiles, None)]
    assert faults == (["card.json", "profiles.parquet", "similar.json"] if damage else [])


def test_of_raw_files_elsewhere_the_rows_stay_and_are_counted_as_forgotten(desk: Desk, tmp_path: Path) -> None:
    elsewhere = {"source__path": str(tmp_path / "log")}
    shutil.move(desk.log, tmp_path / "log")
    desk.ingest(**elsewhere)
    report = forget(desk, "customer-3", **elsewhere)
    assert [line.partition(": ")[2] for line in report["unreached"]] == [
        "it lies outside the repository (--rewrite-raw writes it too)"
    ] * 2
    assert "line 5, 10, 15" in report["unreached"][0]
    card = json.loads(desk.paths.ingest_card.read_text())
    assert [source["forgotten"] for source in card["sources"]] == [16, 1]
    assert card["read"] == card["accepted"] + card["quarantined"] + card["forgotten"] == 52
    left = desk.bytes()
    assert from_nothing(desk, **elsewhere) == left
    assert forget(desk, "customer-3", outside=True, **elsewhere)["unreached"] == []
    assert b"customer-3" not in (tmp_path / "log/a.csv").read_bytes()
    assert desk.ingest(**elsewhere).card["forgotten"] == 0


def test_a_file_that_comes_late_and_a_replay_bring_nobody_back(desk: Desk) -> None:
    desk.ingest()
    forget(desk, "customer-3")
    desk.put(
        "c.csv",
        HEADER + row("2026-01-09 10:00:00", user="customer-3") + row("2026-01-09 10:00:00", user="u1", kind="pdp"),
    )
    desk.put("d.csv", HEADER + b"2026-01-09 10:00:00,view,customer-3\n")
    assert desk.ingest().card["forgotten"] == 2
    assert named(desk, pseudonym(desk, "user", "customer-3")) == []
    taken = replay(desk.params(source__event_types={"pdp": "view", "strange": "view"}), desk.paths)
    assert taken["taken_in"] == 2
    assert desk.ingest(source__event_types={"pdp": "view", "strange": "view"}).card["forgotten"] == 2


def test_a_pseudonym_is_taken_too_and_only_asking_changes_nothing(desk: Desk) -> None:
    desk.ingest()
    before = desk.bytes()
    would = forget(desk, "customer-3", dry=True)
    assert desk.bytes() == before and would["dry_run"] and not (desk.paths.home / "forgotten.json").exists()
    done = forget(desk, pseudonym(desk, "user", "customer-3"))
    assert done["rows"] == would["rows"] and done["people"] == would["people"]
    assert named(desk, "customer-3", pseudonym(desk, "user", "customer-3")) == []


@pytest.mark.parametrize("step", ["in_checkout", "in_home", "unvacuumed"])
def test_cut_short_it_is_completed_by_the_next_one(desk: Desk, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.ingest()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(leftovers, step, killed)
        with pytest.raises(KeyboardInterrupt):
            forget(desk, "customer-3")
    pending = desk.paths.home / "forget.json"
    assert stat.S_IMODE(pending.stat().st_mode) == 0o600
    report = forget(desk)
    assert report["rows"]["events"] == 14 and report["unreached"] == []
    assert not pending.exists()
    assert named(desk, "customer-3", pseudonym(desk, "user", "customer-3")) == []
    with pytest.raises(UsageError, match="nobody is named"):
        forget(desk)


def test_two_at_once_are_refused_and_nothing_is_changed(desk: Desk) -> None:
    desk.ingest()
    before = desk.bytes()
    with (
        FileLock(desk.paths.home / "forget.lock"),
        pytest.raises(ClickflowError, match="another `clickflow forget` is at work"),
    ):
        verb.run(desk.params(), desk.paths, ["customer-3"], file=None, dry=False, raw_outside=False, as_json=True)
    assert desk.bytes() == before


def test_the_certificate_names_nobody_and_the_list_has_hashes_alone(desk: Desk, tmp_path: Path, capsys: Any) -> None:
    desk.ingest()
    (tmp_path / "ids.txt").write_text("customer-3\n\nu4\n")
    verb.run(desk.params(), desk.paths, [], file=tmp_path / "ids.txt", dry=False, raw_outside=False, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert len(report["people"]) == 2
    names = ["customer-3", *(pseudonym(desk, "user", name) for name in ("customer-3", "u4"))]
    certificate = Path(report["certificate"])
    listed = desk.paths.home / "forgotten.json"
    for file in (certificate, certificate.with_suffix(".txt"), listed):
        assert not [name for name in names if name in file.read_text()]
    assert stat.S_IMODE(listed.stat().st_mode) == 0o600
    day = next(thing for thing in report["removed"] if thing["thing"] == "day=2026-01-07")
    assert day["before"] and not day["after"]


def test_a_database_in_the_checkout_that_names_them_is_not_called_done(desk: Desk) -> None:
    desk.ingest()
    file = desk.paths.root / "mine.sqlite"
    with closing(sqlite3.connect(file)) as con:
        con.execute("CREATE TABLE seen (user TEXT)")
        con.execute("INSERT INTO seen VALUES ('customer-3')")
        con.commit()
    assert [line for line in forget(desk, "customer-3")["unreached"] if "mine.sqlite: a database" in line]
    file.unlink()
    assert forget(desk, "customer-3")["unreached"] == []


@pytest.mark.parametrize("name", ["mine.parquet", "mine.csv.gz", "reports/mine.zip"])
def test_what_is_damaged_and_may_name_them_is_not_called_done(desk: Desk, name: str) -> None:
    """Its bytes do not name them, what they unpack to may."""
    desk.ingest()
    file = desk.paths.root / name
    if file.suffix == ".parquet":
        ids = pa.table({"user_id": [f"customer-{number}" for number in range(900)]})
        pq.write_table(ids, file, compression="zstd", write_statistics=False, use_dictionary=False)
    elif file.suffix == ".gz":
        file.write_bytes(gzip.compress(LOG))
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", LOG)
    data = file.read_bytes()
    file.write_bytes(data[:60] + bytes(9) + data[69:])
    (left,) = forget(desk, "customer-3")["unreached"]
    assert name in left and "is damaged, or packed as nothing here unpacks it" in left
    file.unlink()
    assert forget(desk, "customer-3")["unreached"] == []


def test_a_damaged_table_that_names_them_is_removed(desk: Desk) -> None:
    """It ended the command in its midst, every time: its footer names them, and its pages cannot be read."""
    desk.ingest()
    file = desk.paths.root / "mine.parquet"
    pq.write_table(pa.table({"user_id": ["customer-3"] * 50}), file)
    data = file.read_bytes()
    file.write_bytes(data[:-30] + bytes(22) + data[-8:])
    assert b"customer-3" in data[:-30]
    report = forget(desk, "customer-3")
    assert report["unreached"] == [] and not file.exists()


def test_a_record_that_named_them_holds_the_hash_of_what_is_left(desk: Desk) -> None:
    desk.ingest()
    file = desk.paths.home / "logs/april/run.json"
    files.write_record(file, {"id": "april", "note": "asked by customer-3"})
    forget(desk, "customer-3")
    left = files.unsealed(files.read_json(file))
    assert left["id"] == "april" and "customer-3" not in left["note"]


def test_a_list_that_is_damaged_stops_the_ingest(desk: Desk) -> None:
    desk.ingest()
    forget(desk, "customer-3")
    (desk.paths.home / "forgotten.json").write_text("{")
    with pytest.raises(ClickflowError, match="the list of forgotten people, cannot be read"):
        desk.ingest()


def test_a_bit_of_the_list_that_flips_brings_nobody_back(desk: Desk) -> None:
    """A hash of another letter is the hash of somebody else."""
    desk.ingest()
    forget(desk, "customer-3")
    file, key = desk.paths.home / "forgotten.json", load_key(desk.paths.home)
    data, listed = file.read_bytes(), forgotten.load(desk.paths.home, key)
    for at in range(len(data)):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        try:
            assert forgotten.load(desk.paths.home, key) == listed, at
        except DataError as error:
            assert str(file) in str(error)
    whole = json.loads(data)
    del whole["_sha256"]
    file.write_text(json.dumps(whole))  # of a version that wrote no hash
    assert forgotten.load(desk.paths.home, key) == listed


def test_a_damaged_record_of_what_is_still_to_do_is_named(desk: Desk) -> None:
    desk.ingest()
    (desk.paths.home / "forget.json").write_text("{")
    with pytest.raises(DataError, match="has still to do, cannot be read"):
        forget(desk, "customer-3")


def test_quarantine_is_its_owner_s_alone(desk: Desk) -> None:
    (desk.paths.root / ".dvc/cache").mkdir(parents=True)
    desk.ingest()
    assert stat.S_IMODE((desk.paths.root / ".dvc/cache").stat().st_mode) == 0o700
    assert stat.S_IMODE(desk.paths.quarantine.stat().st_mode) == 0o700
    assert stat.S_IMODE((desk.paths.quarantine / "quarantine.parquet").stat().st_mode) == 0o600


def test_of_a_simulated_log_truth_has_none_of_them_either_and_stays_so(desk: Desk) -> None:
    simulated = {"source__kind": "simulator", "simulator__events": 2000, "simulator__days": 3, "simulator__items": 50}
    events = desk.ingest(**simulated).events
    user = next(name for name in events["user_id"].to_pylist() if name)
    rows = events["user_id"].to_pylist().count(user)
    assert named(desk, user)
    assert forget(desk, user, **simulated)["unreached"] == []
    assert named(desk, user) == []
    left = desk.bytes()
    assert desk.ingest(**simulated).card["forgotten"] >= rows
    assert named(desk, user) == []
    assert from_nothing(desk, **simulated) == left
