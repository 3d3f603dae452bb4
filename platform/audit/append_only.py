"""Tables that only grow: a migration operation that makes PostgreSQL refuse everything else."""

from django.db.migrations.operations import RunSQL

__all__ = ["AppendOnly", "AppendOnlyExcept", "guard_function"]

# A flush between tests is let through only where both hold: the connection says so, and the database is a test one.
_FUNCTION = """
CREATE OR REPLACE FUNCTION whetstone_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF current_setting('whetstone.test_flush', true) = 'on' AND current_database() LIKE 'test\\_%' THEN
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
  END IF;
  RAISE EXCEPTION '% on % is refused: rows of this table are never changed', TG_OP, TG_TABLE_NAME
    USING ERRCODE = 'integrity_constraint_violation';
END $$;
"""


def guard_function() -> RunSQL:
    """Return the operation that installs the trigger function; the first migration of `audit` runs it once."""
    return RunSQL([_FUNCTION], ["DROP FUNCTION IF EXISTS whetstone_append_only()"], elidable=False)


class AppendOnly(RunSQL):
    """Refuse UPDATE, DELETE and TRUNCATE on `table`."""

    reduces_to_sql = True

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            sql=[
                f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION whetstone_append_only()",
                f"CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION whetstone_append_only()",
            ],
            reverse_sql=[
                f"DROP TRIGGER IF EXISTS append_only ON {table}",
                f"DROP TRIGGER IF EXISTS append_only_truncate ON {table}",
            ],
        )

    def deconstruct(self) -> tuple[str, list[str], dict[str, object]]:
        return (self.__class__.__name__, [self.table], {})

    def describe(self) -> str:
        return f"Make {self.table} append-only"


class AppendOnlyExcept(AppendOnly):
    """Refuse DELETE and TRUNCATE on `table`, and any UPDATE that touches a column outside `changeable`."""

    def __init__(self, table: str, changeable: list[str]) -> None:
        self.changeable = changeable
        super().__init__(table)
        kept = ", ".join(f"'{column}'" for column in changeable)
        self.sql = [
            f"CREATE TRIGGER append_only BEFORE UPDATE ON {table} FOR EACH ROW "
            f"WHEN ((to_jsonb(OLD) - ARRAY[{kept}]) IS DISTINCT FROM (to_jsonb(NEW) - ARRAY[{kept}])) "
            "EXECUTE FUNCTION whetstone_append_only()",
            f"CREATE TRIGGER append_only_delete BEFORE DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION whetstone_append_only()",
            f"CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION whetstone_append_only()",
        ]
        self.reverse_sql = [
            f"DROP TRIGGER IF EXISTS {name} ON {table}"
            for name in ("append_only", "append_only_delete", "append_only_truncate")
        ]

    def deconstruct(self) -> tuple[str, list[str], dict[str, object]]:
        return (self.__class__.__name__, [self.table, self.changeable], {})  # type: ignore[list-item]  # a list argument is fine for the writer
