"""Objects that hold a person go from a remote behind a URL as from a folder; what cannot be reached is said."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3
from small_shop import commit, dvc

from clickflow.privacy import objects
from clickflow.privacy.people import People, Person

pytestmark = pytest.mark.timeout(300)

SOMEBODY = People((Person("h" * 32, "somebody-1-x", sessions=frozenset(["their-visit-"])),), b"k" * 64)


def push(shop: Path, remote: str) -> None:
    """A folder of three files, one of which holds the person, tracked by DVC and pushed."""
    data = shop / "data/raw/log"
    data.mkdir()
    pq.write_table(pa.table({"user_id": ["somebody-1-x", "somebody-2-x"]}), data / "a.parquet", compression="zstd")
    pq.write_table(pa.table({"user_id": ["somebody-2-x"] * 5}), data / "b.parquet")
    (data / "c.csv").write_text("nobody\n")
    dvc(shop, "remote", "add", "--default", "store", remote)
    dvc(shop, "add", "--quiet", "data/raw/log")
    dvc(shop, "push", "--quiet", "data/raw/log.dvc")
    commit(shop, "tracked")


def forget(shop: Path, home: Path) -> tuple[dict[str, str], list[str], dict[str, set[str]]]:
    home.mkdir()
    stores, unreached = objects.stores(str(shop), home)
    doomed, unread = objects.search(stores, SOMEBODY, str(shop), home)
    for store in stores:
        for name in doomed:
            store.remove(name)
    return doomed, unreached + unread, {store.name: set(store.names()) for store in stores}


def held(shop: Path, folder: Path) -> None:
    """One object goes, from every place; the list of the folder stays, for a .dvc file names it."""
    doomed, unreached, left = forget(shop, folder / "home")
    assert unreached == []
    assert list(doomed.values()) == ["names a person"]
    assert len(left) == 2 and len({frozenset(names) for names in left.values()}) == 1
    for names in left.values():
        assert len(names) == 3 and sum(name.endswith(".dir") for name in names) == 1


def test_a_folder(shop: Path, tmp_path: Path) -> None:
    push(shop, str(tmp_path / "remote"))
    held(shop, tmp_path)


def test_a_remote_that_does_not_answer_is_said_to_be_out_of_reach(shop: Path, tmp_path: Path) -> None:
    push(shop, str(tmp_path / "remote"))
    dvc(shop, "remote", "add", "away", "ssh://127.0.0.1:9/store")
    _, unreached, _ = forget(shop, tmp_path / "home")
    assert len(unreached) == 1 and unreached[0].startswith("the DVC remote ssh://127.0.0.1:9/store: ")


@pytest.mark.platform
def test_a_bucket(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3.served(tmp_path / "buckets", "shop") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        push(shop, "s3://shop/clickflow")
        held(shop, tmp_path)
        assert len([path for path in (tmp_path / "buckets/shop").rglob("*") if path.is_file()]) == 3
