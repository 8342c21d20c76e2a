"""Real servers on loopback, as Debian and PyPI have them, that a test or benchmark starts, kills, and starts again.

What is not installed here raises `unittest.SkipTest`, which pytest takes for a test that is skipped.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import SkipTest

PATIENCE = 120.0


@dataclass
class Server:
    """One server: its command, in a folder of its own, on a port that was free."""

    command: Sequence[str]
    port: int
    folder: Path
    user: str | None = None
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, with what it has kept; back when its port answers. One that refuses is asked again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if self.process is None or self.process.poll() is not None:
                with (self.folder / "log").open("ab") as log:
                    self.process = subprocess.Popen(
                        self.command, cwd=self.folder, user=self.user, stdout=log, stderr=log, start_new_session=True
                    )
            time.sleep(0.2)
            with socket.socket() as probe:
                if self.process.poll() is None and probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            last_lines = (self.folder / "log").read_text(errors="replace")[-1000:]
            assert time.monotonic() < deadline, f"{self.command[0]} does not answer: {last_lines}"

    def kill(self) -> None:
        """kill -9."""
        assert self.process
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """End it and remove its folder."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # of PostgreSQL a fast shutdown, which does not wait for clients
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


def port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_broker() -> None:
    """Raise SkipTest where Redis or PostgreSQL cannot be started here."""
    _redis()
    _postgresql()


def answering(url: str, process: "subprocess.Popen[bytes]", log: Path, patience: float = 300.0) -> None:
    """Back when a server answers at `url` without an error; what it said otherwise."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            opener.open(url, timeout=5)
            return
        except OSError:
            time.sleep(0.5)
        assert process.poll() is None, log.read_text()
    raise AssertionError(log.read_text())


def redis() -> Server:
    """Redis, which writes every change to its disk, as a broker must."""
    program = _redis()
    chosen, folder = port(), _folder("redis")
    command = [program, "--bind", "127.0.0.1", "--port", str(chosen), "--dir", str(folder)]
    return Server([*command, "--appendonly", "yes", "--save", ""], chosen, folder)


def postgresql() -> Server:
    """PostgreSQL with the user and database `airflow`; it keeps what was committed, however it ends."""
    initdb, user = _postgresql()
    folder = _folder("postgresql")
    if user:
        shutil.chown(folder, user)
    chosen, data = port(), folder / "data"
    command = [str(initdb), "-D", str(data), "-U", "airflow", "--auth=trust", "-E", "UTF8", "--no-sync"]
    subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    options = f"-p {chosen} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
    return Server([str(initdb.with_name("postgres")), "-D", str(data), *options.split()], chosen, folder, user)


def database(server: Server) -> str:
    """Its URL as Airflow takes it, with a database of its own."""
    import psycopg

    url = f"postgresql://airflow@127.0.0.1:{server.port}/postgres"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create database airflow")
    return f"postgresql+psycopg2://airflow@127.0.0.1:{server.port}/airflow"


def bucket() -> tuple[Server, dict[str, str]]:
    """An S3-compatible server with the bucket `shop`, and the variables that lead to it."""
    import rclone_api

    program = Path(rclone_api.__file__).parent / "bin/rclone"
    chosen, folder = port(), _folder("s3")
    (folder / "buckets/shop").mkdir(parents=True)
    command = [str(program), "serve", "s3", "--auth-key", "key-of-tests,secret-of-tests"]
    server = Server([*command, "--addr", f"127.0.0.1:{chosen}", str(folder / "buckets")], chosen, folder)
    return server, {
        "CLICKFLOW_DVC_REMOTE": "s3://shop/dvc",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{chosen}",
        "AWS_ACCESS_KEY_ID": "key-of-tests",
        "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }


def _folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"clickflow-{name}-", dir="/tmp"))


def _redis() -> str:
    program = shutil.which("redis-server")
    if program is None:
        raise SkipTest("no Redis server here: apt-get install redis-server")
    return program


def _postgresql() -> tuple[Path, str | None]:
    """Its newest initdb, and the user that it is run as; None: who runs this."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        raise SkipTest("no PostgreSQL server here: apt-get install postgresql")
    if os.geteuid() != 0:
        return programs[-1], None
    user = next((name for name in ("postgres", "nobody") if _exists(name)), None)
    if user is None:
        raise SkipTest("PostgreSQL does not run as root, and there is no other user")
    return programs[-1], user


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
