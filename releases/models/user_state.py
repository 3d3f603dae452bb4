"""One subject's own layer over the released harness."""

from typing import Any

from django.db import IntegrityError, models, transaction
from django.db.models.functions import Now

from accounts.acting import Actor, acting
from accounts.history import GovernedHistory
from accounts.ids import uuid7
from audit.record import record
from harness.canonical import digest_of
from harness.documents import validate_overlay
from harness.models import Agent, Revision
from releases.exceptions import PreconditionError
from releases.querysets import UserStateQuerySet

__all__ = ["UserState"]


class UserState(models.Model):
    """What one user's harness says beyond the released one: `memory.user.*` and `prompt.preferences.*` only."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="user_states")
    subject = models.CharField(max_length=200)
    overlay = models.JSONField(default=dict)
    revision = models.PositiveIntegerField(default=1, editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = UserStateQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("agent", "subject")
        constraints = (models.UniqueConstraint(fields=("agent", "subject"), name="user_state_once"),)

    def __str__(self) -> str:
        return f"{self.subject} of {self.agent.slug}"

    @property
    def etag(self) -> str:
        return f'"{self.revision}-{digest_of(self.overlay)[:16]}"'

    @classmethod
    @transaction.atomic
    def write(
        cls, *, agent: Agent, subject: str, overlay: dict[str, Any], by: Actor, reason: str, if_match: str | None = None
    ) -> "UserState":
        """Replace the user's overlay; `if_match` refuses to overwrite what the caller has not seen.

        `None` writes unconditionally, `""` demands that nothing is stored yet, `*` that something is.
        """
        validate_overlay(overlay)
        state = cls.objects.locked().filter(agent=agent, subject=subject).first()
        seen = state.etag if state else ""
        if if_match is not None and if_match != seen and not (if_match == "*" and seen):
            raise PreconditionError(
                f"The state of {subject!r} is {seen or 'empty'} by now, not {if_match or 'empty'}: read it again."
            )
        if state is None:
            state = cls(agent=agent, subject=subject, overlay=overlay)
        else:
            state.overlay, state.revision = overlay, state.revision + 1
        with acting(by, reason=reason):
            try:
                with transaction.atomic():
                    state.save()
            except IntegrityError as error:
                raise PreconditionError(
                    f"The state of {subject!r} was written in the same moment: read it again."
                ) from error
            record("user_state.write", state, digest=digest_of(overlay), team_id=agent.team_id)
        Revision.bump()
        return state

    @transaction.atomic
    def erase(self, *, by: Actor, reason: str, if_match: str | None = None) -> None:
        """Delete the overlay; what remains is that it was deleted. `if_match` as in `write`."""
        self.refresh_from_db(from_queryset=UserState.objects.locked())
        if if_match not in (None, "*", self.etag):
            raise PreconditionError(
                f"The state of {self.subject!r} is {self.etag} by now, not {if_match}: read it again."
            )
        reference, team_id = self.pk, self.agent.team_id
        with acting(by, reason=reason):
            self.delete()
            record("user_state.erase", f"releases.userstate:{reference}", team_id=team_id)
        Revision.bump()
