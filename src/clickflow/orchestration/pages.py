"""The pages of a run (reports, decisions, Data Docs) where people can open them: in MLflow, before anybody decides.

A path says nothing to whoever sits elsewhere, and a task's workspace is gone when the task is done.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from clickflow.orchestration import runs, workspace
from clickflow.orchestration.workspace import Run
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths
from clickflow.system.process import Say

REPORT, DECISION, DATA_DOCS = "report.html", "decision.html", "data_docs"


def titles(models: Iterable[str]) -> dict[str, str]:
    """The pages that a run of these models has, and what a link to each says."""
    by_path: dict[str, str] = {}
    for model in models:
        by_path |= {f"{model}/{REPORT}": f"Report of {model}", f"{model}/{DECISION}": f"Gate on {model}"}
    return {**by_path, DATA_DOCS: "Data Docs"}


def of_results(run: Run, models: Iterable[str], say: Say) -> dict[str, str]:
    """Publish the pages among the results of a recorded run; the link of each by its name."""
    paths = Paths(run.folder)
    files = {DATA_DOCS: paths.root / "reports/data_docs"}
    for model in models:
        files[f"{model}/{REPORT}"] = paths.evaluation(model) / REPORT
        files[f"{model}/{DECISION}"] = paths.gate(model) / DECISION
    return publish(run, {name: file for name, file in files.items() if file.exists()}, say)


def publish(run: Run, files: Mapping[str, Path], say: Say) -> dict[str, str]:
    """Log files in MLflow under their names; the link of each. Without a server, or where it fails, there is none.

    Nothing rests on a link: the run goes on, and the task's log says why there is none.
    """
    if not files:
        return {}
    try:
        folder = workspace.create(run, "publish", {})
        try:
            words = [f"{name}={file}" for name, file in files.items()]
            said = json.loads(runs.verb(run, folder, ["publish", *words], say).stdout)
        finally:
            workspace.remove(folder)
        links = {str(name): str(link) for name, link in said["links"].items()}
        why = str(said["why"])
    except (ClickflowError, ValueError, KeyError) as error:
        links, why = {}, str(error)
    for name, link in links.items():
        say(f"{name}: {link}")
    if not links:
        say(f"no page of this run is in MLflow: {why}")
    return links


def markdown(links: Mapping[str, str], models: Iterable[str]) -> str:
    """The links of these models' pages on one line; empty where there is none."""
    return " · ".join(f"[{title}]({links[name]})" for name, title in titles(models).items() if name in links)
