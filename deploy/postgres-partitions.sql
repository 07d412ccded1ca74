-- Divides Holdfast's large tables on Postgres 15 or later by project: psql -v ON_ERROR_STOP=1 -1 -f postgres-partitions.sql URL
--
-- Run it as the user that Holdfast has, while no instance runs, after Holdfast has made its tables. Rows that are there are
-- moved; it is one transaction, so that it is done whole or not at all, and a second run finds nothing to do.
-- Each table gets 16 partitions by hash of the project (PGOPTIONS='-c holdfast.parts=64' for more): a project lies whole
-- in one of them.

DO $$
DECLARE
  parts CONSTANT integer := coalesce(nullif(current_setting('holdfast.parts', true), ''), '16');
  large CONSTANT text[] := ARRAY['audit', 'embeddings', 'entities', 'history', 'jobs', 'memories', 'messages', 'outbox', 'sources', 'usage'];
  whole text;
  part text;
  command text;
  policy text;
  after text[];
BEGIN
  PERFORM set_config('holdfast.reach', 'all', true);  -- of rows of any project
  FOREACH whole IN ARRAY large LOOP
    CONTINUE WHEN (SELECT relkind FROM pg_class WHERE oid = whole::regclass) = 'p';
    EXECUTE format('LOCK TABLE %I', whole);
    -- What a copy of a table's columns does not bring: its keys, indexes, numbering and policy, as Postgres writes them.
    SELECT array_agg(made ORDER BY place) INTO after FROM (
      SELECT 1 AS place, format('ALTER TABLE %I ADD %s', whole, pg_get_constraintdef(oid)) AS made
      FROM pg_constraint WHERE conrelid = whole::regclass AND contype IN ('p', 'u')
      UNION ALL
      SELECT 2, pg_get_indexdef(indexrelid) FROM pg_index i
      WHERE indrelid = whole::regclass AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = i.indexrelid)
      UNION ALL
      SELECT 3, format('ALTER SEQUENCE %s OWNED BY %I.no', pg_get_serial_sequence(quote_ident(whole), 'no'), whole)
      FROM pg_attribute WHERE attrelid = whole::regclass AND attname = 'no' AND atthasdef
    ) AS kept;
    SELECT pg_get_expr(polqual, polrelid) INTO STRICT policy FROM pg_policy WHERE polrelid = whole::regclass;
    EXECUTE format('ALTER TABLE %I RENAME TO %I', whole, whole || '_undivided');
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS) PARTITION BY HASH (project)', whole, whole || '_undivided');
    FOR number IN 0 .. parts - 1 LOOP
      part := format('%s_part_%s', whole, number);
      EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS %s, REMAINDER %s)', part, whole, parts, number);
    END LOOP;
    EXECUTE format('INSERT INTO %I SELECT * FROM %I', whole, whole || '_undivided');
    -- The names of keys and indexes are free once the old table is away, and its numbers are not its own any more.
    FOREACH command IN ARRAY after LOOP
      IF command LIKE 'ALTER SEQUENCE%' THEN EXECUTE command; END IF;
    END LOOP;
    EXECUTE format('DROP TABLE %I', whole || '_undivided');
    FOREACH command IN ARRAY after LOOP
      IF command NOT LIKE 'ALTER SEQUENCE%' THEN EXECUTE command; END IF;
    END LOOP;
    FOR part IN SELECT whole UNION ALL SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = whole::regclass LOOP
      EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', part);
      EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', part);
      EXECUTE format('CREATE POLICY %I ON %s USING (%s)', part || '_of_project', part, policy);
    END LOOP;
  END LOOP;
END $$;
