"""Pages of API lists."""

from datetime import UTC, datetime
from typing import Any

from rest_framework.pagination import CursorPagination
from rest_framework.request import Request

from accounts.exceptions import DomainError
from accounts.ids import first_uuid7_at

__all__ = ["NewestFirst", "UnreadableMomentError"]


class UnreadableMomentError(DomainError):
    """A moment that is none."""

    code = "invalid"
    http_status = 422


class NewestFirst(CursorPagination):
    """Newest first by id, which is time-ordered, unique and indexed: a page costs the same at any depth, none is counted.

    `before` jumps to what came before a moment; the links of the page go on from there.
    """

    ordering = "-id"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 500
    before_query_param = "before"

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any] | None:
        if before := request.query_params.get(self.before_query_param):
            queryset = queryset.filter(pk__lt=first_uuid7_at(_moment(before)))
        return super().paginate_queryset(queryset, request, view)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        described = "Only what came before this moment (ISO 8601; without a zone it is UTC)."
        schema = {"type": "string", "format": "date-time"}
        before = {
            "name": self.before_query_param,
            "required": False,
            "in": "query",
            "description": described,
            "schema": schema,
        }
        return [*super().get_schema_operation_parameters(view), before]


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"{text[:60]!r} is no moment: send ISO 8601, e.g. 2026-01-31T12:00:00Z."
        raise UnreadableMomentError(message) from error
