"""A PostgreSQL server of its own for tests: started once, empty databases on demand, gone at the end.

It needs the server's programs (``initdb``, ``pg_ctl``) and, where tests run as root, a user called postgres; without
them the tests that ask for it are skipped, and say so. In a test module:

    from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.ports import find_port

PASSWORD = "not-for-logs-8f3a"


@dataclass(frozen=True)
class Server:
    """Where it listens, for the user ``aimwell`` with ``PASSWORD``."""

    port: int
    control: Callable[[str], None] | None = field(default=None, repr=False, compare=False)
    """``crash`` or ``start``."""

    def address(self, database: str = "postgres", *, password: str | None = PASSWORD) -> str:
        """As SQLAlchemy takes it."""
        secret = f":{password}" if password else ""
        return f"postgresql+psycopg://aimwell{secret}@127.0.0.1:{self.port}/{database}"

    def run(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run statements one by one, committed; the rows of the last, where it has any."""
        import psycopg

        place = f"host=127.0.0.1 port={self.port} user=aimwell password={PASSWORD} dbname={database}"
        with psycopg.connect(place, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


def find_programs() -> Path | None:
    """The folder of the newest server's programs."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True
    )
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def find_user() -> str | None:
    """Whom to run the server as: nobody else, or postgres where we are root, whom it refuses."""
    if os.getuid() != 0:
        return None
    pwd.getpwnam("postgres")
    return "postgres"


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running server."""
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    try:
        user = find_user()
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    folder = Path(tempfile.mkdtemp(prefix="aimwell-postgres-"))
    if user:
        shutil.chown(folder, user)
    try:
        yield from _serve(programs, folder, user, "fsync=off")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def serve_durably(*settings: str) -> Iterator[Server]:
    """A running server that waits for the disk, as in production, with ``settings`` such as ``max_wal_size=4GB``.

    The programs must be there.
    """
    programs = find_programs()
    assert programs is not None
    folder, user = Path(tempfile.mkdtemp(prefix="aimwell-postgres-")), find_user()
    if user:
        shutil.chown(folder, user)
    try:
        yield from _serve(programs, folder, user, "fsync=on", *settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(programs: Path, folder: Path, user: str | None, *settings: str) -> Iterator[Server]:
    port = find_port()
    secret = folder / "secret"
    secret.write_text(PASSWORD, encoding="utf-8")
    secret.chmod(0o600)
    if user:
        shutil.chown(secret, user)

    def call(program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(programs / program), "-D", str(folder / "data"), *arguments],
            user=user,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr

    call(
        "initdb",
        "-U",
        "aimwell",
        f"--pwfile={secret}",
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
        "--locale=C",
        "-N",
    )

    def control(what: str) -> None:
        if what == "crash":
            call("pg_ctl", "-m", "immediate", "-w", "stop")
        else:
            call("pg_ctl", "-w", "-t", "240", "-l", str(folder / "log"), "-o", options, "start")

    place = ("listen_addresses=127.0.0.1", f"unix_socket_directories={folder}")
    options = " ".join((f"-p {port}", *(f"-c {setting}" for setting in (*place, *settings))))
    control("start")
    try:
        yield Server(port, control)
    finally:
        with suppress(AssertionError):
            call("pg_ctl", "-m", "immediate", "-w", "stop")
