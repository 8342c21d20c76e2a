"""The platform and its variables: ports, services, executors, notices, variables that nothing reads."""

import difflib
import os
import re
import socket

from clickflow.doctor.finding import Finding, fault, warning, well
from clickflow.platform import health, processes, settings, state, supervisor
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths

VARIABLES = {
    "CLICKFLOW_HOME": "state of this machine",
    "CLICKFLOW_REPOSITORY": "the git repository of the runs",
    "CLICKFLOW_DVC_REMOTE": "where the bytes of runs go",
    "CLICKFLOW_NOTICES": "whom to tell",
    "CLICKFLOW_UI": "address of Airflow's UI, for links",
    "CLICKFLOW_EXECUTOR": "what runs the tasks of `clickflow up`",
    "CLICKFLOW_PORT_AIRFLOW": "its port",
    "CLICKFLOW_PORT_MLFLOW": "its port",
    "CLICKFLOW_PORT_SERVING": "its port",
    "CLICKFLOW_DATABASE_URL": "Airflow's database",
    "CLICKFLOW_BROKER_URL": "Celery's broker",
    "CLICKFLOW_PARALLELISM": "tasks at once",
    "CLICKFLOW_GPU_WORKERS": "workers for training on this machine",
    "CLICKFLOW_GPU_SLOTS": "trainings at once, here and elsewhere",
    "CLICKFLOW_START_SECONDS": "how long the platform may take to start",
    "CLICKFLOW_USERS": "who may sign in",
    "CLICKFLOW_API_URL": "the Airflow that a worker elsewhere belongs to",
    "CLICKFLOW_JWT_SECRET": "what such a worker signs with",
    "CLICKFLOW_SERVING_KEY": "a key of `clickflow serve`, beside those that it has made",
    "CLICKFLOW_PSEUDONYM_KEY": "the key of user pseudonyms",
    "CLICKFLOW_LEDGER_KEY": "the key that signs the ledger's lines, of who promotes",
    "CLICKFLOW_LEDGER_PUBLIC_KEY": "the keys that may have signed them, instead of the home's ledger.pub",
    "CLICKFLOW_PROMOTER_PASSWORD": "MLflow's password of user promoter, of who promotes",
    "CLICKFLOW_SQL_URL": "the shop's database",
    "CLICKFLOW_SCORE_URL": "the database that `clickflow score --sql` writes to",
    "CLICKFLOW_ACTOR": "who acts, in the ledger",
    "CLICKFLOW_MLFLOW_UI": "MLflow's address for people, in links to reports",
    "CLICKFLOW_SOURCE_ROOTS": "of a run: the folders below which its source may lie; set by the run itself",
    "CLICKFLOW_DEBUG": "set: an error of clickflow itself shows its traceback, beside the file that keeps it",
    "CLICKFLOW_PERSON": "whose run it is: who acts, in the ledger, before CLICKFLOW_ACTOR",
    "CLICKFLOW_UNATTENDED": "nobody answers approvals",
    "CLICKFLOW_SHOP_DATA": "data of the tests",
    "CLICKFLOW_RUN_ID": "set for a stage",
    "CLICKFLOW_DAG_RUN": "set for a stage",
    "CLICKFLOW_COMMIT": "set for a stage",
    "CLICKFLOW_CHECKPOINT_REMOTE": "set for a stage: where its checkpoints travel",
    "CLICKFLOW_PLATFORM": "set by `clickflow up`",
    "CLICKFLOW_SERVICE": "set by `clickflow up`",
}
"""Every variable that is read, docker/.env's own left out."""

FAMILIES = r"CLICKFLOW_EXECUTOR_[A-Z0-9_]+"
"""Names that are made of another name: the executor of a queue."""


def variables(paths: Paths) -> list[Finding]:
    """CLICKFLOW_… that nothing reads: a slip of the pen that would go unnoticed."""
    said = sorted(name for name in os.environ if name.startswith("CLICKFLOW_"))
    findings = []
    for name in said:
        if name in VARIABLES or re.fullmatch(FAMILIES, name):
            continue
        near = difflib.get_close_matches(name, VARIABLES, n=1)
        mend = f"did you mean {near[0]}?" if near else "unset it; docs/howto/platform.md lists them"
        findings.append(warning("variables", f"{name} is set, and nothing reads it", mend))
    try:
        settings.read(paths)
    except ClickflowError as error:
        findings.append(fault("variables", error.what, error.next_step))
    return findings or [well("variables", ", ".join(said) or "none set: defaults")]


def platform(paths: Paths) -> list[Finding]:
    """Its services where it runs; the ports it would take where it does not."""
    try:
        chosen = settings.read(paths)
    except ClickflowError:
        return []  # `variables` has said it
    if supervisor.running(chosen):
        try:
            started = state.load(paths)
        except ClickflowError as error:
            return [fault("platform", error.what, error.next_step)]
        lines = health.services(started.settings, started.ports)
        sick = [f"{line.name} {line.words}" for line in lines if not line.healthy]
        if sick:
            return [fault("platform", ", ".join(sick), f"logs: {chosen.logs}; `clickflow up` starts what has ended")]
        return [well("platform", f"runs, {sum(line.memory for line in lines) / 2**30:.1f} GB")]
    findings = []
    if left := processes.ours(chosen.folder):
        shown = ", ".join(str(process.id) for process in left)
        findings.append(warning("platform", f"it does not run, but left processes: {shown}", "clickflow down"))
    wanted = {
        "CLICKFLOW_PORT_AIRFLOW": chosen.port_airflow,
        "CLICKFLOW_PORT_MLFLOW": chosen.port_mlflow,
        "CLICKFLOW_PORT_SERVING": chosen.port_serving,
    }
    for name, port in wanted.items():
        if port and not _free(port):
            who = processes.holder(port)
            words = f"{port} is in use{f' by {who}' if who else ''}"
            findings.append(warning("ports", words, f"`clickflow up` needs another: {name}={port + 1}, or 0 for any"))
    return findings or [well("platform", "does not run; its ports are free; start it: clickflow up")]


def notices(paths: Paths) -> list[Finding]:
    """Whom failures are told."""
    said = [part for part in os.environ.get("CLICKFLOW_NOTICES", "").split(",") if part.strip()]
    if not said:
        words = f"nobody is told of failures; they stand in {paths.home}/notices.jsonl"
        return [well("notices", words + "; CLICKFLOW_NOTICES sends them on")]
    import apprise

    wrong = sum(not apprise.Apprise().add(address.strip()) for address in said)
    if wrong:
        mend = "docs/howto/notices.md; addresses are written as Apprise's: slack://…, mailto://…"
        return [fault("notices", f"{wrong} of {len(said)} addresses in CLICKFLOW_NOTICES are not understood", mend)]
    return [well("notices", f"{len(said)} addresses")]


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.HOST, port))
        except OSError:
            return False
        return True
