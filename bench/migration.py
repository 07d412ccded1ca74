"""How long an upgrade of the schema holds a store, by how much is in it.

    python bench/migration.py [--memories 1000000] [--before 0010] [--after 0011] [--url URL]
    python bench/migration.py --sqlite --memories 100000 --before 0015 --after 0016

Makes a database with the schema `--before` (in a Postgres of its own that writes to the disk as in
production, at `--url`, which must be empty, or with `--sqlite` in a file), fills it by SQL with
memories of 1,000 users, each with its vector of 256 floats, its turn and its history, and upgrades
it. Instances wait for that time, for an upgrade is one transaction that locks what it changes.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from holdfast.backends.postgres.migrate import upgrade
from holdfast.backends.sqlite.connect import connect
from holdfast.backends.sqlite.migrate import upgrade as upgrade_sqlite

USERS = 1_000
VECTOR_BYTES = 1_024

FILL = """
SET holdfast.reach = 'all';
SET holdfast.project = 'default';
SET synchronous_commit = off;
INSERT INTO projects (id, name, settings, created_at, updated_at)
VALUES ('default', 'default', '{}', 0, 0) ON CONFLICT DO NOTHING;
INSERT INTO entities (project, kind, id, generation, memories, created_at, updated_at)
SELECT 'default', 'user', 'user' || n, n, 0, 0, 0 FROM generate_series(1, %(users)s) n;
INSERT INTO messages (id, project, user_id, role, text, event_at)
SELECT 't' || n, 'default', 'user' || n %% %(users)s, 'user',
       'I said something of about sixty letters, number ' || n, n
FROM generate_series(1, %(memories)s) n;
INSERT INTO memories (id, project, identity, kind, text, hash, user_id, role, listed, event_at,
                      created_at, updated_at, version, terms, flags, words, speaker)
SELECT 'm' || n, 'default', sha256(n::text::bytea), 'turn',
       'I said something of about sixty letters, number ' || n, md5(n::text),
       'user' || n %% %(users)s, 'user', 1, n, n, n, 1,
       decode(repeat(md5(n::text), 5), 'hex'), 0, 10, 0
FROM generate_series(1, %(memories)s) n;
INSERT INTO embeddings (memory_no, space_no, vector)
SELECT n, 1, decode(repeat(md5(n::text), %(repeats)s), 'hex')
FROM generate_series(1, %(memories)s) n;
INSERT INTO sources (memory_no, message_no, quote)
SELECT n, n, 'something of about sixty' FROM generate_series(1, %(memories)s) n;
INSERT INTO history (id, project, memory_id, event, new_memory, created_at, user_id)
SELECT 'h' || n, 'default', 'm' || n, 'ADD',
       'I said something of about sixty letters, number ' || n, n, 'user' || n %% %(users)s
FROM generate_series(1, %(memories)s) n;
INSERT INTO outbox (entity_no, generation, memory_no, memory_id)
SELECT 1 + n %% %(users)s, n, n, 'm' || n FROM generate_series(1, %(outbox)s) n;
ANALYZE
"""
"""Of tables as they have been since 0010."""


FILL_SQLITE = """
INSERT INTO messages (no, id, project, user_id, role, text, event_at)
SELECT n, 't' || n, 'default', 'user' || n % :users, 'user',
       'I said something of about sixty letters, number ' || n, n FROM numbers;
INSERT INTO memories (no, id, project, identity, kind, text, hash, user_id, role, listed, event_at,
                      created_at, updated_at, version, terms, flags, words, speaker)
SELECT n, 'm' || n, 'default', randomblob(16), 'turn',
       'I said something of about sixty letters, number ' || n, hex(randomblob(16)),
       'user' || n % :users, 'user', 1, n, n, n, 1, randomblob(80), 0, 10, 0 FROM numbers;
INSERT INTO embeddings (memory_no, space_no, vector) SELECT n, 1, randomblob(1024) FROM numbers;
INSERT INTO sources (memory_no, message_no, quote)
SELECT n, n, 'something of about sixty' FROM numbers;
INSERT INTO history (no, id, project, memory_id, event, new_memory, created_at, user_id)
SELECT n, 'h' || n, 'default', 'm' || n, 'ADD',
       'I said something of about sixty letters, number ' || n, n, 'user' || n % :users
FROM numbers
"""
NUMBERS = """
CREATE TEMP TABLE numbers AS
WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < :memories)
SELECT n FROM counted
"""


def fill(url: str, memories: int) -> None:
    told = {
        "memories": memories,
        "users": USERS,
        "repeats": VECTOR_BYTES // 16,
        "outbox": memories // 10,
    }
    with psycopg.connect(url) as connection:
        for statement in FILL.split(";"):
            connection.execute(statement, told if "%(" in statement else None)


def size(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0


def measure_postgres(url: str | None, memories: int, before: str, after: str) -> None:
    with ExitStack() as stack:
        if url is None:
            from support import postgres

            server = postgres.Server(durable=True)
            server.start()
            stack.callback(server.remove)
            url = server.url(server.database())
        upgrade(url, before)
        began = time.perf_counter()
        fill(url, memories)
        took = time.perf_counter() - began
        print(f"{memories:,} memories in {took:.0f} s, {size(url) / 1e9:.1f} GB", flush=True)
        began = time.perf_counter()
        upgrade(url, after)
        took = time.perf_counter() - began
        print(f"{before} to {after} in {took:.1f} s, {size(url) / 1e9:.1f} GB")


def measure_sqlite(path: Path, memories: int, before: str, after: str) -> None:
    from support.revisions import create

    create(path, before)
    told = {"memories": memories, "users": USERS}
    with closing(connect(path)) as connection:
        connection.execute(NUMBERS, told)
        connection.execute("BEGIN IMMEDIATE")
        for statement in FILL_SQLITE.split(";"):
            connection.execute(statement, told if ":users" in statement else {})
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    print(f"{memories:,} memories, {path.stat().st_size / 1e6:,.0f} MB", flush=True)
    with closing(connect(path)) as connection:
        began = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        upgrade_sqlite(connection, after)
        connection.execute("COMMIT")
        took = time.perf_counter() - began
        log = os.stat(f"{path}-wal").st_size
    print(f"{before} to {after} in {took:.1f} s, {log / 1e6:,.0f} MB of log meanwhile")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    print(f"after VACUUM {path.stat().st_size / 1e6:,.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--memories", type=int, default=1_000_000)
    parser.add_argument("--before", default="0010")
    parser.add_argument("--after", default="0011")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", help="of an empty Postgres database")
    where.add_argument("--sqlite", action="store_true", help="a file instead of Postgres")
    given = parser.parse_args()
    if given.sqlite:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
            path = Path(folder, "holdfast.db")
            measure_sqlite(path, given.memories, given.before, given.after)
    else:
        measure_postgres(given.url, given.memories, given.before, given.after)


if __name__ == "__main__":
    main()
