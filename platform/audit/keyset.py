"""Lists of millions: pages by the keys of their first and last row, never by number, never counted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import batched, islice
from typing import Any, cast
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from psycopg.errors import QueryCanceled
from unfold.templatetags.unfold_list import result_headers
from unfold.views import ChangeList

from accounts.ids import first_uuid7_at
from audit.rows import rows_of
from audit.spans import Span

__all__ = ["KeysetChangeList"]

OLDER_VAR, NEWER_VAR, DAY_VAR = "older", "newer", "day"
# A filter that no index serves could read the whole table. After this long it is given up, and only so many of the
# newest rows are looked at: the page says so and offers to look further.
PATIENCE_MS = 400
WINDOW = 20_000
# Of what a search found, so many are held against the filters before the page is shown as far as it came.
MAX_CANDIDATES, CANDIDATES = 5_000, 500


class OnePage(Paginator):  # type: ignore[type-arg]  # generic over any row
    """What the skin's footer asks of a paginator, for a list that has no page numbers."""

    template_name = "desk/pages.html"


@dataclass(frozen=True)
class Page:
    """Rows, newest first, and the keys beside which the next pages begin.

    `looked_until` is the key at which the look ended before the page was full and before the rows ended.
    """

    rows: list[Any]
    older: UUID | None = None
    newer: UUID | None = None
    looked_until: UUID | None = None


class KeysetChangeList(ChangeList):
    """A list, newest first, whose every page costs the same, however deep; filters and search travel with its links."""

    span: Span | None = None
    day = ""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        if self.span is None:
            self.span = self._asked_span()
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        return rows.defer(*self.model_admin.list_defer)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:
        return ["-pk"]

    def get_results(self, request: HttpRequest) -> None:
        page = self._page(request)
        if self.span and self.span.newer and not page.newer and len(page.rows) < self.list_per_page:
            self.span = Span()  # arrived at the newest: the first page is full
            page = self._page(request)
        self.page = page
        self.result_list = page.rows
        self.result_count = self.full_result_count = len(page.rows)
        self.show_full_result_count = self.can_show_all = self.multi_page = False
        self.show_admin_actions = True
        self.paginator = OnePage(page.rows, self.list_per_page)

    @property
    def links(self) -> dict[str, str]:
        """Return the addresses of the pages beside this one; those that do not exist are left out."""
        span, page = self.span or Span(), self.page
        asked = {"newer": (NEWER_VAR, page.newer), "older": (OLDER_VAR, page.older)}
        found = {name: self.get_query_string({var: key}) for name, (var, key) in asked.items() if key}
        return found if span.is_everything else {"newest": self.get_query_string()} | found

    @property
    def headers(self) -> Iterator[dict[str, Any]]:
        """Return the column heads as the skin's template takes them."""
        return cast("Iterator[dict[str, Any]]", result_headers(self))

    @property
    def rows(self) -> Iterator[SafeString]:
        """Return the cells of each row, ready to be shown."""
        return rows_of(self)

    # reading

    def _asked_span(self) -> Span:
        """Take the place asked for out of the parameters, so that new filters and searches start at the newest."""
        asked = {}
        for name in (OLDER_VAR, NEWER_VAR, DAY_VAR):
            self.filter_params.pop(name, None)
            asked[name] = self.params.pop(name, "")
        try:
            if asked[DAY_VAR]:
                day = date.fromisoformat(asked[DAY_VAR])
                self.day = day.isoformat()
                return Span(older=first_uuid7_at(datetime.combine(day + timedelta(days=1), time(), UTC)))
            older, newer = (UUID(asked[name]) if asked[name] else None for name in (OLDER_VAR, NEWER_VAR))
        except (ValueError, OverflowError) as error:
            raise IncorrectLookupParameters(error) from error
        return Span(older=older) if older else Span(newer=newer)

    def _page(self, request: HttpRequest) -> Page:
        span, size = self.span or Span(), self.list_per_page
        found = self.model_admin.found_ids(request, self.query, span) if self.query else None
        rows, looked_until = self._read(span, size + 1) if found is None else self._hold(found, span, size + 1)
        has_more, rows = len(rows) > size, rows[:size]
        onward = rows[-1].pk if has_more else looked_until
        if span.is_newest_first:
            return Page(rows, onward, rows[0].pk if rows and span.older else None, looked_until)
        rows.reverse()
        return Page(rows, rows[-1].pk if rows else span.newer, onward, looked_until)

    def _read(self, span: Span, limit: int) -> tuple[list[Any], UUID | None]:
        """Return the first rows within the span, and where the look ended if that was too early."""
        try:
            with _patience(PATIENCE_MS):
                return list(span.of(self.queryset)[:limit]), None
        except OperationalError as error:
            if not isinstance(error.__cause__, QueryCanceled):
                raise
        edge = span.edge(self.model._default_manager.all(), WINDOW)
        rows = list(span.of(span.up_to(self.queryset, edge))[:limit])
        return rows, edge if len(rows) < limit else None

    def _hold(self, found: Iterator[UUID], span: Span, limit: int) -> tuple[list[Any], UUID | None]:
        """Hold what a search found against the filters until the page is full."""
        rows: list[Any] = []
        ids: Sequence[UUID] = list(islice(found, limit))
        looked_at = 0
        while ids:
            rows += span.of(self.queryset.filter(pk__in=ids))[: limit - len(rows)]
            looked_at += len(ids)
            if len(rows) >= limit:
                return rows[:limit], None
            if looked_at >= MAX_CANDIDATES:
                return rows, ids[-1]
            ids = next(batched(found, CANDIDATES, strict=False), ())
        return rows, None


@contextmanager
def _patience(milliseconds: int) -> Iterator[None]:
    """Cancel queries that take longer."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {milliseconds:d}")
        yield
        cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
