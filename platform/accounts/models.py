"""People, teams and what each person may do in them."""

from typing import Any, ClassVar, Self

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Q

from accounts.acting import Actor
from accounts.history import GovernedHistory, GovernedQuerySet
from accounts.ids import uuid7
from accounts.roles import Permission, Role, roles_with

__all__ = ["FailedLogin", "Membership", "Team", "User"]


class UserQuerySet(GovernedQuerySet["User"]):
    def delete(self) -> tuple[int, dict[str, int]]:
        """Refuse: people are deactivated, one by one, so that the record keeps its names."""
        raise self._refuse("delete")

    def visible_to(self, actor: Actor) -> Self:
        """Return the people who share a team with `actor`, and the actor."""
        if actor.is_machine:
            return self
        teams = Membership.objects.of(actor).values("team_id")
        shares = Membership.objects.filter(team_id__in=teams).values("user_id")
        return self.filter(Q(pk=actor.user_id) | Q(pk__in=shares))


class PersonManager(UserManager.from_queryset(UserQuerySet)):  # type: ignore[misc]  # stubs do not know the class made here
    """Creates people. Named, because migrations refer to this manager by name."""


class User(AbstractUser):
    """A person. Deactivated, never deleted: history and approvals keep referring to them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    is_simulated = models.BooleanField(
        default=False,
        editable=False,
        help_text="A scripted person of a demonstration; production refuses such accounts.",
    )

    objects: ClassVar[PersonManager] = PersonManager()
    history = GovernedHistory(excluded_fields=["password", "last_login"])

    class Meta:
        ordering = ("username",)

    def __str__(self) -> str:
        return f"{self.username} (simulated)" if self.is_simulated else self.username

    @property
    def is_admitted(self) -> bool:
        """Return whether this installation lets the account in: an active one, and in production no simulated one."""
        return self.is_active and not (self.is_simulated and settings.IS_PRODUCTION)

    def as_actor(self) -> Actor:
        """Return this person as the actor of verbs and history."""
        return Actor(kind="user", name=self.username, user_id=self.pk, is_simulated=self.is_simulated)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Refuse: people are deactivated, so that the record keeps its names."""
        from accounts.exceptions import DomainError  # noqa: PLC0415  # only this refusal needs it

        raise DomainError(f"Cannot delete user {self.username!r}: the record refers to them. Deactivate them instead.")


class FailedLogin(models.Model):
    """A wrong password, for a name and an address that only a digest names; forgotten after minutes."""

    who = models.CharField(max_length=64)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        indexes = (models.Index(fields=("who", "at"), name="failed_login_who"),)

    def __str__(self) -> str:
        return f"{self.who[:12]}… at {self.at:%Y-%m-%d %H:%M}"


class TeamQuerySet(GovernedQuerySet["Team"]):
    def visible_to(self, actor: Actor) -> Self:
        return self if actor.is_machine else self.filter(pk__in=Membership.objects.of(actor).values("team_id"))


class Team(models.Model):
    """The people who answer for some agents; nothing of one team is visible to another."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=120)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = TeamQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.name


class MembershipQuerySet(GovernedQuerySet["Membership"]):
    def of(self, actor: Actor) -> Self:
        """Return the memberships that speak for `actor` (a key: its owner's)."""
        return self.filter(user_id=actor.user_id, user__is_active=True) if actor.user_id else self.none()

    def granting(self, permission: Permission) -> Self:
        return self.filter(role__in=roles_with(permission))

    def visible_to(self, actor: Actor) -> Self:
        return self if actor.is_machine else self.filter(team_id__in=self.model.objects.of(actor).values("team_id"))


class Membership(models.Model):
    """One role of one person in a team, over all its agents or over one of them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.PROTECT, related_name="memberships")
    team = models.ForeignKey(Team, on_delete=models.PROTECT, related_name="memberships")
    agent_id = models.UUIDField(null=True, blank=True, help_text="Empty: every agent of the team.")
    role = models.CharField(max_length=30, choices=Role.choices)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = MembershipQuerySet.as_manager()
    history = GovernedHistory()

    class Meta:
        ordering = ("team", "user", "role")
        constraints = (
            models.UniqueConstraint(
                fields=("user", "team", "agent_id", "role"), nulls_distinct=False, name="membership_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.user} · {self.get_role_display()} · {self.team}"
