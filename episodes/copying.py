"""Writes many rows at once with COPY: one statement, no object per row."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from django.db import connection, models

__all__ = ["copy_rows", "json_text"]


def copy_rows(model: type[models.Model], columns: Sequence[str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Write rows of values into `columns` of a model's table, in this transaction.

    JSON goes in as text made by `json_text`. Columns left out take the default of the database. Raises the database's
    errors; a row that breaks a constraint undoes the whole statement.
    """
    columns_of = {field.name: str(field.column) for field in model._meta.concrete_fields}
    names = ", ".join(connection.ops.quote_name(columns_of[name]) for name in columns)
    table = connection.ops.quote_name(model._meta.db_table)
    # The copy is psycopg's own and does not speak Django's errors.
    with (
        connection.cursor() as cursor,
        connection.wrap_database_errors,
        cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def json_text(value: Any) -> str:
    """Return clean JSON as the text of a jsonb column."""
    return orjson.dumps(value).decode()
