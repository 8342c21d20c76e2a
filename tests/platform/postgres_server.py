"""A real PostgreSQL on loopback, which a test starts for itself."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import pytest


class Server:
    """One that runs until it is stopped, and may be started again with all that it holds."""

    def __init__(self, binaries: Path, folder: Path, user: str | None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._binaries, self._folder, self._user, self._port = binaries, folder, user, port
        self.url = f"postgresql://shop:p4ssw0rd-of-tests@127.0.0.1:{port}/postgres"
        (folder / "password").write_text("p4ssw0rd-of-tests\n")
        (folder / "password").chmod(0o644)
        words = ["-U", "shop", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-E", "UTF8"]
        how: dict[str, object] = {"user": user, "cwd": folder, "check": True, "stdout": subprocess.DEVNULL}
        subprocess.run([binaries / "initdb", "-D", folder / "data", *words], **how)  # type: ignore[call-overload]

    def start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._process = subprocess.Popen(
            [self._binaries / "postgres", "-D", self._folder / "data", *options.split()],
            user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL, stderr=(self._folder / "log").open("ab"),
        )  # fmt: skip
        until = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, "the server has ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.1)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)  # a fast shutdown, which does not wait for clients
        self._process.wait(60)

    def execute(self, words: str) -> None:
        import psycopg

        with psycopg.connect(self.url) as con:
            con.execute(words)


@contextmanager
def running() -> Iterator[Server]:
    """A server of its own; the test is skipped where there is no PostgreSQL."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not programs:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    folder = Path(mkdtemp(prefix="clickflow-postgres-", dir="/tmp"))
    # the server refuses to be run by root
    user = next((name for name in ("postgres", "nobody") if _exists(name)), None) if os.geteuid() == 0 else None
    if os.geteuid() == 0:
        if user is None:
            pytest.skip("PostgreSQL does not run as root, and there is no other user")
        shutil.chown(folder, user)
    try:
        server = Server(programs[-1].parent, folder, user)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
