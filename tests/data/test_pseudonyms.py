"""Ids are replaced by keyed pseudonyms everywhere, and the key stays a secret."""

import base64
import gzip
import hashlib
import shutil
import sqlite3
import stat
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingest_setup import HEADER, Desk, row

from clickflow.events.pseudonyms import key_name, load_key, pseudonyms
from clickflow.system import integrity
from clickflow.system.errors import DataError, UsageError

KEY = "a key for tests, long enough"


@pytest.fixture
def desk(tmp_path: Path, raw_params: dict[str, object]) -> Desk:
    return Desk(tmp_path / "w", raw_params)


def test_it_is_blake2b_in_base64url() -> None:
    key = hashlib.blake2b(b"key").digest()
    ids = ["541312140", "", None, "ü", "541312140"]
    texts = pseudonyms(pa.array(ids), key, "user").to_pylist()
    for text, pseudonym in zip(ids, texts, strict=True):
        if text is None:
            assert pseudonym is None
        else:
            hashed = hashlib.blake2b(text.encode(), key=key, digest_size=9, person=b"clickflow user").digest()
            assert pseudonym == base64.urlsafe_b64encode(hashed).decode()
    assert set(texts).isdisjoint(pseudonyms(pa.array(ids[:2]), key, "session").to_pylist())
    assert pseudonyms(pa.nulls(3, pa.string()), key, "user").to_pylist() == [None] * 3


def test_many_ids_have_as_many_pseudonyms() -> None:
    ids = pa.array([str(number) for number in range(100_000)])
    assert len(pseudonyms(ids, b"k" * 32, "session").unique()) == 100_000


def test_the_same_key_gives_the_same_events_and_another_key_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    desk.put("a.csv", HEADER + row() + row(user="u2", session="") + row(user="", session="s2"))
    monkeypatch.setenv("CLICKFLOW_PSEUDONYM_KEY", KEY)
    first = desk.ingest().events
    assert desk.ingest().events.equals(first)
    assert "another pseudonym" not in capfd.readouterr().err
    monkeypatch.setenv("CLICKFLOW_PSEUDONYM_KEY", KEY + "!")
    other = desk.ingest().events
    assert "warning: the events were made under the pseudonym key" in capfd.readouterr().err
    assert other.num_rows == 3
    for column in ("user_id", "session_id"):
        assert set(first[column].drop_null().to_pylist()).isdisjoint(other[column].to_pylist())
    assert other["item_id"].equals(first["item_id"])


def test_no_id_and_no_key_in_any_output(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CLICKFLOW_PSEUDONYM_KEY", KEY)
    lines = [row(user=f"anna{n}@shop.example", session=f"secret-session-{n}") for n in range(50)]
    desk.put("a.csv.gz", gzip.compress(HEADER + b"".join(lines)))
    outcome = desk.ingest()
    outputs = [p for folder in ("data", "reports") for p in (desk.paths.root / folder).rglob("*") if p.is_file()]
    content = [repr(pq.read_table(p, partitioning=None).to_pydict()) for p in outputs if p.suffix == ".parquet"]
    content += [p.read_bytes().decode(errors="replace") for p in outputs]
    content += [*capfd.readouterr(), repr(outcome.card)]
    everything = "\n".join(content)
    for secret in ("shop.example", "secret-session", KEY, load_key(desk.paths.home).hex()):
        assert secret not in everything
    assert len(outcome.events["user_id"].unique()) == 50


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    load_key(tmp_path)
    file = tmp_path / "pseudonym.key"
    file.write_bytes(b"\xb6" + file.read_bytes()[1:])
    with pytest.raises(UsageError, match=r"pseudonym\.key is not text any more"):
        load_key(tmp_path)


def test_what_a_killed_ingest_had_ready_goes_to_no_other_place(desk: Desk) -> None:
    desk.put("a.csv", HEADER + row())
    desk.ingest()
    ready = desk.paths.root / "data/.ingest"
    for text in ('{"events": "data/eventr"}', '{"events": "../elsewhere"}', '{"events": 5}', "[]", "{", ""):
        (ready / "events").mkdir(parents=True)
        (ready / "journal.json").write_text(text)
        with pytest.raises(DataError, match=r"journal\.json has changed"):
            desk.ingest()
        shutil.rmtree(ready)
    assert desk.ingest().events.num_rows == 1


def test_a_remembered_hash_that_has_changed_accuses_no_file(desk: Desk) -> None:
    desk.put("a.csv", HEADER + row())
    paths = desk.ingest().paths
    time.sleep(0.06)  # what is younger is not remembered
    integrity.verify(paths.events, home=paths.home)
    with sqlite3.connect(paths.home / integrity.CACHE) as remembered:
        assert remembered.execute("UPDATE hashes SET sha256 = '-' || substr(sha256, 2)").rowcount > 0
    integrity.verify(paths.events, home=paths.home)


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    key = load_key(tmp_path / "home")
    path = tmp_path / "home" / "pseudonym.key"
    stderr = capfd.readouterr().err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in stderr.replace("\n", "")
    assert path.read_text().strip() not in stderr
    assert load_key(tmp_path / "home") == key
    assert capfd.readouterr().err == ""
    assert load_key(tmp_path / "other") != key
    assert key_name(key) not in (key.hex(), path.read_text().strip())


def test_a_short_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKFLOW_PSEUDONYM_KEY", "short")
    with pytest.raises(UsageError, match="shorter than 16"):
        load_key(tmp_path)
