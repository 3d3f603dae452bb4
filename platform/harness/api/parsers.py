"""Reads request bodies as strictly as documents, so that no view meets text that PostgreSQL or an answer cannot hold."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from harness.canonical import DocumentError, parse_json

__all__ = ["StrictJsonParser"]


class StrictJsonParser(BaseParser):
    """One JSON value without NUL, half surrogates, repeated names, unbounded numbers and nesting beyond 64 levels."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,  # DRF's signature
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = stream.read(limit + 1)
        if len(body) > limit:
            refusal = DocumentError("too_large", f"The body is larger than {limit:,} bytes. Send less at once.")
            refusal.http_status = 413
            raise refusal
        return parse_json(body, max_bytes=limit)
