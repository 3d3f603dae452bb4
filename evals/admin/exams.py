"""Pages over rows of exams: who may not read the exam sees no text of it."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse

from audit.desk import GovernedAdmin, person
from evals.secrecy import ExamReader

__all__ = ["ExamAdmin"]


class ExamAdmin(GovernedAdmin):
    """A page over rows of exams. Who may not read the exam sees no text and no history; who does is recorded."""

    SECRETS: ClassVar[tuple[str, ...]] = ()

    def is_read(self, reader: ExamReader, row: Any) -> bool:
        raise NotImplementedError(f"{type(self).__name__} must say whose exam its rows are of")

    def is_shown(self, request: HttpRequest, row: Any) -> bool:
        reader: ExamReader | None = getattr(request, "whetstone_exam_reader", None)
        if reader is None:
            reader = ExamReader(person(request))
            request.whetstone_exam_reader = reader  # type: ignore[attr-defined]  # lives as long as the request
        return self.is_read(reader, row)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[Any]:
        names = super().get_fields(request, obj)
        hidden = () if obj is None or self.is_shown(request, obj) else self.SECRETS
        return [name for name in names if name not in hidden]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse to filter by text: a list that answers yes or no tells it word by word."""
        return lookup.partition("__")[0] not in self.SECRETS and bool(super().lookup_allowed(lookup, value, request))

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        if row is not None and not self.is_shown(request, row):
            raise PermissionDenied
        return super().history_view(request, object_id, extra_context)
