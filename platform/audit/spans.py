"""Where to look in a table whose keys are time-ordered ids."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

__all__ = ["Span"]


@dataclass(frozen=True)
class Span:
    """What is older than one id, newest first; or newer than one, oldest first; or everything, newest first."""

    older: UUID | None = None
    newer: UUID | None = None

    @property
    def is_newest_first(self) -> bool:
        return self.newer is None

    @property
    def is_everything(self) -> bool:
        return self.older is None and self.newer is None

    def of(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows within, in the order in which they are looked at."""
        if self.older is not None:
            rows = rows.filter(pk__lt=self.older)
        if self.newer is not None:
            rows = rows.filter(pk__gt=self.newer)
        return rows.order_by("-pk" if self.is_newest_first else "pk")

    def up_to(self, rows: QuerySet[Any], last: UUID | None) -> QuerySet[Any]:
        """Return the rows that are looked at no later than `last`; all where it is `None`."""
        if last is None:
            return rows
        return rows.filter(pk__gte=last) if self.is_newest_first else rows.filter(pk__lte=last)

    def edge(self, rows: QuerySet[Any], distance: int) -> UUID | None:
        """Return the id of the row in that distance, `None` where there are fewer; reads nothing but the key."""
        keys = self.of(rows).values_list("pk", flat=True)[distance - 1 : distance]
        return next(iter(keys), None)

    def after(self, last: UUID) -> "Span":
        """Return what remains to be looked at after `last`."""
        return Span(older=last) if self.is_newest_first else Span(newer=last)
