"""History of governed rows: who, when, why, and no way around it."""

from typing import Any, Self
from uuid import UUID

from django.db import models
from simple_history.models import HistoricalRecords

from accounts.acting import current
from accounts.exceptions import HistoryBypassError

__all__ = ["GovernedHistory", "GovernedQuerySet", "HistoryActor"]


class HistoryActor(models.Model):
    """The actor as text, beside the constraint-less key: it outlives the account."""

    history_actor = models.CharField(max_length=200, default="", editable=False)

    class Meta:
        abstract = True


class GovernedHistory(HistoricalRecords):
    """Historical rows that take actor and reason from `accounts.acting` instead of a request."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(bases=[HistoryActor], user_db_constraint=False, **kwargs)

    def get_history_user(self, instance: models.Model) -> Any:
        user_id = current().actor.user_id
        return None if user_id is None else self.user_model_row(user_id)

    def user_model_row(self, user_id: UUID) -> Any:
        """Return an unsaved reference to the acting user: a history row needs the key, not a query."""
        from django.contrib.auth import get_user_model  # noqa: PLC0415  # the registry is not ready at import time

        return get_user_model()(pk=user_id)

    def get_change_reason_for_object(self, instance: models.Model, history_type: str, using: str) -> str | None:
        reason = super().get_change_reason_for_object(instance, history_type, using)
        return reason or current().reason or None


class GovernedQuerySet[M: models.Model](models.QuerySet[M]):
    """A queryset that refuses bulk writes, because they leave no history row."""

    def _refuse(self, act: str) -> HistoryBypassError:
        return HistoryBypassError(
            f"{act}() on {self.model.__name__} would leave no history row. Change rows one by one through their verbs."
        )

    def update(self, **kwargs: Any) -> int:
        raise self._refuse("update")

    def bulk_create(self, *args: Any, **kwargs: Any) -> list[M]:
        raise self._refuse("bulk_create")

    def bulk_update(self, *args: Any, **kwargs: Any) -> int:
        raise self._refuse("bulk_update")

    def locked(self) -> Self:
        """Lock the rows for this transaction without blocking inserts that refer to them."""
        return self.select_for_update(of=("self",), no_key=True)
