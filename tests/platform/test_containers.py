"""The stack of docker/compose.yaml, built and run for real: to a promoted model, with a container killed on the way.

Needs Podman and podman-compose, or Docker with Compose. Where `../shared/container-engine/build` is, no image can be
pulled: the images are built by it, and the stand-ins of docker/stand-in take the place of the official ones.
"""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from platform_client import Platform, small

pytestmark = pytest.mark.platform

OURS = {
    "airflow": ("docker/Dockerfile", "airflow"),
    "worker": ("docker/Dockerfile", "worker"),
    "mlflow": ("docker/mlflow.Dockerfile", "mlflow"),
}
STAND_INS = {"POSTGRES_IMAGE": "postgres", "REDIS_IMAGE": "redis", "S3_IMAGE": "s3"}
SERVICES = {
    "postgres", "redis", "s3", "repository", "mlflow", "api-server", "scheduler", "dag-processor", "triggerer",
    "worker", "trainer",
}  # fmt: skip
"""What runs in the profile `cpu`; `init` is there too, and has ended."""

TRAINING = {
    "simulator.events": 40_000,
    "models.next_step.budget.epochs": 12,
    "models.next_step.budget.patience": 12,
    "models.next_step.budget.checkpoint_seconds": 1,
}
"""Params of a run whose training takes long enough to be killed in the middle."""


def run(*words: str | Path, timeout: float = 600, **how: Any) -> str:
    """What a program prints; fails with what it said where it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=timeout, **how)
    assert done.returncode == 0, f"{' '.join(map(str, words))}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout  # type: ignore[no-any-return]


def engine() -> tuple[str, list[str]]:
    """The container engine and its compose; skips the module where there is none that works."""
    for program, compose in (("podman", ["podman-compose"]), ("docker", ["docker", "compose"])):
        if not shutil.which(program) or not shutil.which(compose[0]):
            continue
        works = subprocess.run([program, "info"], capture_output=True).returncode == 0
        if works and subprocess.run([*compose, "version"], capture_output=True).returncode == 0:
            return program, compose
    pytest.skip("no container engine: neither podman with podman-compose nor docker with compose works here")


@dataclass
class Stack(Platform):
    """The stack of a clone, under a project name of its own."""

    engine: str = ""
    compose: list[str] = field(default_factory=list)
    project: str = ""
    settings: dict[str, str] = field(default_factory=dict)

    def password(self, user: str = "admin") -> str:
        return self.settings[f"AIRFLOW_{user.upper()}_PASSWORD"]

    def do(self, *words: str, timeout: float = 600) -> str:
        """`compose …` of this stack."""
        file = str(self.clone / "docker/compose.yaml")
        return run(*self.compose, "-p", self.project, "-f", file, *words, timeout=timeout, env=self.env)

    def containers(self) -> dict[str, str]:
        """Name of the container of each service, ended ones included."""
        label = "com.docker.compose"
        format = f'{{{{index .Labels "{label}.service"}}}} {{{{.Names}}}}'
        of = f"label={label}.project={self.project}"
        lines = run(self.engine, "ps", "--all", "--filter", of, "--format", format).splitlines()
        return dict(tuple(line.split()) for line in lines)  # type: ignore[misc]

    def inspect(self, service: str) -> dict[str, Any]:
        (container,) = json.loads(run(self.engine, "inspect", self.containers()[service]))
        return dict(container)

    def inside(self, service: str, *words: str) -> str:
        """What a program prints in the container of a service."""
        return run(self.engine, "exec", self.containers()[service], *words)

    def healthy(self, service: str) -> bool:
        """Whether the service's own health check passes now; Docker asks by itself, Podman is told to."""
        if self.engine == "docker":
            return bool(self.inspect(service)["State"]["Health"]["Status"] == "healthy")
        check = [self.engine, "healthcheck", "run", self.containers()[service]]
        return subprocess.run(check, capture_output=True, timeout=60).returncode == 0

    def running(self, service: str) -> bool:
        return bool(self.inspect(service)["State"]["Running"])


@pytest.fixture(scope="module")
def stack(root: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack, started and healthy; at the end it is taken down with its volumes, and nothing may be left."""
    program, compose = engine()
    clone = tmp_path_factory.mktemp("containers") / "shop"
    run("git", "clone", "--quiet", root, clone)
    params = clone / "params.yaml"
    params.write_text(small(params.read_text(encoding="utf-8"), TRAINING), "utf-8")
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    run("git", *identity, "commit", "--quiet", "--all", "--message", "small", cwd=clone)

    run(clone / "docker/configure")
    images = build(root, clone, program)
    ports = dict(zip(("AIRFLOW", "MLFLOW", "S3"), free_ports(3), strict=True))
    chosen = {**images, **{f"CLICKFLOW_PORT_{name}": str(port) for name, port in ports.items()}}
    chosen["CLICKFLOW_UI"] = f"http://localhost:{ports['AIRFLOW']}"
    file = clone / "docker/.env"
    file.write_text("".join(f"{name}={value}\n" for name, value in {**settings_of(file), **chosen}.items()))
    # Nothing of this process decides what the stack is: variables of the environment would win over docker/.env.
    left_out = (*settings_of(file), "AWS_", "AIRFLOW", "CLICKFLOW_", "MLFLOW_", "COMPOSE_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}

    stack = Stack(clone, clone / ".clickflow", env)
    stack.engine, stack.compose, stack.project = program, compose, f"clickflow-test-{os.getpid()}"
    stack.settings = settings_of(file)
    stack.airflow = f"http://127.0.0.1:{ports['AIRFLOW']}"
    stack.mlflow = f"http://127.0.0.1:{ports['MLFLOW']}"
    try:
        stack.do("up", "-d")
        waiting = set(SERVICES)

        def all_healthy() -> bool:
            waiting.difference_update({service for service in waiting if stack.healthy(service)})
            return not waiting

        stack.until(all_healthy, 900, lambda: sorted(waiting), pause=2)
        yield stack
        if request.session.testsfailed:
            for name in stack.containers().values():
                print(f"--- {name}\n", run(program, "logs", "--tail", "40", name))
    finally:
        stack.do("down", "--volumes", timeout=300)
    left = [run(program, *words) for words in leftovers(stack.project)]
    assert not any(text.strip() for text in left), left


def build(root: Path, clone: Path, program: str) -> dict[str, str]:
    """Build the images from the clone; the settings that name them."""
    isolated = root.parent / "shared/container-engine/build"
    if isolated.exists():
        words = [isolated, "--format", "docker"]
    else:
        words = [program, "build", *(["--format", "docker"] if program == "podman" else [])]
    words = ["env", "TMPDIR=/var/tmp", *words]  # gigabytes, which are not for memory
    here = ["--build-arg", "DEBIAN=debian:bookworm-slim"] if isolated.exists() else []  # made there, with other bytes
    named = {}
    for name, (file, target) in OURS.items():
        named[f"CLICKFLOW_{name.upper()}_IMAGE"] = image = f"localhost/clickflow-test-{name}:latest"
        run(*words, *here, "--quiet", "--target", target, "--tag", image, "--file", clone / file, clone, timeout=1200)  # type: ignore[arg-type]
    for variable, name in STAND_INS.items() if isolated.exists() else ():
        named[variable] = image = f"localhost/clickflow-test-{name}:latest"
        run(*words, "--quiet", "--target", name, "--tag", image, "--file", clone / "docker/stand-in/Dockerfile", clone)  # type: ignore[arg-type]
    return named


def settings_of(file: Path) -> dict[str, str]:
    """The variables of an .env file."""
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def leftovers(project: str) -> list[list[str]]:
    """Commands that list what a stack has left behind."""
    return [
        ["ps", "--all", "--quiet", "--filter", f"name={project}"],
        ["volume", "ls", "--quiet", "--filter", f"name={project}"],
        ["network", "ls", "--quiet", "--filter", f"name={project}"],
    ]


def answer(url: str, login: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    credentials = base64.b64encode(login.encode()).decode()
    with opener.open(
        urllib.request.Request(url, headers={"Authorization": f"Basic {credentials}"}), timeout=30
    ) as response:
        return json.loads(response.read())


@pytest.mark.timeout(3600)  # the images are built in it
def test_a_run_ends_in_a_champion_although_its_trainer_is_killed(stack: Stack) -> None:
    stack.until(lambda: stack.get("/dags/retrain")["is_paused"] is not None, 120)
    stack.request("PATCH", "/dags/retrain", {"is_paused": False})
    started = stack.trigger("retrain", {"note": "in containers"})

    def trained_a_while() -> bool:
        checkpoints = stack.inside("trainer", "find", "/srv/clickflow/home/checkpoints", "-name", "*.json")
        return bool(checkpoints.strip())

    stack.wait_for_task("retrain", started, "train.next_step", "running", timeout=900)
    stack.until(trained_a_while, 300, lambda: stack.states("retrain", started), pause=0.2)
    before = stack.inspect("trainer")["State"]["StartedAt"]
    run(stack.engine, "kill", "--signal", "KILL", stack.containers()["trainer"])
    killed = time.monotonic()
    assert stack.states("retrain", started)["train.next_step"] == "running"
    if not stack.running("trainer"):  # a container that was killed by hand is not always started again by the engine
        run(stack.engine, "start", stack.containers()["trainer"])
    assert stack.inspect("trainer")["State"]["StartedAt"] != before

    assert stack.wait("retrain", started, timeout=1500) == "success", stack.states("retrain", started)
    print(f"from the kill to the end of the run: {time.monotonic() - killed:.0f} s")
    tasks = stack.tasks("retrain", started)
    assert tasks["train.next_step"]["try_number"] == 2
    assert tasks["train.next_step"]["queue"] == "gpu"
    assert {tasks[name]["queue"] for name in ("ingest", "promote")} == {"default"}
    log = stack.log("retrain", started, "train.next_step", 2)
    assert re.search(r"checkpoint|continu|resum", log), log[-2000:]

    alias = "/api/2.0/mlflow/registered-models/alias?name=next_step&alias=champion"
    alias_answer = answer(stack.mlflow + alias, f"reader:{stack.settings['MLFLOW_READER_PASSWORD']}")
    assert alias_answer["model_version"]["version"] == "1"
    ledger = stack.inside("worker", "cat", "/srv/clickflow/home/ledger.jsonl").splitlines()
    assert [json.loads(line)["action"] for line in ledger] == ["promote"]


@pytest.mark.timeout(300)
def test_the_run_comes_back_to_the_checkout_with_its_model(stack: Stack, tmp_path: Path) -> None:
    """From the repository's container the commit, from the bucket the bytes."""
    clone = stack.clone
    there = f"ext::{stack.engine} exec -i {stack.containers()['worker']} %S /srv/clickflow/repository.git"
    run("git", "-c", "protocol.ext.allow=always", "fetch", "--quiet", there, "refs/runs/*:refs/runs/*", cwd=clone)
    (reference,) = run("git", "for-each-ref", "--format=%(refname)", "refs/runs", cwd=clone).split()
    folder = tmp_path / "back"
    run("git", "clone", "--quiet", clone, folder)
    run("git", "fetch", "--quiet", "origin", reference, cwd=folder)
    run("git", "checkout", "--quiet", "FETCH_HEAD", cwd=folder)
    keys = {name: stack.settings[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    env = {
        **os.environ,
        **keys,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{stack.settings['CLICKFLOW_PORT_S3']}",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    dvc = (sys.executable, "-m", "dvc")
    run(*dvc, "remote", "add", "--local", "--default", "stack", "s3://dvc", cwd=folder, env=env)
    run(*dvc, "pull", "--quiet", "models/next_step/exported", cwd=folder, env=env)
    assert (folder / "models/next_step/exported/model.onnx").stat().st_size > 0


def test_a_commit_of_the_checkout_is_live(stack: Stack) -> None:
    def version() -> str:
        return str(stack.get("/dags/retrain")["bundle_version"])

    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    run("git", *identity, "commit", "--quiet", "--allow-empty", "--message", "another", cwd=stack.clone)
    head = run("git", "rev-parse", "HEAD", cwd=stack.clone).strip()
    stack.until(lambda: version() == head, 90, version)


def test_no_process_is_root_or_may_become_it_and_ports_are_on_loopback(stack: Stack) -> None:
    for service in sorted(SERVICES):
        container = stack.inspect(service)
        status = Path(f"/proc/{container['State']['Pid']}/status").read_text()
        says = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
        assert "0" not in says["Uid"].split(), (service, says["Uid"])
        assert {int(says[kind], 16) for kind in ("CapEff", "CapPrm", "CapBnd")} == {0}, service
        assert says["NoNewPrivs"] == "1", service
        assert container["HostConfig"]["ReadonlyRootfs"], service
        assert container["HostConfig"]["Memory"], service
        ports = container["HostConfig"]["PortBindings"] or {}
        assert {one["HostIp"] for bindings in ports.values() for one in bindings or ()} <= {"127.0.0.1"}, service


def test_a_worker_holds_no_key_of_airflow(stack: Stack) -> None:
    """Neither in its own variables nor in those of a task's process."""
    names = ("AIRFLOW_JWT_SECRET", "AIRFLOW_SECRET_KEY", "AIRFLOW_FERNET_KEY", "AIRFLOW_DATABASE_PASSWORD")
    look = "cat /proc/[0-9]*/environ"
    for service in ("worker", "trainer"):
        seen = stack.inside(service, "sh", "-c", look + " 2>/dev/null || true")
        assert stack.settings["REDIS_PASSWORD"] in seen
        assert not [name for name in names if stack.settings[name] in seen], service


def test_workers_reach_no_database(stack: Stack) -> None:
    lookup = "import socket; socket.getaddrinfo('{}', 5432)"
    stack.inside("api-server", "python", "-c", lookup.format("postgres"))
    for service in ("worker", "trainer"):
        with pytest.raises(AssertionError, match="gaierror"):
            stack.inside(service, "python", "-c", lookup.format("postgres"))


def test_images_hold_no_secret_and_airflows_no_torch(stack: Stack) -> None:
    secrets = [value for name, value in stack.settings.items() if re.search(r"PASSWORD|SECRET|_KEY", name)]
    assert len(secrets) == 17 and all(secrets)
    for name in OURS:
        image = stack.settings[f"CLICKFLOW_{name.upper()}_IMAGE"]
        (description,) = json.loads(run(stack.engine, "image", "inspect", image))
        text = json.dumps(description) + run(stack.engine, "history", "--no-trunc", image)
        assert not [secret for secret in secrets if secret in text]
        assert not re.search(r"(?i)(password|secret|token)[a-z_]*=|index-url|://[^/\s]*@", text), name
        assert description["Config"]["User"] == "clickflow"
        print(f"{name}: {description['Size'] / 1e6:.0f} MB")
    for service, there in (("api-server", "False"), ("worker", "True")):
        code = "import importlib.util as u; print(u.find_spec('torch') is not None)"
        assert stack.inside(service, "python", "-c", code).strip() == there
