"""`clickflow tune` from outside: it finds what is better, goes on where it was killed, and leaves nothing behind."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

import mlflow_database
from clickflow.cli import guarded
from clickflow.params.file import load
from clickflow.sequences.card import read_card
from clickflow.system import integrity
from clickflow.system.errors import ClickflowError, UsageError
from clickflow.tuning import space, study, tune


def run(paths, **options):
    values = {"minutes": 5.0, "trials": 6, "jobs": 2, "fresh": False, "apply": False, "as_json": True, **options}
    tune.run(load(paths.params), paths, "next_step", **values)


def printed(capsys):
    return json.loads(capsys.readouterr().out)


def rows(report: str | Path):
    with (Path(report) / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


SLOW = {
    "models.next_step.optimiser.learning_rate": 1.0e-6,
    "models.next_step.optimiser.embedding_learning_rate": 1.0e-6,
}
"""Params with which nothing is learned."""


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_a_bad_setting_is_found_out_and_mended_and_mlflow_has_it_all(shop, capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    paths = shop(SLOW)
    mlflow_database.empty_into(paths.home)
    before = paths.params.read_text(encoding="utf-8")
    run(paths, trials=4)
    summary = printed(capsys)
    assert summary["trials"] == {"finished": 4}
    assert summary["best"]["valid"]["next_item"] < summary["present"]["valid"]["next_item"] - 0.1
    assert summary["best"]["params"]["optimiser.learning_rate"] > 1e-5
    assert "models.next_step.optimiser.learning_rate" in summary["changes"]
    assert paths.params.read_text(encoding="utf-8") == before, "only --apply writes"
    assert not summary["applied"]

    report = Path(summary["report"])
    assert sorted(path.name for path in report.iterdir()) == [
        "best.yaml",
        "history.png",
        "importance.png",
        "trials.csv",
    ]
    assert sum(summary["importance"].values()) == pytest.approx(1)
    table = rows(report)
    assert [row["trial"] for row in table] == ["0", "1", "2", "3"]
    assert table[0]["optimiser.learning_rate"] == "1e-06", "the present params come first"
    settings = [(row["optimiser.learning_rate"], row["optimiser.embedding_learning_rate"]) for row in table]
    assert len(set(settings)) == 4, "two at once never try the same"
    best = yaml.safe_load((report / "best.yaml").read_text(encoding="utf-8"))
    assert best["models.next_step.encoder.attention"] == summary["best"]["params"]["encoder.attention"]

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{paths.home}/mlflow.db")
    experiment = client.get_experiment_by_name("tuning").experiment_id
    every = client.search_runs([experiment])
    (parent,) = [one for one in every if "mlflow.parentRunId" not in one.data.tags]
    children = [one for one in every if one.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == 4
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best/next_item"] == pytest.approx(summary["best"]["valid"]["next_item"])
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"trials.csv", "history.png"}
    for child in children:
        assert child.data.tags["clickflow.outcome"] == "finished"
        row = table[int(child.data.tags["clickflow.trial"])]
        assert child.data.params["optimiser.learning_rate"] == row["optimiser.learning_rate"]
        assert len(client.get_metric_history(child.info.run_id, "valid/next_item")) == 3

    # what was found can be shown again, and applied, without another trial
    run(paths, minutes=0, as_json=False)
    stdout = capsys.readouterr().out
    assert "nothing: the present params" in stdout
    assert "on data that nobody has seen the gain will be smaller" in stdout
    assert "-      learning_rate: 1.0e-06" in stdout
    assert "--minutes 0 --apply" in stdout
    run(paths, minutes=0, apply=True)
    again = printed(capsys)
    assert again["applied"]
    assert again["trials"] == {"finished": 4}
    after = load(paths.params)
    assert after.models["next_step"].optimiser.learning_rate == summary["best"]["params"]["optimiser.learning_rate"]
    assert paths.params.read_text(encoding="utf-8").startswith("# a comment at the top\n")
    # the params that were applied are a trial of the same study, which goes on
    run(paths, minutes=0)
    assert printed(capsys)["changes"] == {}


def trials_of(home: Path) -> dict[int, tuple[str, float | None]]:
    """Number to state and value of every trial, read beside Optuna."""
    (file,) = home.glob("tuning/next_step/*/study.db")
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10) as database:
        query = "select t.number, t.state, v.value from trials t left join trial_values v on v.trial_id = t.trial_id"
        return {number: (state, value) for number, state, value in database.execute(query)}


def settings_of(home: Path) -> dict[int, str]:
    (file,) = home.glob("tuning/next_step/*/study.db")
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10) as database:
        query = (
            "select t.number, a.value_json from trials t join trial_user_attributes a on a.trial_id = t.trial_id "
            "where a.key = 'setting'"
        )
        return dict(database.execute(query).fetchall())


def begun(paths, *words):
    command = [sys.executable, "-m", "clickflow.cli", "tune", "next_step", *words]
    return subprocess.Popen(
        command, cwd=paths.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def gone(find, folder) -> bool:
    deadline = time.monotonic() + 120
    while find(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    return not find(folder)


@pytest.mark.usefixtures("quick")  # the command that is killed is a process of its own, with a real trial
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_mid_trial_it_goes_on_with_what_it_had(shop, capsys, processes, how):
    paths = shop()
    run(paths, trials=1)
    capsys.readouterr()
    child = begun(paths, "--jobs", "1", "--minutes", "10")
    deadline = time.monotonic() + 120
    while not processes(paths.home) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes(paths.home)
    os.killpg(child.pid, how)
    _, rest = child.communicate(timeout=200)
    if how == signal.SIGINT:
        assert child.returncode == 130
        assert "The same command goes on" in rest
    assert gone(processes, paths.home), "no process is left behind"

    before = trials_of(paths.home)
    finished = {number: state for number, state in before.items() if state[0] == "COMPLETE"}
    assert finished
    cut = [
        n
        for n, (state, _) in before.items()
        if state == "RUNNING" or (state == "FAIL" and n in settings_of(paths.home))
    ]
    assert cut
    again = [settings_of(paths.home)[number] for number in cut if number in settings_of(paths.home)]

    run(paths, trials=1)
    stderr = capsys.readouterr().err
    assert f"{len(finished)} trials of it are kept" in stderr
    after = trials_of(paths.home)
    assert {number: after[number] for number in finished} == finished
    assert "RUNNING" not in {state for state, _ in after.values()}
    late = [setting for number, setting in settings_of(paths.home).items() if number > max(cut)]
    assert set(again) <= set(late), "what was cut short is tried again"
    done = [setting for n, setting in settings_of(paths.home).items() if after[n][0] == "COMPLETE"]
    assert len(done) == len(set(done)) == len(finished) + 1


def test_the_time_is_kept_and_what_it_cuts_short_is_said(shop, capsys, processes):
    paths = shop()
    with pytest.raises(ClickflowError, match="no trial of next_step was finished"):
        run(paths, minutes=0.01, trials=None)
    assert "unfinished trials will be tried again" in capsys.readouterr().err
    assert gone(processes, paths.home)


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_a_trial_that_others_surpass_is_stopped_and_marked(shop, capsys, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    # one at a time: the second learns nothing, and is worse than the first after two epochs
    nothing = {"choices": [1.0e-6]}
    space = {"optimiser.learning_rate": nothing, "optimiser.embedding_learning_rate": nothing}
    longer = {"models.next_step.budget.epochs": 5, "models.next_step.budget.patience": 5}
    paths = shop(longer, pruning="halving", space={"*": space})
    mlflow_database.empty_into(paths.home)
    run(paths, trials=2, jobs=1)
    summary = printed(capsys)
    assert summary["trials"] == {"finished": 1, "pruned": 1}
    assert summary["best"]["trial"] == summary["present"]["trial"] == 0, "tried, though the space does not have it"
    assert summary["diff"] == ""
    first, second = rows(summary["report"])
    assert (first["outcome"], first["epochs"]) == ("finished", "5")
    assert (second["outcome"], second["epochs"]) == ("pruned", "2")
    assert second["why"].startswith("after epoch 2, at ")

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{paths.home}/mlflow.db")
    (marked,) = client.search_runs(
        [client.get_experiment_by_name("tuning").experiment_id], "tags.`clickflow.outcome` = 'pruned'"
    )
    assert marked.data.tags["clickflow.trial"] == "1"
    assert marked.info.status == "KILLED"


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_all_of_a_small_space_is_tried_but_what_the_model_refuses(shop, capsys):
    kinds = {"encoder.kind": {"choices": ["attention"]}, "encoder.layers": {"choices": [1, 2]}}
    run(shop(space={"*": kinds}), trials=None)
    output = capsys.readouterr()
    assert "the space is exhausted" in output.err
    summary = json.loads(output.out)
    tried = {(row["encoder.kind"], row["encoder.layers"]) for row in rows(summary["report"])}
    assert tried == {("gru", "1"), ("attention", "1")}, "the present params, and all but attention of two layers"
    assert summary["trials"] == {"finished": 2}


@pytest.mark.usefixtures("small")
def test_a_trial_that_fails_costs_only_itself_and_so_does_a_server_that_is_not_there(shop, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    # 52 GB of weights in one piece: more than a trial may have on a machine of any size
    paths = shop(space={"*": {"encoder.units": {"choices": [16, 65_536]}}})
    run(paths, trials=2, jobs=1)
    output = capsys.readouterr()
    summary = json.loads(output.out)
    assert summary["trials"] == {"failed": 1, "finished": 1}
    (failed,) = [row for row in rows(summary["report"]) if row["outcome"] == "failed"]
    assert "allocate memory" in failed["why"]
    assert f"trial {failed['trial']}: failed: " in output.err
    assert output.err.count("tuning goes on without it") == 1


@pytest.mark.usefixtures("quick")
def test_a_fault_of_all_trials_ends_it_with_their_words(shop, monkeypatch):
    monkeypatch.setattr("clickflow.tuning.search.FRUITLESS", 1)
    paths = shop()
    (paths.sequences("session") / "train/item.npy").write_bytes(b"rotten")
    integrity.seal(paths.sequences("session"))
    with pytest.raises(ClickflowError, match=r"1 trials failed and none succeeded; trial 0: .*item\.npy"):
        run(paths, trials=None, jobs=1)


def only_open(paths, **options):
    """Open the study and leave it: nothing is trained."""
    with pytest.raises(ClickflowError, match="no trial of next_step was finished"):
        run(paths, minutes=0, **options)


def test_other_data_or_another_space_begins_a_new_study(shop, capsys):
    only_open(shop())
    only_open(shop())
    assert "a new study begins" not in capsys.readouterr().err
    only_open(shop(data=5))
    assert "a new study begins, for the data changed" in capsys.readouterr().err
    paths = shop(data=5, space={"next_step": {"encoder.dropout": {"low": 0.0, "high": 0.5}}})
    only_open(paths)
    assert "for the space and other params changed" in capsys.readouterr().err
    only_open(
        shop({"models.next_step.encoder.dropout": 0.1}, data=5, space={"*": {"encoder.dropout": {"choices": [0]}}})
    )
    assert "for the space changed" in capsys.readouterr().err, "what is tuned may change without another study"
    only_open(paths, fresh=True)
    assert "put aside" in capsys.readouterr().err
    assert len(list((paths.home / "tuning/next_step").glob("*/study.db"))) == 5


def test_a_second_one_on_the_same_study_is_refused(shop, capsys):
    paths = shop()
    params = load(paths.params)
    data = read_card(paths.sequences("session")).sha256
    with (
        study.opened(paths.home, params, space.of(params, "next_step"), data, fresh=False, say=print),
        pytest.raises(UsageError, match="another `clickflow tune next_step` works on the same study"),
    ):
        run(paths)


def test_a_damaged_study_is_said_and_can_be_put_aside(shop, capsys):
    paths = shop()
    only_open(paths)
    (storage,) = paths.home.glob("tuning/next_step/*/study.db")
    storage.write_bytes(b"no database" * 1000)
    with pytest.raises(ClickflowError, match="cannot be read or written") as caught:
        run(paths)
    assert "--fresh" in caught.value.next_step
    only_open(paths, fresh=True)


def test_without_a_store_nothing_starts(shop, capsys):
    import shutil

    paths = shop()
    shutil.rmtree(paths.sequences("session"))
    with pytest.raises(SystemExit) as ended:
        guarded(lambda: run(paths))
    assert ended.value.code == 3
    assert not (paths.home / "tuning").exists()


@pytest.mark.usefixtures("quick")
def test_a_model_of_hand_made_features_is_tuned_too(shop, capsys):
    paths = shop({})
    raw = yaml.safe_load(paths.params.read_text(encoding="utf-8"))
    raw["models"]["next_step"] = {"unit": "session", "kind": "boosting", "heads": {"next_action": {}}}
    raw["models"]["next_step"]["boosting"] = {"trees": 3, "learning_rate": 0.3}
    del raw["tuning"]["space"]
    raw["tuning"] |= {"objective": "next_action", "epochs": 2}
    paths.params.write_text(yaml.safe_dump(raw), encoding="utf-8")
    params = load(paths.params)
    assert set(space.of(params, "next_step").tuned) == {
        "boosting.leaves",
        "boosting.learning_rate",
        "boosting.min_rows",
    }
    run(paths, trials=2, jobs=1)
    summary = printed(capsys)
    assert summary["trials"] == {"finished": 2}
    assert summary["best"]["valid"]["next_action"] <= summary["present"]["valid"]["next_action"]
