"""Real proof that a server answers, and that it serves this very directory."""

import os
from pathlib import Path

import psycopg
import redis

from config.embedded.layout import DATABASE, PORT, Layout

__all__ = ["postgres_serves", "valkey_serves"]


def postgres_serves(layout: Layout) -> bool:
    """Tell whether a PostgreSQL behind our socket takes queries on our data directory."""
    if not (layout.sockets / f".s.PGSQL.{PORT}").exists():
        return False
    try:
        with psycopg.connect(
            host=str(layout.sockets), port=PORT, user=DATABASE, dbname="postgres", connect_timeout=2, autocommit=True
        ) as connection:
            row = connection.execute("SELECT current_setting('data_directory')").fetchone()
    except psycopg.Error:
        return False
    return row is not None and Path(os.path.realpath(row[0])) == layout.postgres


def valkey_serves(layout: Layout) -> bool:
    """Tell whether a Valkey behind our socket takes commands on our data directory."""
    try:
        with redis.Redis(unix_socket_path=str(layout.redis_socket), socket_timeout=2) as client:
            answer = client.config_get("dir")
    except redis.RedisError:
        return False
    return Path(os.path.realpath(answer["dir"])) == layout.valkey
