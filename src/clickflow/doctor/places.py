"""What runs read from and write to: the commit, the DVC remote, the MLflow registry."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from clickflow.doctor.finding import Finding, fault, warning, well
from clickflow.orchestration import dvc_storage, repository
from clickflow.params.file import load
from clickflow.system.errors import ClickflowError
from clickflow.system.paths import Paths
from clickflow.system.process import git
from clickflow.tracking import mlflow_client

SECONDS = 120.0
"""How long another machine may take to answer."""


def commit(paths: Paths) -> list[Finding]:
    """The commit that a run would be of, and what it would leave out."""
    origin = os.environ.get("CLICKFLOW_REPOSITORY") or str(paths.root)
    shown = repository.shown(origin)
    if not repository.is_checkout(origin):
        try:
            listed = git(Path.cwd(), "ls-remote", origin, "HEAD")
        except ClickflowError as error:
            mend = "`git ls-remote` must answer; CLICKFLOW_REPOSITORY names it, SSH keys or a token in the URL open it"
            return [fault("commit", f"{shown} does not answer: {repository.shown(error.what)}", mend)]
        if not listed.strip():
            return [fault("commit", f"{shown} has no commit", "push one")]
        return [well("commit", f"{listed.split()[0][:10]} of {shown}")]
    try:
        head = git(Path(origin), "log", "-1", "--format=%h %s").strip()
    except ClickflowError as error:
        return [fault("commit", error.what, "runs work on commits: git init, git add, git commit, or clone")]
    if changed := [line[3:] for line in git(Path(origin), "status", "--porcelain").splitlines()]:
        listed = ", ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")
        return [warning("commit", f"{head}; not in it: {listed}", "git commit, where a run should have it")]
    return [well("commit", head)]


def params(paths: Paths) -> list[Finding]:
    """params.yaml."""
    try:
        load(paths.params)
    except ClickflowError as error:
        return [
            fault("params.yaml", error.what, error.next_step or "correct it; docs/reference/params.md has them all")
        ]
    return [well("params.yaml", "valid")]


_PROBE = """
import json, os, sys, uuid
from dvc.repo import Repo
odb = Repo(sys.argv[1]).cloud.get_remote_odb()
name = odb.fs.join(odb.path, f".clickflow-doctor-{uuid.uuid4().hex}")
odb.fs.makedirs(odb.path, exist_ok=True)
odb.fs.pipe_file(name, b"clickflow")
try:
    assert odb.fs.cat_file(name) == b"clickflow", "what was written is not what is read"
finally:
    odb.fs.remove(name)
"""


def remote(paths: Paths) -> list[Finding]:
    """The DVC remote: a small object is written, read and removed again."""
    origin = os.environ.get("CLICKFLOW_REPOSITORY") or str(paths.root)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / ".dvc").mkdir()
        git(folder, "init", "--quiet")
        own = Path(origin) / ".dvc/config"
        settings = own.read_text(encoding="utf-8") if own.is_file() else ""
        (folder / ".dvc/config").write_text(settings, encoding="utf-8")
        try:
            dvc_storage.configure(folder, origin, paths.home)
        except ClickflowError as error:
            return [fault("dvc remote", error.what, error.next_step)]
        url, name = _chosen(folder)
        env = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / "site")}
        command = [sys.executable, "-W", "ignore", "-c", _PROBE, str(folder)]
        try:
            done = subprocess.run(
                command, cwd=folder, env=env, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            return [fault("dvc remote", f"{url} does not answer within {SECONDS:.0f} s", _mend(url))]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1][:200]
        return [fault("dvc remote", f"{url} cannot be written: {last}", _mend(url))]
    return [well("dvc remote", f"{url} ({name}): written, read, removed")]


def _chosen(folder: Path) -> tuple[str, str]:
    import configparser

    config = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    config.read([folder / ".dvc/config.local"], encoding="utf-8")
    name = config.get("core", "remote", fallback="").strip("\"'")
    section = next((known for known in config.sections() if f'remote "{name}"' in known), "")
    return repository.shown(config.get(section, "url", fallback="?").strip("\"'")), name


def _mend(url: str) -> str:
    kind = url.partition("://")[0] if "://" in url else ""
    if kind == "s3":
        return (
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT_URL where it is not Amazon's; make development"
        )
    if kind == "ssh":
        return "`ssh` to that host must work without a password, and the folder be writable; make development"
    return "the folder must exist on this machine and be writable; CLICKFLOW_DVC_REMOTE names another"


_START_MLFLOW = "start that server, or name another: MLFLOW_TRACKING_URI, registry.mlflow_uri in params.yaml"

_ASK_MLFLOW = """
import json, sys
from pathlib import Path
from clickflow.system.errors import ClickflowError
from clickflow.params.file import load
from clickflow.system.paths import Paths
from clickflow.tracking import mlflow_client
paths = Paths(Path(sys.argv[1]))
try:
    mlflow_client.connect(load(paths.params), paths)
    print(json.dumps({}))
except ClickflowError as error:
    print(json.dumps({"fault": error.what, "mend": error.next_step}))
"""


def mlflow(paths: Paths) -> list[Finding]:
    """The registry. It takes seconds to load, in a process of its own."""
    try:
        read = load(paths.params)
    except ClickflowError:
        return []  # `params` has said it
    shown = mlflow_client.without_password(mlflow_client.uri_of(read, paths))
    if mlflow_client.untouched(read, paths):
        return [well("mlflow", f"{shown}: not opened yet; the first run makes it")]
    command = [sys.executable, "-W", "ignore", "-c", _ASK_MLFLOW, str(paths.root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return [fault("mlflow", f"{shown}: no answer within {SECONDS:.0f} s", _START_MLFLOW)]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return [fault("mlflow", last[:200], "make environment; registry.mlflow_uri in params.yaml")]
    said = json.loads(done.stdout.splitlines()[-1])
    if "fault" in said:
        return [fault("mlflow", said["fault"], said["mend"])]
    return [well("mlflow", f"{shown}: answers")]
