"""Writes rows of values in one statement, without an object per row: a few with INSERT, many with COPY."""

from collections.abc import Iterable, Sequence
from itertools import chain, islice
from typing import Any

from django.db import connection, models

__all__ = ["copy_rows"]

# COPY takes two exchanges with the server, INSERT one; beyond this COPY's cheaper rows win.
_FEW = 8


def copy_rows(model: type[models.Model], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Write rows of values into `columns` of a model's table, in this transaction.

    JSON goes in as text. Columns left out take the default of the database. Raises the database's
    errors; a row that breaks a constraint undoes the whole statement.
    """
    columns_of = {field.name: str(field.column) for field in model._meta.concrete_fields}
    names = ", ".join(connection.ops.quote_name(columns_of[name]) for name in columns)
    into = f"{connection.ops.quote_name(model._meta.db_table)} ({names})"
    coming = iter(rows)
    first = list(islice(coming, _FEW + 1))
    if len(first) > _FEW:
        _copy(into, chain(first, coming))
    elif first:
        _insert(into, first)


def _insert(into: str, rows: Sequence[tuple[Any, ...]]) -> None:
    values = ", ".join(f"({', '.join(['%s'] * len(row))})" for row in rows)
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {into} VALUES {values}", list(chain.from_iterable(rows)))  # noqa: S608  # own names


def _copy(into: str, rows: Iterable[tuple[Any, ...]]) -> None:
    # The copy is psycopg's own and does not speak Django's errors.
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY {into} FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)
