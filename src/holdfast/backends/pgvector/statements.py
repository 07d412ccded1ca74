"""The SQL of one collection in pgvector: a table of points, and one of the words they have.

Words have rows of their own, since a question asks for few of them: measured on 100,000 memories,
that is 17 ms against 138 ms of arrays beside the vectors, for a user of 20,000 memories. A GIN
index over arrays cannot be used below row-level security, for its operators are not leakproof.
Every key begins with the project, so both tables can be partitioned or distributed by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from holdfast.core.view import BM25_B, BM25_K1
from holdfast.model import ENTITY_KINDS

_KEYS: Final = ", ".join(f"{kind}_id" for kind in ENTITY_KINDS)

SETTINGS: Final = """
SELECT set_config('holdfast.project', %(project)s, true),
       set_config('holdfast.reach', %(reach)s, true),
       set_config('statement_timeout', %(timeout)s, true),
       set_config('hnsw.iterative_scan', 'relaxed_order', true),
       set_config('hnsw.max_scan_tuples', %(scan)s, true),
       set_config('hnsw.ef_search', %(ef)s, true),
       set_config('jit', 'off', true),
       set_config('enable_seqscan', 'off', true),
       set_config('plan_cache_mode', 'force_generic_plan', true)
"""
"""For the transaction alone, so that connections can be pooled by anybody.

A relaxed order loses fewer points than a strict one, which drops those that come too late: 98 of
100 against 94 for a user of 20,000 of 100,000 memories. What is found is sorted afterwards.

The last three: every statement has an index that it is to use, also while the tables are small or
the statistics old; so its plan can be kept, which saves a third of the time of a small search.
"""

FENCE: Final = "SELECT set_config('holdfast.project', %(project)s, true)"
"""For a transaction that has settings of its own."""


@dataclass(frozen=True)
class Names:
    """Where a collection is, as SQL writes it."""

    schema: str
    collection: str

    @property
    def points(self) -> str:
        return f'"{self.schema}"."{self.collection}"'

    @property
    def words(self) -> str:
        return f'"{self.schema}"."{self.collection}.words"'

    @property
    def graph(self) -> str:
        """Of the index over vectors: where its table is."""
        return f'"{self.collection}.graph"'


@dataclass(frozen=True)
class Statements:
    """`vendor`: schema of the extension; `kind`: vector or halfvec."""

    names: Names
    vendor: str
    kind: str
    dimensions: int

    @property
    def type_(self) -> str:
        """Of the column of vectors."""
        return f'"{self.vendor}".{self.kind}({self.dimensions})'

    @property
    def create(self) -> list[str]:
        """The tables and their indexes, but not the one over vectors."""
        points, words = self.names.points, self.names.words
        columns = ", ".join(f"{kind}_id uuid" for kind in ENTITY_KINDS)
        ids = 'project text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL'
        made = [
            (
                f"CREATE TABLE {points} ({ids}, {columns}, length integer NOT NULL,"
                f" mark bigint NOT NULL, embedding {self.type_}, PRIMARY KEY (project, id))"
            ),
            (
                f"CREATE TABLE {words} ({ids}, {columns}, term bigint NOT NULL,"
                " times integer NOT NULL, length integer NOT NULL)"
            ),
            f"CREATE INDEX ON {words} (project, id)",
        ]
        for kind in ENTITY_KINDS:
            key = f"{kind}_id"
            made += [
                (
                    f"CREATE INDEX ON {points} (project, {key}) INCLUDE (length)"
                    f" WHERE {key} IS NOT NULL"
                ),
                # the term first: so the index serves one entity, and all of its kind
                (
                    f"CREATE INDEX ON {words} (project, term, {key}) INCLUDE (id, times, length)"
                    f" WHERE {key} IS NOT NULL"
                ),
            ]
        return made + [line for table in (points, words) for line in _fenced(table)]

    def create_hnsw(self, m: int, ef_construction: int) -> str:
        """The index over vectors, made while the table is read and written. By the inner product,
        which for vectors of length 1 is the cosine, and cheaper."""
        operators = f'"{self.vendor}".{self.kind}_ip_ops'
        return (
            f"CREATE INDEX CONCURRENTLY {self.names.graph} ON {self.names.points}"
            f" USING hnsw (embedding {operators})"
            f" WITH (m = {m}, ef_construction = {ef_construction})"
        )

    @property
    def _graphs(self) -> str:
        """The indexes over vectors that there are, usable or not."""
        return (
            "SELECT i.indexrelid, i.indisvalid FROM pg_index i JOIN pg_class c"
            " ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam AND a.amname = 'hnsw'"
            f" WHERE i.indrelid = '{self.names.points}'::regclass"
        )

    @property
    def progress(self) -> str:
        """How many points are in the graph that somebody makes; null if nobody does."""
        return (
            "SELECT (SELECT max(tuples_done) FROM pg_stat_progress_create_index"
            f" WHERE relid = '{self.names.points}'::regclass)"
        )

    @property
    def standing(self) -> str:
        """Whether there are `least` points in a table that a graph can be made of concurrently,
        whether the graph is valid (null: there is none), and the progress of whoever makes it."""
        return (
            "SELECT (SELECT relkind = 'r' FROM pg_class"
            f" WHERE oid = '{self.names.points}'::regclass) AND (SELECT count(*) FROM"
            f" (SELECT 1 FROM {self.names.points} LIMIT %(least)s) AS few) >= %(least)s,"
            f" (SELECT bool_or(indisvalid) FROM ({self._graphs}) AS graphs), ({self.progress})"
        )

    @property
    def lock(self) -> str:
        """The lock of who makes an index; writers and readers go on."""
        return f"LOCK TABLE {self.names.points} IN SHARE UPDATE EXCLUSIVE MODE"

    @property
    def broken(self) -> str:
        """The statements that drop graphs whose making was cut off."""
        return (
            "SELECT format('DROP INDEX %s', indexrelid::regclass)"
            f" FROM ({self._graphs}) AS graphs WHERE NOT indisvalid"
        )

    @property
    def analyze(self) -> str:
        """What plans go by."""
        return f"ANALYZE {self.names.points}, {self.names.words}"

    @property
    def grown(self) -> str:
        """Whether the table is much larger than it was when it was analysed."""
        return (
            "SELECT pg_relation_size(oid) / current_setting('block_size')::int"
            f" > 100 + 1.5 * relpages FROM pg_class WHERE oid = '{self.names.points}'::regclass"
        )

    @property
    def put(self) -> list[str]:
        """Points in place of those with their ids; see `points.parameters`.

        The row of the point is locked first, so that its words are those of one writer.
        """
        points, words = self.names.points, self.names.words
        arrays = ", ".join(
            [
                "%(ids)s::text[]",
                *(f"%({kind}_ids)s::text[]" for kind in ENTITY_KINDS),
                "%(lengths)s::int[]",
                "%(marks)s::bigint[]",
                "%(begins)s::int[]",
                "%(firsts)s::int[]",
                "%(lasts)s::int[]",
            ]
        )
        given = f"unnest({arrays}) AS r(id, {_KEYS}, length, mark, starts, first, last)"
        keys = ", ".join(f"r.{kind}_id::uuid" for kind in ENTITY_KINDS)
        changed = [*(f"{kind}_id" for kind in ENTITY_KINDS), "length", "mark", "embedding"]
        return [
            f"""
INSERT INTO {points} (project, id, {_KEYS}, length, mark, embedding)
SELECT %(project)s, r.id, {keys}, r.length, r.mark,
       CASE WHEN r.starts > 0 THEN
         (%(vectors)s::real[])[r.starts:r.starts + %(dimensions)s - 1]::{self.type_} END
FROM {given}
ORDER BY r.id
ON CONFLICT (project, id) DO UPDATE SET
  {", ".join(f"{name} = EXCLUDED.{name}" for name in changed)}
""",
            f"DELETE FROM {words} WHERE project = %(project)s AND id = ANY(%(ids)s::text[])",
            f"""
INSERT INTO {words} (project, id, {_KEYS}, term, times, length)
SELECT %(project)s, r.id, {keys}, w.term, w.times, r.length
FROM {given},
     unnest((%(terms)s::bigint[])[r.first:r.last],
            (%(times)s::bigint[])[r.first:r.last]) AS w(term, times)
""",
        ]

    @property
    def remove(self) -> list[str]:
        """Points by id, and then their words: those of a writer that was waited for as well."""
        return self._without("project = %(project)s AND id = ANY(%(ids)s::text[])")

    @property
    def empty(self) -> list[str]:
        """Every point of a project, and its words."""
        return self._without("project = %(project)s")

    def _without(self, condition: str) -> list[str]:
        """Words go only where there is no point: one that was put between the two statements, and
        so was not removed by the first, keeps its own."""
        points, words = self.names.points, self.names.words
        return [
            f"DELETE FROM {points} WHERE {condition}",
            (
                f"DELETE FROM {words} AS w WHERE {condition} AND NOT EXISTS"
                f" (SELECT 1 FROM {points} AS p WHERE p.project = w.project AND p.id = w.id)"
            ),
        ]

    @property
    def writable(self) -> str:
        """Whether the user of a connection may write the collection."""
        tables = f"'{self.names.points}', '{self.names.words}'"
        rights = "'SELECT', 'INSERT', 'UPDATE', 'DELETE'"
        return (
            f"SELECT has_schema_privilege('{self.names.schema}', 'USAGE')"
            f" AND has_schema_privilege('{self.vendor}', 'USAGE')"
            f" AND (SELECT bool_and(has_table_privilege(name, kind))"
            f" FROM unnest(ARRAY[{tables}]) AS name, unnest(ARRAY[{rights}]) AS kind)"
        )

    @property
    def some(self) -> str:
        """The ids of some points of a project, which nobody else changes until they are gone."""
        return (
            f"SELECT id FROM {self.names.points} WHERE project = %(project)s"
            " ORDER BY id LIMIT %(size)s FOR UPDATE"
        )

    def exact(self, column: str, every: bool) -> str:
        """Up to `limit` points of an entity, each compared."""
        return f"""
SELECT id, distance FROM (
  SELECT id, {self._distance} AS distance FROM {self.names.points}
  WHERE {_own(column, every)} AND embedding IS NOT NULL OFFSET 0) AS own
ORDER BY distance LIMIT %(limit)s
"""

    def nearest(self, column: str, every: bool) -> str:
        """The same, or found by HNSW if the entity is large enough, and how large it is.

        Large is more than `compared`, and so much of the collection that a page is likely to be
        full after `max_scan_tuples`, which is what `share` says. Counted is until that is clear.
        Without a graph, as while it is made, nothing is large.
        Only one way is run: its condition, which has no column, is looked at first.
        """
        points, own = self.names.points, _own(column, every)
        # unusable for other indexes, so that the graph is followed
        hidden = " AND ".join(f"({each}) IS TRUE" for each in own.split(" AND "))
        return f"""
WITH enough AS MATERIALIZED (
  SELECT greatest(%(compared)s, %(share)s::float8 * reltuples)::bigint AS rows
  FROM pg_class WHERE oid = '{points}'::regclass
  AND EXISTS (SELECT 1 FROM ({self._graphs}) AS graphs WHERE indisvalid)),
size AS MATERIALIZED (
  SELECT count(*) AS rows FROM (
    SELECT 1 FROM {points} WHERE {own}
    LIMIT greatest(%(limit)s, (SELECT rows + 1 FROM enough))) AS few),
way AS MATERIALIZED (
  SELECT coalesce(size.rows > enough.rows, false) AS graph, size.rows
  FROM size LEFT JOIN enough ON true)
SELECT way.graph, way.rows, hit.id, hit.distance FROM way LEFT JOIN (
  (SELECT id, distance FROM (
     SELECT id, {self._distance} AS distance FROM {points}
     WHERE {own} AND embedding IS NOT NULL AND NOT (SELECT graph FROM way) OFFSET 0) AS own
   ORDER BY distance LIMIT %(limit)s)
  UNION ALL
  (SELECT id, {self._distance} AS distance FROM {points}
   WHERE {hidden} AND (SELECT graph FROM way)
   ORDER BY {self._distance} LIMIT %(limit)s)
) AS hit ON true
"""

    @property
    def _distance(self) -> str:
        return f'embedding OPERATOR("{self.vendor}".<#>) %(vector)s::real[]::{self.type_}'

    def holders(self, column: str, every: bool) -> str:
        """For each word up to `limit` points of an entity that have it, by BM25's share, and how
        many there are."""
        points, words, own = self.names.points, self.names.words, _own(column, every)
        # most words have one form, and need no adding up
        return f"""
WITH own AS MATERIALIZED (
  SELECT {BM25_K1} * {BM25_B} / greatest(1.0, avg(length))::float8 AS slope
  FROM {points} WHERE {own})
SELECT asked.word, best.id, best.score, best.rows
FROM unnest(%(words)s::text[]) WITH ORDINALITY AS asked(forms, word), own, LATERAL (
  SELECT id, times / (times + {BM25_K1 * (1.0 - BM25_B)}::float8 + own.slope * length) AS score,
         count(*) OVER () AS rows
  FROM (
    SELECT id, times::float8 AS times, length FROM {words}
    WHERE {own} AND term = (asked.forms::bigint[])[1] AND cardinality(asked.forms::bigint[]) = 1
    UNION ALL
    SELECT id, sum(times)::float8 AS times, length FROM {words}
    WHERE {own} AND term = ANY(asked.forms::bigint[]) AND cardinality(asked.forms::bigint[]) > 1
    GROUP BY id, length) AS having_it
  ORDER BY score DESC LIMIT %(limit)s) AS best
"""

    def marks(self, first: bool) -> str:
        """A page, by id."""
        beyond = "" if first else " AND id > %(after)s"
        return (
            f"SELECT id, mark FROM {self.names.points} WHERE project = %(project)s{beyond}"
            " ORDER BY id LIMIT %(size)s"
        )

    def count(self, every: bool) -> str:
        """Of a project, or of all."""
        where = "" if every else " WHERE project = %(project)s"
        return f"SELECT count(*) FROM {self.names.points}{where}"

    @property
    def drop(self) -> str:
        """The collection itself."""
        return f"DROP TABLE IF EXISTS {self.names.points}, {self.names.words}"


def _own(column: str, every: bool) -> str:
    """The condition for the rows of an entity, or of all of its kind; each partial index has it."""
    return f"project = %(project)s AND {column} " + (
        "IS NOT NULL" if every else "= %(entity)s::uuid"
    )


def _fenced(table: str) -> list[str]:
    """Row-level security, for the owner too. The settings are read once a statement, not once a
    row, which the inner SELECT is for."""
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        (
            f"CREATE POLICY holdfast_project ON {table} USING ("
            "project = (SELECT current_setting('holdfast.project', true))"
            " OR (SELECT current_setting('holdfast.reach', true)) = 'all')"
        ),
    ]
