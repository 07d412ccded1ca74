"""How long an upgrade of the schema holds a Postgres, by how much is in it.

    python bench/migration.py [--memories 1000000] [--before 0010] [--after 0011] [--url URL]

Makes a database with the schema `--before` (in a Postgres of its own that writes to the disk as in
production, or at `--url`, which must be empty), fills it by SQL with memories of 1,000 users, each
with its vector of 256 floats, its turn and its history, and upgrades it. Instances wait for that
time, for an upgrade is one transaction that locks the tables it changes.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from holdfast.backends.postgres.migrate import upgrade

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--memories", type=int, default=1_000_000)
    parser.add_argument("--before", default="0010")
    parser.add_argument("--after", default="0011")
    parser.add_argument("--url", help="of an empty database")
    given = parser.parse_args()
    with ExitStack() as stack:
        url = given.url
        if url is None:
            from support import postgres

            server = postgres.Server(durable=True)
            server.start()
            stack.callback(server.remove)
            url = server.url(server.database())
        upgrade(url, given.before)
        began = time.perf_counter()
        fill(url, given.memories)
        took = time.perf_counter() - began
        print(f"{given.memories:,} memories in {took:.0f} s, {size(url) / 1e9:.1f} GB", flush=True)
        began = time.perf_counter()
        upgrade(url, given.after)
        took = time.perf_counter() - began
        print(f"{given.before} to {given.after} in {took:.1f} s, {size(url) / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
