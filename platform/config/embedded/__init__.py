"""PostgreSQL and Valkey of this checkout, running whenever somebody needs them; no ceremony, no configuration.

`DATABASE_URL` and `REDIS_URL`, each by itself, replace them by servers of your own.
"""

import os
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from config.embedded.client import Endpoints, ensure, status, stop
from config.embedded.exceptions import EmbeddedError

__all__ = ["EmbeddedError", "Endpoints", "database_settings", "ensure", "redis_url", "status", "stop"]


def database_settings() -> dict[str, Any]:
    """Return the connection fields of one entry of Django's DATABASES, starting PostgreSQL unless DATABASE_URL is set.

    Parameters of the URL's query become libpq options. Raise `EmbeddedError` for a URL that is not PostgreSQL's.
    """
    url = os.environ.get("DATABASE_URL") or ensure("postgres").database_url
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"}:
        raise EmbeddedError(f"Cannot use DATABASE_URL of scheme {parts.scheme!r}; set a postgresql:// address.")
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.removeprefix("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", "") or unquote(parts.hostname or ""),
        "PORT": options.pop("port", "") or str(parts.port or ""),
        "OPTIONS": options,
    }


def redis_url() -> str:
    """Return the address for redis-py, starting Valkey unless REDIS_URL is set."""
    return os.environ.get("REDIS_URL") or ensure("valkey").redis_url
