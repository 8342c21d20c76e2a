"""docker/compose.yaml as written: what each service may take, become, write and know. No engine is needed."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

GB = 1 << 30
UNITS = {"m": 1 << 20, "g": GB}

TRAINER = {
    "MLFLOW_WRITER_PASSWORD",
    "REDIS_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "CLICKFLOW_NOTICES",
}

SECRETS = {
    "postgres": {"POSTGRES_PASSWORD", "AIRFLOW_DATABASE_PASSWORD", "MLFLOW_DATABASE_PASSWORD"},
    "redis": {"REDIS_PASSWORD"},
    "s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "repository": set(),
    "init": {"AIRFLOW_DATABASE_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_ADMIN_PASSWORD"},
    "api-server": {
        "AIRFLOW_DATABASE_PASSWORD",
        "AIRFLOW_FERNET_KEY",
        "AIRFLOW_JWT_SECRET",
        "AIRFLOW_SECRET_KEY",
        "AIRFLOW_ADMIN_PASSWORD",
    },
    "scheduler": {"AIRFLOW_DATABASE_PASSWORD", "AIRFLOW_FERNET_KEY", "AIRFLOW_JWT_SECRET", "REDIS_PASSWORD"},
    "dag-processor": {"AIRFLOW_DATABASE_PASSWORD", "AIRFLOW_FERNET_KEY", "CLICKFLOW_NOTICES"},
    "triggerer": {"AIRFLOW_DATABASE_PASSWORD", "AIRFLOW_FERNET_KEY"},
    "worker": {
        "MLFLOW_WRITER_PASSWORD",
        "MLFLOW_PROMOTER_PASSWORD",
        "CLICKFLOW_LEDGER_KEY",
        "REDIS_PASSWORD",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "CLICKFLOW_NOTICES",
        "CLICKFLOW_SQL_URL",
    },
    "trainer": TRAINER,
    "serving": {"CLICKFLOW_SERVING_KEY", "MLFLOW_READER_PASSWORD"},
    "prometheus": {"CLICKFLOW_SERVING_KEY"},
    "grafana": {"GRAFANA_ADMIN_PASSWORD"},
    "trainer-gpu": TRAINER,
    "mlflow": {
        "MLFLOW_DATABASE_PASSWORD",
        "MLFLOW_ADMIN_PASSWORD",
        "MLFLOW_PROMOTER_PASSWORD",
        "MLFLOW_WRITER_PASSWORD",
        "MLFLOW_READER_PASSWORD",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    },
}
"""Which variables of .env each service is given, of those that are secret. A new service, or a secret more, is a
decision: Airflow 3.3.2 signs a task's token where it is scheduled and checks it in the API server, and nothing but what
opens its database needs the Fernet key.
"""


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, Any]:
    """The services with anchors merged; variables stand as they are written."""
    content: dict[str, Any] = yaml.safe_load((root / "docker/compose.yaml").read_text(encoding="utf-8"))["services"]
    return content


@pytest.fixture(scope="module")
def example(root: Path) -> dict[str, str]:
    """The variables of .env.example, those in comments too."""
    text = (root / "docker/.env.example").read_text(encoding="utf-8")
    return dict(re.findall(r"^#?([A-Z_0-9]+)=(.*)$", text, re.MULTILINE))


def filled(text: str, values: dict[str, str]) -> str:
    """With `${NAME:-default}` replaced."""
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda match: values.get(match[1]) or match[2] or "", text)


@pytest.mark.parametrize(("profile", "most"), [("cpu", 8), ("gpu", 13)])
@pytest.mark.parametrize("by_env", [True, False], ids=["env", "defaults"])
def test_the_limits_of_a_profile_add_up_to_what_is_promised(
    services: dict[str, Any], example: dict[str, str], profile: str, most: int, by_env: bool
) -> None:
    limits = {}
    for name, service in services.items():
        if profile in service.get("profiles", [profile]):
            text = filled(service["deploy"]["resources"]["limits"]["memory"], example if by_env else {})
            limits[name] = int(text[:-1]) * UNITS[text[-1]]
    own = {"serving", "prometheus", "grafana"}
    assert services.keys() - limits.keys() == {*own, "trainer-gpu" if profile == "cpu" else "trainer"}
    assert 4 * GB < sum(limits.values()) <= most * GB, limits


def test_no_service_is_root_or_may_become_it_or_writes_outside_its_volumes(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True and "/tmp" in service["tmpfs"], name
        assert not {"privileged", "pid", "ipc"} & service.keys(), name
        ours = "build" in service and name != "s3"  # whose Dockerfile names a user
        assert ours or service["user"] not in ("root", "0", "0:0"), name


def test_images_that_are_built_here_name_a_user(root: Path) -> None:
    for file in ("Dockerfile", "mlflow.Dockerfile", "s3.Dockerfile"):
        users = re.findall(r"^USER (\S+)", (root / "docker" / file).read_text(encoding="utf-8"), re.MULTILINE)
        assert users and users[-1] in ("clickflow", "10001:10001"), file


def test_images_that_are_pulled_are_held_to_bytes_alike_everywhere(
    root: Path, services: dict[str, Any], example: dict[str, str]
) -> None:
    """A version's tag may be pushed again; `python scripts/images.py` renews what stands here."""
    pulled = {name: service["image"] for name, service in services.items() if "build" not in service}
    pulled["rclone"] = services["s3"]["build"]["args"]["RCLONE"]
    assert set(pulled) == {"postgres", "redis", "rclone", "prometheus", "grafana"}
    for name, image in pulled.items():
        assert re.search(r":v?\d+\.\d+(\.\d+)?@sha256:[0-9a-f]{64}$", filled(image, {})), (name, image)
        assert filled(image, {}) == filled(image, example), name
    assert filled(pulled["rclone"], {}) in (root / "docker/s3.Dockerfile").read_text(encoding="utf-8")


def test_every_image_that_is_built_here_starts_from_bytes(
    root: Path, services: dict[str, Any], example: dict[str, str]
) -> None:
    bases = {
        filled(service["build"].get("args", {}).get("DEBIAN", ""), {})
        for service in services.values()
        if "build" in service
    }
    assert bases - {""} == {example["DEBIAN_IMAGE"]} and "@sha256:" in example["DEBIAN_IMAGE"]
    for name in ("Dockerfile", "mlflow.Dockerfile", "s3.Dockerfile"):
        text = (root / "docker" / name).read_text(encoding="utf-8")
        arguments = dict(re.findall(r"^ARG (DEBIAN|RCLONE)=(\S+)$", text, re.MULTILINE))
        assert set(arguments.values()) <= {example["DEBIAN_IMAGE"], example["RCLONE_IMAGE"]}, name
        stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.MULTILINE))
        outside = set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) - stages
        assert outside == {f"${{{argument}}}" for argument in arguments}, (name, outside)


def test_each_service_is_given_the_secrets_that_it_uses_and_no_other(
    services: dict[str, Any], example: dict[str, str]
) -> None:
    secret = {name for name in example if re.search(r"PASSWORD|SECRET|FERNET|_KEY|NOTICES|SQL_URL", name)}
    assert secret == set().union(*SECRETS.values())
    given = {
        name: {variable for variable in secret if re.search(rf"\$\{{{variable}\b", yaml.safe_dump(service))}
        for name, service in services.items()
    }
    assert given == SECRETS


def test_what_is_published_is_on_loopback(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_who_monitors_reaches_what_serves_alone_and_writes_no_file_of_the_checkout(
    root: Path, services: dict[str, Any]
) -> None:
    assert {name for name, service in services.items() if "monitoring" in service.get("networks", [])} == {
        "serving",
        "prometheus",
        "grafana",
    }
    for name in ("prometheus", "grafana"):
        assert services[name]["networks"] == ["monitoring"], name
        mounts = [mount.split(":") for mount in services[name]["volumes"] if mount.startswith("./")]
        assert mounts and all(mount[2:] == ["ro"] and (root / "docker" / mount[0]).is_file() for mount in mounts), name


@pytest.mark.skipif(not shutil.which("prometheus"), reason="no Prometheus here: apt-get install prometheus")
def test_prometheus_of_the_profile_gets_a_configuration_that_it_takes(
    root: Path, services: dict[str, Any], tmp_path: Path
) -> None:
    """Its command as it stands, with a `prometheus` that only checks what it is given."""
    (script,) = services["prometheus"]["command"]
    script = script.replace("$$", "$").replace("/etc/clickflow", str(root / "docker/monitoring"))
    script = script.replace("/tmp/", f"{tmp_path}/")
    script = re.sub(r"exec /bin/prometheus --config.file=(\S+).*", r"exec promtool check config \1", script)
    key = "k" * 43
    subprocess.run(["sh", "-euc", script], env={"PATH": os.environ["PATH"], "CLICKFLOW_SERVING_KEY": key}, check=True)
    jobs = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["scrape_configs"]
    assert jobs[0]["static_configs"] == [{"targets": ["serving:8600"]}]
    assert (tmp_path / jobs[0]["authorization"]["credentials_file"]).read_text() == key


def test_who_trains_cannot_write_the_repository(services: dict[str, Any]) -> None:
    for name, service in services.items():
        mounts = [mount for mount in service.get("volumes", []) if mount.startswith("repository:")]
        if name.startswith("trainer"):
            assert mounts and all(mount.endswith(":ro") for mount in mounts), name


def test_every_package_of_an_image_has_its_hashes(root: Path) -> None:
    """After a change of constraints.txt: scripts/hashes.sh."""
    pins = set(re.findall(r"^([a-z0-9-]+==\S+)", (root / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE))
    hashed: dict[str, int] = {}
    for name in ("hashes.txt", "hashes-cuda.txt"):
        text = (root / "docker" / name).read_text(encoding="utf-8")
        assert "://" not in text, "a host has no business there"
        for block in re.split(r"\n(?=\S)", text.strip()):
            hashed[block.split()[0]] = block.count("--hash=sha256:")
    assert set(hashed) == pins
    assert all(hashed.values())
    for name in ("Dockerfile", "mlflow.Dockerfile"):
        text = (root / "docker" / name).read_text(encoding="utf-8")
        assert "--require-hashes" in text and text.count("/build/hashes.txt") >= 3, name
