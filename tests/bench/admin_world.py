"""A million episodes in a database of their own, made by the database itself, and dropped at the end."""

import os
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg
from psycopg.types.numeric import Int8

from config.embedded import ensure

__all__ = ["COMMON", "GONE", "RARE", "UNCOMMON", "fill", "throwaway_database"]

# How many episodes hold the word: 12; one in 100; two in five; one in five of the older half and none of the newer.
RARE, UNCOMMON, COMMON, GONE = "quagga", "ocelot", "parcel", "dodo"
_VOCABULARY, _FRAGMENTS, _FRAGMENT_WORDS = 20_000, 8_000, 36


@contextmanager
def throwaway_database(name: str) -> Iterator[None]:
    """Make a fresh database on the configured server the one of this process, and drop it in the end.

    What killed runs left behind is dropped as well.
    """
    url = urlsplit(os.environ.get("DATABASE_URL") or ensure("postgres").database_url)
    own = f"bench_{name}_{os.getpid()}"
    maintenance = urlunsplit(url._replace(path="/postgres"))
    with psycopg.connect(maintenance, autocommit=True) as server:
        for (left,) in server.execute("SELECT datname FROM pg_database WHERE datname ~ %s", [f"^bench_{name}_[0-9]+$"]):
            if not Path(f"/proc/{left.rpartition('_')[2]}").exists():
                server.execute(f'DROP DATABASE IF EXISTS "{left}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{own}"')
    os.environ["DATABASE_URL"] = urlunsplit(url._replace(path=f"/{own}"))
    try:
        yield
    finally:
        with psycopg.connect(maintenance, autocommit=True) as server:
            server.execute(f'DROP DATABASE IF EXISTS "{own}" WITH (FORCE)')


def _fragments(generator: random.Random) -> list[str]:
    """Return short texts over a vocabulary whose words are as unevenly common as those of a language."""
    letters = "etaoinshrdlucmfw"
    vocabulary = ["".join(generator.choices(letters, k=generator.randint(3, 9))) for _ in range(_VOCABULARY)]
    weights = list(accumulate(1 / (rank + 5) for rank in range(_VOCABULARY)))
    return [" ".join(generator.choices(vocabulary, cum_weights=weights, k=_FRAGMENT_WORDS)) for _ in range(_FRAGMENTS)]


# An id of version 7 for the moment at which row `i` of `total` came, in 180 days that end now.
_ID = """
CREATE FUNCTION pg_temp.at(i bigint, total bigint) RETURNS timestamptz IMMUTABLE LANGUAGE sql AS
  $$ SELECT current_date - interval '1 second' - (interval '180 days') * (1 - i::float8 / total) $$;
CREATE FUNCTION pg_temp.id_at(i bigint, total bigint, kind int) RETURNS uuid IMMUTABLE LANGUAGE sql AS
  $$ SELECT (lpad(to_hex(floor(extract(epoch FROM pg_temp.at(i, total)) * 1000)::bigint), 12, '0') || '7'
     || lpad(to_hex(kind), 3, '0') || '8' || lpad(to_hex(i), 15, '0'))::uuid $$;
"""

_CONVERSATIONS = """
INSERT INTO episodes_conversation (id, agent_id, external_id, subject, split, attributes, started_at, last_at, settled_at,
  resolution, resolution_source, intent_id, opening, embedding, embedding_model)
SELECT pg_temp.id_at(c * %(each)s, %(n)s, 1), (%(agents)s::uuid[])[pg_temp.agent(c)], 'conversation-' || c, 'user-' || (c * 7919 %% 60000),
  CASE WHEN c %% 10 < 5 THEN 'dev' WHEN c %% 10 < 8 THEN 'verify' ELSE 'holdout' END, '{}',
  pg_temp.at(c * %(each)s, %(n)s), pg_temp.at(c * %(each)s, %(n)s), now(),
  CASE WHEN c > %(n)s / %(each)s * 0.995 THEN 'open' WHEN c %% 20 < 3 THEN 'failed' WHEN c %% 20 < 5 THEN 'escalated'
    WHEN c %% 20 = 5 THEN 'abandoned' ELSE 'resolved' END,
  'customer', NULL, left(pg_temp.said(c * 31), 200), NULL, 'bench'
FROM generate_series(1, %(n)s / %(each)s) AS c
"""

_EPISODES = """
INSERT INTO episodes_episode (id, agent_id, conversation_id, external_id, input, output, steps, workflow, sources, usage,
  external_refs, attributes, harness_digest, release_ref, arm, weight, started_at, ended_at, captured_at, understood_at,
  committed_at, body_digest, analysis_error, analysis_failed_at)
SELECT pg_temp.id_at(i, %(n)s, 2), (%(agents)s::uuid[])[pg_temp.agent(c)], pg_temp.id_at(c * %(each)s, %(n)s, 1), 'episode-' || i,
  jsonb_build_object('messages', jsonb_build_array(
    jsonb_build_object('role', 'user', 'content', pg_temp.said(i * 7) || ' ' || pg_temp.said(i * 13)
      || pg_temp.special(i, %(n)s)))),
  jsonb_build_object('text', pg_temp.said(i * 17) || ' ' || pg_temp.said(i * 29)),
  '[{"kind": "tool_call", "name": "lookup_order", "input": {"order_id": "1"}, "output": {"status": "sent"}}]', '', '[]',
  '{"input_tokens": 812, "output_tokens": 201}',
  jsonb_build_object('ticket', 'T-' || i, 'order', 'O-' || (i / 3), 'channel', 'web'),
  '{"region": "eu", "tags": ["bench"]}', repeat(lpad(to_hex(i * 20 / %(n)s), 4, '0'), 16), NULL,
  CASE WHEN i BETWEEN %(n)s * 0.4 AND %(n)s * 0.5 THEN CASE WHEN i %% 20 = 0 THEN 'canary' ELSE 'control' END ELSE '' END,
  NULL, pg_temp.at(i, %(n)s), pg_temp.at(i, %(n)s), pg_temp.at(i, %(n)s),
  CASE WHEN i %% 5000 <> 0 AND i < %(n)s - 200 THEN pg_temp.at(i, %(n)s) + interval '2 seconds' END,
  now(), repeat('0', 64), CASE WHEN i %% 5000 = 0 THEN 'ValueError: odd' ELSE '' END,
  CASE WHEN i %% 5000 = 0 THEN now() END
FROM generate_series(%(from)s, %(until)s) AS i CROSS JOIN LATERAL (SELECT (i + %(each)s - 1) / %(each)s AS c) AS talk
"""

_SPECIAL = f"""
CREATE FUNCTION pg_temp.special(i bigint, n bigint) RETURNS text IMMUTABLE LANGUAGE sql AS $$
  SELECT CASE WHEN i % (n / 12) = 7 THEN ' {RARE}' ELSE '' END || CASE WHEN i % 100 = 3 THEN ' {UNCOMMON}' ELSE '' END
    || CASE WHEN i % 5 < 2 THEN ' {COMMON}' ELSE '' END || CASE WHEN i < n / 2 AND i % 5 = 1 THEN ' {GONE}' ELSE '' END $$;
CREATE FUNCTION pg_temp.said(k bigint) RETURNS text STABLE LANGUAGE sql AS
  $$ SELECT text FROM bench_fragment WHERE n = k % {_FRAGMENTS} $$;
CREATE FUNCTION pg_temp.agent(c bigint) RETURNS int IMMUTABLE LANGUAGE sql AS
  $$ SELECT CASE WHEN c % 1000 = 0 THEN 4 WHEN c % 10 < 6 THEN 1 WHEN c % 10 < 9 THEN 2 ELSE 3 END $$;
"""

# The same words by the same function as `episodes.finding.index_words`.
_WORDS = """
INSERT INTO episodes_episodetext (episode_id, words)
SELECT id, strip(to_tsvector('simple', 'agent' || replace(agent_id::text, '-', '') || ' '
  || (input #>> '{messages,0,content}') || ' ' || (output ->> 'text')))
FROM episodes_episode WHERE understood_at IS NOT NULL
  AND id BETWEEN pg_temp.id_at(%(from)s, %(n)s, 2) AND pg_temp.id_at(%(until)s, %(n)s, 2)
"""

_FACTS = """
INSERT INTO episodes_signal (id, episode_id, kind, layer, evidence, detector, created_at)
SELECT pg_temp.id_at(i, %(n)s, 3), pg_temp.id_at(i, %(n)s, 2), CASE WHEN i %% 3 = 0 THEN 'loop' ELSE 'tool_error' END,
  'tools', '{}', 'tool_error/rules-1', pg_temp.at(i, %(n)s) FROM generate_series(5, %(n)s, 5) AS i;
INSERT INTO episodes_outcome (id, conversation_id, episode_id, name, value, source, reason, at, recorded_at, recorded_by)
SELECT overlay(id::text PLACING '004' FROM 16)::uuid, id, NULL, resolution, 1, 'customer', '', last_at, last_at, 'shop'
FROM episodes_conversation WHERE resolution <> 'open';
INSERT INTO episodes_flag (id, episode_id, reason, note, flagged_by_id, flagged_by_name, created_at)
SELECT gen_random_uuid(), pg_temp.id_at(i, %(n)s, 2), 'wrong', '', NULL, 'a support agent', now()
FROM generate_series(1000, %(n)s, 1000) AS i
"""
_TABLES = ("episodes_conversation", "episodes_episode", "episodes_episodetext", "episodes_signal", "episodes_outcome")
_EPISODES_PER_CONVERSATION = 2
_QUICKLY = """
SET session_replication_role = replica; SET synchronous_commit = off; SET work_mem = '64MB';
SET maintenance_work_mem = '512MB'
"""
# Indexes of constraints stay: the rows come in the order of their ids.
_INDEXES = """
SELECT schemaname || '."' || indexname || '"', indexdef FROM pg_indexes WHERE tablename = ANY(%s) AND NOT EXISTS (
  SELECT FROM pg_constraint WHERE conindid = (schemaname || '."' || indexname || '"')::regclass)
"""
_KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND connamespace = 'public'::regnamespace
"""
_HANDS = 2
_SLICES = 8


def fill(episodes: int, agents: Sequence[UUID]) -> Iterator[str]:
    """Fill the throw-away database of this process; yield what comes next, for whoever watches.

    The first agent has six episodes of ten, the second three, the third one, the fourth one of a thousand. Tables are
    unlogged and indexes built last, so that it takes minutes and writes no log; reading them is the same.
    """
    each = _EPISODES_PER_CONVERSATION
    values = {"n": Int8(episodes), "each": Int8(each), "agents": list(agents)}
    with _server() as server:
        keys = server.execute(_KEYS).fetchall()
        for table, key, _ in keys:
            server.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{key}"')
        for (table,) in server.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'episodes_%'"
        ):
            server.execute(f"ALTER TABLE {table} SET UNLOGGED")
        indexes = server.execute(_INDEXES, [list(_TABLES)]).fetchall()
        for name, _ in indexes:
            server.execute(f"DROP INDEX {name}")
        server.execute("CREATE TABLE bench_fragment (n bigint PRIMARY KEY, text text)")
        with server.cursor() as cursor, cursor.copy("COPY bench_fragment FROM STDIN") as copy:
            for row in enumerate(_fragments(random.Random(20_260_101))):
                copy.write_row(row)
        yield "conversations"
        _aside((_CONVERSATIONS, values))
        for title, statement in (("episodes", _EPISODES), ("words", _WORDS)):
            yield title
            edges = [episodes * part // _SLICES for part in range(_SLICES + 1)]
            slices = [{"from": Int8(start + 1), "until": Int8(end)} for start, end in pairwise(edges)]
            _together([(statement, values | part) for part in slices])
        yield "signals, outcomes, flags"
        for statement in _FACTS.split(";"):
            _aside((statement, values))
        yield f"{len(indexes)} indexes"
        _together([(definition, None) for _, definition in indexes])
        for table, key, definition in keys:
            if table.startswith("episodes_"):
                server.execute(f'ALTER TABLE {table} ADD CONSTRAINT "{key}" {definition} NOT VALID')
        yield "vacuum and statistics"
        for table in _TABLES:
            server.execute(f"VACUUM ANALYZE {table}")


@contextmanager
def _server() -> Iterator[psycopg.Connection]:
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(_QUICKLY)
        yield server


def _together(tasks: Sequence[tuple[str, dict[str, Any] | None]]) -> None:
    with ThreadPoolExecutor(_HANDS) as pool:
        list(pool.map(_aside, tasks))


def _aside(task: tuple[str, dict[str, Any] | None]) -> None:
    with _server() as server:
        server.execute(_ID)
        server.execute(_SPECIAL)
        server.execute(*task)
