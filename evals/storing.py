"""Results are written as they come, many a second, by one statement each time and without waiting for the disk."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection
from django.db.models import Field, JSONField

from evals.models import Result

__all__ = ["replayable_commits", "store_results"]

# `played_at` is the database's own time.
_FIELDS: tuple[Field[Any, Any], ...] = tuple(one for one in Result._meta.concrete_fields if one.name != "played_at")
_INSERT = (
    f"INSERT INTO {Result._meta.db_table} ({', '.join(f'"{field.column}"' for field in _FIELDS)}) "  # noqa: S608  # own names
    f"VALUES ({', '.join(['%s'] * len(_FIELDS))}) ON CONFLICT DO NOTHING"
)


def store_results(results: Sequence[Result]) -> None:
    """Write results in one exchange with the server; a case, arm and trial that has one already keeps it.

    Values travel beside the statement, which spares both sides to write and read them as SQL: the place of a trial is
    taken until it is stored, so this is a part of every trial's time.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.executemany(_INSERT, [[_value(result, field) for field in _FIELDS] for result in results])


@contextmanager
def replayable_commits() -> Iterator[None]:
    """Let commits return before they are on the disk: what a crash of the database takes with it can be played again.

    At most the last fraction of a second goes then; a killed worker loses nothing that was committed. The verdict's own
    commit waits for the disk as ever, and everything before it is there by then.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO off")
    try:
        yield
    finally:
        # A transaction that failed, or a connection that broke, has undone the setting with itself.
        if connection.connection is not None and not connection.needs_rollback and connection.is_usable():
            with connection.cursor() as cursor:
                cursor.execute("RESET synchronous_commit")


def _value(result: Result, field: Field[Any, Any]) -> Any:
    value = getattr(result, field.attname)
    return json.dumps(value) if isinstance(field, JSONField) and value is not None else value
