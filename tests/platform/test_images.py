"""scripts/images.py against a real registry on loopback: tags are held to bytes, and a tag that moves is noticed."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from servers import port

pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(not shutil.which("docker-registry"), reason="no registry here: apt-get install docker-registry"),
]
MANIFEST, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Tokens(BaseHTTPRequestHandler):
    """Where anybody gets a token for what they ask, as of a public registry: signed, for that name alone."""

    key = rsa.generate_private_key(65537, 2048)

    def do_GET(self) -> None:
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        kind, name, actions = query["scope"].split(":")
        now = int(time.time())
        claims = {
            "iss": "tests",
            "aud": query["service"],
            "sub": "",
            "iat": now,
            "nbf": now - 5,
            "exp": now + 300,
            "jti": "1",
        }
        claims["access"] = [{"type": kind, "name": name, "actions": actions.split(",")}]
        chain = base64.b64encode(certificate(self.key).public_bytes(serialization.Encoding.DER)).decode()
        body = json.dumps({"token": jwt.encode(claims, self.key, algorithm="RS256", headers={"x5c": [chain]})}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@cache
def certificate(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    return built.sign(key, hashes.SHA256())


class Registry:
    """Debian's, and what is pushed to it."""

    def __init__(self, number: int) -> None:
        self.host = f"127.0.0.1:{number}"

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "", token: str = "") -> Any:
        url = path if path.startswith("http") else f"http://{self.host}/v2/{path}"
        headers = {"Content-Type": kind or "application/octet-stream"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return OPENER.open(urllib.request.Request(url, body, headers, method=method), timeout=30)

    def push(self, name: str, tag: str, mark: str) -> str:
        """An image for two architectures that differ in a mark; the digest of their list."""
        token = ""
        try:
            self.ask("GET", "").close()
        except urllib.error.HTTPError as error:
            realm = error.headers["WWW-Authenticate"].split('"')[1]
            with OPENER.open(f"{realm}?service=here&scope=repository:{name}:pull,push") as answer:
                token = json.load(answer)["token"]
        parts = []
        for architecture in ("amd64", "arm64"):
            config = json.dumps(
                {"architecture": architecture, "os": "linux", "config": {"Labels": {"mark": mark}}}
            ).encode()
            at = self.ask("POST", f"{name}/blobs/uploads/", b"", token=token).headers["Location"]
            digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
            self.ask("PUT", f"{at}&digest={digest}", config, token=token).close()
            part = {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": digest,
                    "size": len(config),
                },
                "layers": [],
            }
            body = json.dumps(part).encode()
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            self.ask("PUT", f"{name}/manifests/{digest}", body, MANIFEST, token).close()
            platform = {"architecture": architecture, "os": "linux"}
            parts.append({"mediaType": MANIFEST, "digest": digest, "size": len(body), "platform": platform})
        body = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).encode()
        self.ask("PUT", f"{name}/manifests/{tag}", body, INDEX, token).close()
        return f"sha256:{hashlib.sha256(body).hexdigest()}"


@pytest.fixture(params=["open", "tokens"])
def registry(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Registry]:
    """One that lets anybody in, and one that sends them for a token first."""
    number, tokens = port(), None
    settings: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "store")}},
        "http": {"addr": f"127.0.0.1:{number}", "secret": "s" * 32},
    }
    if request.param == "tokens":
        tokens = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
        threading.Thread(target=tokens.serve_forever, daemon=True).start()
        bundle = tmp_path / "roots.pem"
        bundle.write_bytes(certificate(Tokens.key).public_bytes(serialization.Encoding.PEM))
        realm = f"http://127.0.0.1:{tokens.server_port}/token"
        settings["auth"] = {
            "token": {"realm": realm, "service": "here", "issuer": "tests", "rootcertbundle": str(bundle)}
        }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(tmp_path / "registry.yml")], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                OPENER.open(f"http://127.0.0.1:{number}/v2/", timeout=5).close()
                break
            except urllib.error.HTTPError:
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.05)
        yield Registry(number)
    finally:
        process.terminate()
        process.wait(30)
        if tokens is not None:
            tokens.shutdown()
            tokens.server_close()


@pytest.fixture
def checkout(root: Path, tmp_path: Path, registry: Registry) -> Path:
    """scripts/images.py, and files of docker/ that name images of that registry by their tags alone."""
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    (folder / "docker").mkdir()
    shutil.copy(root / "scripts/images.py", folder / "scripts")
    base = f"{registry.host}/debian:bookworm-slim"
    (folder / "docker/.env.example").write_text(
        f"POSTGRES_IMAGE={registry.host}/library/postgres:16.15\nDEBIAN_IMAGE={base}\nCLICKFLOW_MLFLOW_IMAGE=clickflow-mlflow:dev\n"
    )
    (folder / "docker/compose.yaml").write_text(
        f"image: ${{POSTGRES_IMAGE:-{registry.host}/library/postgres:16.15}}\n"
        f'args: {{DEBIAN: "${{DEBIAN_IMAGE:-{base}}}"}}\n'
    )
    for name in ("Dockerfile", "mlflow.Dockerfile", "s3.Dockerfile"):
        (folder / "docker" / name).write_text(f"ARG DEBIAN={base}\nFROM ${{DEBIAN}}\n")
    return folder


def call(checkout: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "scripts/images.py", *arguments], cwd=checkout, capture_output=True, text=True
    )
    return done.returncode, done.stdout + done.stderr


def written(checkout: Path) -> str:
    return "".join(file.read_text() for file in sorted((checkout / "docker").iterdir()))


def test_tags_are_held_to_bytes_and_one_that_moved_is_noticed_and_taken(registry: Registry, checkout: Path) -> None:
    before = written(checkout)
    code, output = call(checkout)
    assert code == 1 and "there is no" in output and written(checkout) == before, (
        "nothing is written where one is missing"
    )

    digests = [registry.push("library/postgres", "16.15", "one"), registry.push("debian", "bookworm-slim", "base")]
    assert call(checkout, "--check")[0] == 1, "a tag alone is not enough"
    code, output = call(checkout)
    assert code == 0 and all(f"is now {digest}" in output for digest in digests)
    text = written(checkout)
    assert text.count(f"postgres:16.15@{digests[0]}") == 2 and text.count(f"bookworm-slim@{digests[1]}") == 5
    assert "clickflow-mlflow:dev\n" in text, "what is built here has none"
    code, output = call(checkout, "--check")
    assert code == 0 and output.count("is what the tag is now") == 2

    moved = registry.push("library/postgres", "16.15", "two")
    code, output = call(checkout, "--check")
    assert code == 0 and f"the tag has moved on, to {moved}" in output and written(checkout) == text
    assert call(checkout)[0] == 0 and written(checkout) == text.replace(digests[0], moved)

    file = checkout / "docker/compose.yaml"
    file.write_text(file.read_text().replace(moved, f"sha256:{'0' * 64}"))
    code, output = call(checkout, "--check")
    assert code == 1 and "is not in its registry" in output


def test_a_registry_out_of_reach_changes_nothing(checkout: Path) -> None:
    file = checkout / "docker/.env.example"
    file.write_text(f"REDIS_IMAGE=127.0.0.1:{port()}/a/redis:7.4.11@sha256:{'1' * 64}\n")
    before = written(checkout)
    for arguments in ([], ["--check"]):
        code, output = call(checkout, *arguments)
        assert code == 1 and "nothing was changed" in output and "Traceback" not in output
    assert written(checkout) == before
