"""airflow.cfg and supervisord.conf of the platform. Both hold secrets or lead to them: mode 0600, in the platform's
folder. Airflow reads its own from AIRFLOW_HOME, so that no secret stands in the environment of a stage.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickflow.platform import keys, processes
from clickflow.platform.settings import HOST, Settings
from clickflow.system.process import NO_TELEMETRY
from clickflow.tracking.mlflow_client import PROMOTER

LOG_BYTES, LOG_COPIES = "10MB", 3
"""A service's log is rotated at this size; so many old ones are kept."""


@dataclass(frozen=True)
class Ports:
    """The ports that were taken."""

    airflow: int
    mlflow: int
    serving: int = 8600

    @property
    def airflow_url(self) -> str:
        """The UI and the REST API."""
        return f"http://{HOST}:{self.airflow}"

    @property
    def mlflow_url(self) -> str:
        """MLflow's UI, and what tasks use as tracking URI."""
        return f"http://{HOST}:{self.mlflow}"

    @property
    def serving_url(self) -> str:
        """Where the champions answer."""
        return f"http://{HOST}:{self.serving}"


@dataclass(frozen=True)
class Program:
    """A service: its command, what else it sees, how long it may take to end, and where it runs (None: the platform's
    folder).
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    patience: int
    order: int
    folder: Path | None = None


EXECUTORS = {
    "edge": "LocalExecutor,airflow.providers.edge3.executors.EdgeExecutor",
    "local": "LocalExecutor",
    "celery": "CeleryExecutor",
}


WORKERS = {
    "max_failed_heartbeats": "20",
    "execution_api_retries": "10",
    "execution_api_timeout": "30.0",
    "execution_api_retry_wait_max": "8.0",
}
"""A task outlives an API server that is being restarted, or that a busy machine lets wait."""

TOKENS = {"jwt_leeway": "60"}
"""Seconds that a request of a worker may be on its way, and that two clocks may differ by."""

EDGE = {"job_poll_interval": "1", "heartbeat_interval": "5"}

EDGE_PATIENCE = {"AIRFLOW__EDGE__API_RETRIES": "100", "AIRFLOW__EDGE__API_RETRY_WAIT_MAX": "5"}
"""An Edge worker asks an API server that does not answer again every few seconds, instead of after minutes."""


def airflow(settings: Settings, ports: Ports) -> dict[str, dict[str, str]]:
    """airflow.cfg, by section."""
    secret = keys.secret(settings.folder)
    logs = settings.home / "logs/airflow"
    sections = {
        "core": {
            "executor": EXECUTORS[settings.executor],
            "parallelism": str(settings.parallelism),
            "dags_folder": str(settings.root / "dags"),
            "load_examples": "False",
            "dags_are_paused_at_creation": "False",
            "fernet_key": secret["fernet"],
            "execution_api_server_url": f"{ports.airflow_url}/execution/",
            "hostname_callable": "socket.gethostname",
            "simple_auth_manager_users": ",".join(f"{user}:{role}" for user, role in settings.users.items()),
            "simple_auth_manager_passwords_file": str(settings.folder / keys.PASSWORDS),
        },
        "database": {"sql_alchemy_conn": settings.database},
        "api": {
            "host": HOST,
            "port": str(ports.airflow),
            "base_url": ports.airflow_url,
            "secret_key": secret["session"],
            "instance_name": "clickflow",
            "workers": "1",
        },
        # Tokens of people and tasks are signed with a key that no worker has: its secret opens the Edge API alone.
        "api_auth": {"jwt_private_key_path": str(keys.signing_key(settings.folder)), **TOKENS},
        # A killed scheduler's tasks are taken over within a minute.
        "scheduler": {
            "scheduler_idle_sleep_time": "0.2",
            "scheduler_heartbeat_sec": "3",
            "job_heartbeat_sec": "3",
            "scheduler_health_check_threshold": "15",
            "orphaned_tasks_check_interval": "10",
            # Longer than an API server takes to come back on a busy machine: no task can be heard meanwhile. A Celery
            # worker that is killed takes its tasks with it, and nothing else tells of that.
            "task_instance_heartbeat_timeout": "30" if settings.executor == "celery" else "90",
            "task_instance_heartbeat_timeout_detection_interval": "5",
            # A broker that lost a message never delivers it; an Edge worker that is off for the night comes back.
            "task_queued_timeout": "120" if settings.executor == "celery" else "86400",
            "task_queued_timeout_check_interval": "15",
        },
        "workers": WORKERS,
        "dag_processor": {
            "parsing_processes": "1",
            "refresh_interval": "15",
            "min_file_process_interval": "60",
        },
        "triggerer": {"capacity": "100", "job_heartbeat_sec": "3"},
        "logging": {
            "base_log_folder": str(logs),
            "dag_processor_child_process_log_directory": str(logs / "dag_processor"),
            "colored_console_log": "False",
            "file_task_handler_new_folder_permissions": "0o750",
            "file_task_handler_new_file_permissions": "0o640",
        },
        "usage_data_collection": {"enabled": "False"},
    }
    if settings.executor == "edge":
        sections["api_auth"]["jwt_secret"] = secret["jwt"]
        sections["edge"] = _edge(ports.airflow_url)
    if settings.executor == "celery":
        sections["celery"] = {
            "broker_url": settings.broker,
            "result_backend": "db+" + settings.database.replace("+psycopg2", ""),
            "worker_concurrency": str(settings.parallelism),
            "worker_prefetch_multiplier": "1",
        }
        sections["celery_broker_transport_options"] = {"visibility_timeout": "86400"}
    return sections


def edge_worker(url: str, secret: str, *, root: Path, logs: Path) -> dict[str, dict[str, str]]:
    """airflow.cfg of an Edge worker, which knows the address of the API server, its own secret, and nothing else."""
    return {
        "core": {
            "executor": EXECUTORS["edge"],
            "dags_folder": str(root / "dags"),
            "load_examples": "False",
            "execution_api_server_url": f"{url}/execution/",
            "hostname_callable": "socket.gethostname",
        },
        "api_auth": {"jwt_secret": secret, **TOKENS},
        "workers": WORKERS,
        "edge": _edge(url),
        "logging": {"base_log_folder": str(logs), "colored_console_log": "False"},
        "usage_data_collection": {"enabled": "False"},
    }


def _edge(url: str) -> dict[str, str]:
    return {"api_enabled": "True", "api_url": f"{url}/edge_worker/v1/rpcapi", **EDGE}


def programs(settings: Settings, ports: Ports) -> list[Program]:
    """The services, in the order of their start."""
    home = settings.home
    python = [sys.executable, "-m"]
    store = f"sqlite:///{home / 'mlflow.db'}"
    artifacts = home / "mlartifacts"
    mlflow = [*python, "clickflow.platform.mlflow_login", "--tracking", store]
    mlflow += ["--artifacts", artifacts.as_uri(), "--users", f"sqlite:///{settings.folder / 'mlflow_users.db'}"]
    mlflow += ["--passwords", str(settings.folder / keys.MLFLOW), "--settings", str(settings.folder / "mlflow.ini")]
    mlflow += ["--", *python, "mlflow", "server", "--app-name", "basic-auth", "--host", HOST]
    mlflow += ["--port", str(ports.mlflow), "--workers", "1"]
    mlflow += ["--backend-store-uri", store, "--default-artifact-root", str(artifacts)]
    writer = _login(settings, "writer")
    both = {**writer, PROMOTER: keys.password(settings.folder, "promoter", keys.MLFLOW)} if writer else {}
    airflow = [*python, "airflow"]
    serve = [*python, "clickflow.cli", "serve", "--host", HOST, "--port", str(ports.serving)]
    services = [
        Program("mlflow", mlflow, {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, 10, 1),
        Program("api-server", [*airflow, "api-server", "--worker-timeout", "10"], {}, 15, 2),
        Program("scheduler", [*airflow, "scheduler", "--skip-serve-logs"], both, 10, 3),
        Program("dag-processor", [*airflow, "dag-processor"], {}, 10, 3),
        Program("triggerer", [*airflow, "triggerer", "--skip-serve-logs"], {}, 10, 3),
        # Champions that the home lacks it fetches from the registry, where it may look and no more.
        Program("serving", serve, _login(settings, "reader"), 20, 4, settings.root),
    ]
    if settings.executor == "edge":
        for number in range(settings.gpu_workers):
            name = "worker-gpu" if settings.gpu_workers == 1 else f"worker-gpu-{number}"
            words = ["clickflow.airflow.edge", "--queue", "gpu", "--name", name]
            # The task logs lie where the API server reads them: pushing would write them twice.
            env = {"AIRFLOW__EDGE__PUSH_LOGS": "False", **EDGE_PATIENCE, **writer}
            env["AIRFLOW_HOME"] = str(worker_home(settings, name))
            if settings.gpus and settings.gpu_workers > 1:
                env["CUDA_VISIBLE_DEVICES"] = str(number % settings.gpus)
            services.append(Program(name, [*python, *words], env, 40, 4))
    if settings.executor == "celery":
        for queue, slots in {"default": settings.parallelism, "gpu": settings.gpu_workers}.items():
            if not slots:
                continue
            name = f"worker-{queue}"
            words = ["celery", "worker", "-q", queue, "-c", str(slots), "-H", f"{name}@%h", "--skip-serve-logs"]
            words += ["--without-mingle", "--without-gossip"]
            pid = str(settings.folder / f"{name}.pid")
            login = both if queue == "default" else writer
            services.append(Program(name, [*airflow, *words, "--pid", pid], login, 40, 4))
    return services


def _login(settings: Settings, user: str) -> dict[str, str]:
    """What MLflow's client reads, for the platform's own server; another server's is the caller's to give."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return {}
    password = keys.password(settings.folder, user, keys.MLFLOW)
    return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}


def environment(settings: Settings, ports: Ports) -> dict[str, str]:
    """What every service sees, and so every task and stage."""
    # Read before Airflow's own settings where both are there: what stands in airflow.cfg must not be overruled.
    ours = {
        f"AIRFLOW__{section}__{key}".upper() for section, options in airflow(settings, ports).items() for key in options
    }
    stale = {processes.PLATFORM, processes.SERVICE, "PYTHONDONTWRITEBYTECODE", "AIRFLOW_HOME", "AIRFLOW_CONFIG"}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in stale and name.removesuffix("_CMD").removesuffix("_SECRET") not in ours
    }
    local = ["127.0.0.1", "localhost"]
    proxy = ",".join(dict.fromkeys([*filter(None, kept.get("NO_PROXY", kept.get("no_proxy", "")).split(",")), *local]))
    env = {
        **kept,
        processes.PLATFORM: str(settings.folder),
        "SPT_NOENV": "1",  # a process that sets its title must leave its environment readable: `processes` needs it
        "AIRFLOW_HOME": str(settings.folder / "airflow"),
        "CLICKFLOW_HOME": str(settings.home),
        "CLICKFLOW_REPOSITORY": kept.get("CLICKFLOW_REPOSITORY") or str(settings.root),
        "CLICKFLOW_UI": kept.get("CLICKFLOW_UI") or ports.airflow_url,
        "MLFLOW_TRACKING_URI": kept.get("MLFLOW_TRACKING_URI") or ports.mlflow_url,
        "NO_PROXY": proxy,
        "no_proxy": proxy,
        **NO_TELEMETRY,
        "PYTHONUNBUFFERED": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }
    if settings.executor == "edge":
        env.setdefault("CLICKFLOW_EXECUTOR_GPU", "EdgeExecutor")
    return env


def write(settings: Settings, ports: Ports) -> Path:
    """Write both files; the path of supervisord.conf."""
    home = settings.folder / "airflow"
    keys.write_private(home / "airflow.cfg", ini(airflow(settings, ports)))
    if settings.executor == "edge":
        logs, secret = settings.home / "logs/airflow", keys.secret(settings.folder)["jwt"]
        worker = ini(edge_worker(ports.airflow_url, secret, root=settings.root, logs=logs))
        for program in programs(settings, ports):
            if program.name.startswith("worker-"):
                keys.write_private(worker_home(settings, program.name) / "airflow.cfg", worker)
    supervised = settings.folder / "supervisord.conf"
    keys.write_private(supervised, ini(_supervisor(settings, ports)))
    return supervised


def worker_home(settings: Settings, name: str) -> Path:
    """The AIRFLOW_HOME of an Edge worker of the platform: the services' own is not its to read."""
    return settings.folder / "workers" / name


def socket(settings: Settings) -> Path:
    """The supervisor's socket: in the platform's folder, or where that path is too long for one, in /tmp."""
    file = settings.folder / "supervisor.sock"
    if len(os.fsencode(file)) < 90:
        return file
    from hashlib import sha256

    return Path(f"/tmp/clickflow-{os.getuid()}-{sha256(os.fsencode(file)).hexdigest()[:16]}/supervisor.sock")


def _supervisor(settings: Settings, ports: Ports) -> dict[str, dict[str, str]]:
    folder = settings.folder
    sections: dict[str, dict[str, str]] = {
        "unix_http_server": {"file": str(socket(settings)), "chmod": "0700"},
        "supervisord": {
            "nodaemon": "true",
            "logfile": str(settings.logs / "supervisor.log"),
            "logfile_maxbytes": LOG_BYTES,
            "logfile_backups": str(LOG_COPIES),
            "pidfile": str(folder / "supervisord.pid"),
            "childlogdir": str(settings.logs),
            "directory": str(folder),
            "identifier": "clickflow",
            **({"user": "root"} if os.getuid() == 0 else {}),
        },
        "rpcinterface:supervisor": {
            "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
        },
    }
    launch = [sys.executable, "-m", "clickflow.platform.launch"]
    for program in programs(settings, ports):
        sections[f"program:{program.name}"] = {
            "command": " ".join(_quoted(word) for word in [*launch, program.name, "--", *program.command]),
            "environment": ",".join(f'{name}="{value}"' for name, value in program.environment.items()),
            "priority": str(program.order),
            **({"directory": str(program.folder)} if program.folder else {}),
            "autorestart": "true",
            "startsecs": "5",
            "startretries": "60",  # half an hour of them: a disk that was full has room again, a port is free
            "stopwaitsecs": str(program.patience),
            "redirect_stderr": "true",
            "stdout_logfile": str(settings.logs / f"{program.name}.log"),
            "stdout_logfile_maxbytes": LOG_BYTES,
            "stdout_logfile_backups": str(LOG_COPIES),
        }
    return sections


def _quoted(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if set(word) & set(" \"'\\;#") else word


def ini(sections: Mapping[str, Mapping[str, str]]) -> str:
    """The text of a configuration file."""
    lines = ["# Written by `clickflow up` at every start."]
    for section, options in sections.items():
        lines += ["", f"[{section}]", *(f"{key} = {value.replace('%', '%%')}" for key, value in options.items())]
    return "\n".join(lines) + "\n"
