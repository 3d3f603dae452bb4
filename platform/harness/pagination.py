"""Pages of API lists."""

from rest_framework.pagination import CursorPagination

__all__ = ["NewestFirst"]


class NewestFirst(CursorPagination):
    """Newest first by id, which is time-ordered, unique and indexed."""

    ordering = "-id"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 500
