"""What log lines say: routes and sentences, never addresses or rows."""

import logging

import pytest
from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction
from django.test import Client
from django.utils.module_loading import import_string

from accounts.models import Team

SECRET = "what a customer said\nTraceback (most recent call last):\n  over two lines"


@pytest.fixture
def lines(caplog):
    """Return the log as the console handler writes it."""
    caplog.set_level(logging.INFO)
    given = settings.LOGGING["formatters"]["structured"]
    formatter = given["()"](**{name: value for name, value in given.items() if name != "()"})
    return lambda: "\n".join(formatter.format(record) for record in caplog.records)


def test_log__database_refused_a_row__holds_none_of_its_values(db, lines):
    Team(slug="one", name=SECRET).save()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO accounts_team SELECT * FROM accounts_team")
    except IntegrityError:
        logging.getLogger("jobs").exception("task.crashed")
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE accounts_team SET name = 'a customer said', slug = '{}'::jsonb ->> 1 / 'x'")
    except (DataError, IntegrityError):
        logging.getLogger("jobs").exception("task.crashed")

    written = lines()

    assert "duplicate key value violates unique constraint" in written
    assert "test_logs.py" in written
    assert "DETAIL" not in written
    assert "LINE 1" not in written
    assert "customer said" not in written.replace("'a customer said', slug", "")


def test_log__requests__name_the_route_and_no_address(db, lines, cast):
    client = Client(raise_request_exception=False)
    client.force_login(cast.engineer)
    client.get("/api/v1/agents/nobody/users/ann-smith/state")
    client.get("/api/v1/ann-smith")

    written = lines()

    assert "request.served" in written
    assert "user-state" in written or "state" in written
    assert "ann-smith" not in written


def test_log__access__stands_at_info():
    assert settings.LOGGING["loggers"]["access"]["level"] == "INFO"
    assert import_string("config.requests.AccessLogMiddleware")
