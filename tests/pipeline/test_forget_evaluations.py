"""Rows of an evaluation tell of visits: of every head, wherever they are kept, they go with the person."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

import mlflow_database
from clickflow.heads import outputs
from clickflow.params.file import load
from clickflow.privacy import canonical, experiments, objects
from clickflow.privacy.people import People, Person
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client, registered_models


def test_rows_of_all_heads_leave_mlflow(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKFLOW_HOME", str(tmp_path / "home"))
    paths, params = Paths(tmp_path), load(root / "params.yaml")
    mlflow_database.empty_into(paths.home)
    store = mlflow_client.connect(params, paths)
    run = store.client.create_run(mlflow_client.experiment(store, "registry"), tags={"data_sha256": "d"}).info.run_id
    for name in outputs.evidence():
        parquet.write_table(pa.table({"sequence": [0, 1, 1, 2]}), tmp_path / name)
        store.client.log_artifact(run, str(tmp_path / name), registered_models.EVALUATION)

    page = tmp_path / "index.html"
    page.write_text("<td>user_id=PSEUDONYM-01</td><td>user_id=PSEUDONYM-02</td>", encoding="utf-8")
    docs = store.client.create_run(mlflow_client.experiment(store, "reports")).info.run_id
    store.client.log_artifact(docs, str(page), "data_docs")

    who = People((Person("ada", "PSEUDONYM-01"),), b"k" * 32)
    gone = list(experiments.clean(params, paths, who, {"d": experiments.StoreMatch(("ada",), (1,))}))

    assert sorted(each.rows for each in gone) == [1, *[2] * len(outputs.evidence())]
    kept = store.client.download_artifacts(docs, "data_docs/index.html", str(tmp_path))
    assert Path(kept).read_text(encoding="utf-8") == "<td>user_id=(forgotten)</td><td>user_id=PSEUDONYM-02</td>"
    for name in outputs.evidence():
        kept = store.client.download_artifacts(run, f"{registered_models.EVALUATION}/{name}", str(tmp_path))
        assert parquet.read_table(kept)["sequence"].to_pylist() == [0, 2]


@pytest.mark.parametrize("name", outputs.evidence())
def test_an_evaluation_of_any_head_goes_whole(tmp_path: Path, name: str) -> None:
    lists = {"e.dir": [{"relpath": name, "md5": "rows"}, {"relpath": "report.html", "md5": "report"}]}
    doomed = objects._with_folders({"report": "names a person"}, lists, str(tmp_path), tmp_path)
    assert {"rows", "report", "e.dir"} <= doomed.keys()


@pytest.mark.parametrize("packing", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
def test_a_file_packed_in_any_way_is_written_again_as_it_was(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "histories.parquet"
    parquet.write_table(pa.table({"user_id": ["PSEUDONYM-01", "PSEUDONYM-02"]}), path, compression=packing)
    before = parquet.read_metadata(path).row_group(0).column(0).compression

    assert canonical.without(path, People((Person("ada", "PSEUDONYM-01"),), b"k" * 32)) == 1
    assert parquet.read_table(path)["user_id"].to_pylist() == ["PSEUDONYM-02"]
    assert parquet.read_metadata(path).row_group(0).column(0).compression == before
