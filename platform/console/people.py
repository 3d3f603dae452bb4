"""People, their roles and teams: who may do what, given and taken by administrators."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest
from pydantic import BaseModel, Field
from unfold.decorators import display

from accounts.access import Scope, require
from accounts.acting import Actor, acting
from accounts.exceptions import DomainError, NotPermittedError
from accounts.models import Membership, Team, User
from accounts.roles import ROLES, Permission, Role
from audit.desk import Act, GovernedAdmin, VisibleRelatedFilter, person
from audit.forms import DeskForm
from audit.record import record
from harness.models import Agent, Revision

__all__ = ["MembershipAdmin", "TeamAdmin", "UserAdmin", "manages"]


def managed_teams(actor: Actor) -> set[UUID]:
    """Return the teams whose access `actor` manages."""
    granting = Membership.objects.of(actor).granting(Permission.MANAGE_ACCESS).filter(agent_id__isnull=True)
    return set(granting.values_list("team_id", flat=True))


def manages(actor: Actor, user: User) -> bool:
    """Return whether `actor` may change `user`: every team of that person is one whose access they manage."""
    theirs = set(Membership.objects.filter(user=user).values_list("team_id", flat=True))
    return bool(theirs) and theirs <= managed_teams(actor)


def _shared_team(actor: Actor, user: User) -> UUID | None:
    """Return a team of `user` that `actor` manages."""
    return user.memberships.filter(team_id__in=managed_teams(actor)).values_list("team_id", flat=True).first()


@transaction.atomic
def _changed(actor: Actor, user: User, act: str, **changes: Any) -> None:
    """Save what an administrator changes of a person, with its event at a team of theirs.

    The revision moves: what is remembered of the keys this person owns is old now.
    """
    user.refresh_from_db(from_queryset=User.objects.locked())
    team_id = _shared_team(actor, user)
    if team_id is None or not (act == "deactivate" or manages(actor, user)):
        raise NotPermittedError(
            f"{actor.name} may not change {user}: that person works for a team you do not administer."
        )
    for name, value in changes.items():
        setattr(user, name, value)
    user.save(update_fields=list(changes))
    record(f"user.{act}", user, team_id=team_id)
    Revision.bump()


class UserForm(DeskForm):
    """A new person with their first role."""

    username = forms.CharField(max_length=150, validators=[User.username_validator])
    first_name = forms.CharField(max_length=150, required=False)
    last_name = forms.CharField(max_length=150, required=False)
    email = forms.EmailField(required=False)
    password = forms.CharField(widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}))
    team = forms.ModelChoiceField(Team.objects.none())
    role = forms.ChoiceField(choices=Role.choices)

    def prepare(self) -> None:
        field = self.fields["team"]
        assert isinstance(field, forms.ModelChoiceField)  # declared above
        field.queryset = Team.objects.filter(pk__in=managed_teams(self.actor))
        field.initial = field.queryset.first()

    def clean_username(self) -> str:
        username = str(self.cleaned_data["username"])
        if User.objects.filter(username=username).exists():
            raise forms.ValidationError(f"{username!r} exists already: give that person a role instead.")
        return username

    def clean_password(self) -> str:
        password = str(self.cleaned_data["password"])
        validate_password(password, User(username=self.cleaned_data.get("username", "")))
        return password


class NewPassword(BaseModel):
    """A password an administrator sets."""

    password: str = Field(
        max_length=128, json_schema_extra={"format": "password"}, description="At least ten characters."
    )


def _set_password(row: User, *, by: Actor, reason: str, password: str) -> str:
    try:
        validate_password(password, row)
    except ValidationError as error:
        raise DomainError(" ".join(error.messages)) from error
    _changed(by, row, "set_password", password=make_password(password))
    return f"The password of {row} is set. Tell it to them in person."


def _deactivate(row: User, *, by: Actor, reason: str) -> str:
    if by.user_id == row.pk:
        raise DomainError("Nobody deactivates themselves: ask another administrator.")
    _changed(by, row, "deactivate", is_active=False)
    return f"{row} can no longer sign in; what they did stays in the record."


def _reactivate(row: User, *, by: Actor, reason: str) -> str:
    _changed(by, row, "reactivate", is_active=True)
    return f"{row} can sign in again."


class UserAdmin(GovernedAdmin):
    list_display = ("username", "full_name", "roles", "is_active", "is_simulated", "last_login")
    list_filter = ("is_active", "is_simulated")
    search_fields = ("username", "first_name", "last_name", "email")
    ordering = ("username",)
    fields = (
        "username", "first_name", "last_name", "email", "is_active", "is_simulated", "is_superuser", "date_joined", "last_login"
    )  # fmt: skip
    editable = ("first_name", "last_name", "email")
    writing_form = UserForm
    reading_template = "console/user.html"
    acts = (
        Act("set_password", "Set a password", Permission.MANAGE_ACCESS, _set_password, form=NewPassword),
        Act(
            "deactivate",
            "Deactivate",
            Permission.MANAGE_ACCESS,
            _deactivate,
            danger=True,
            offered=lambda row: row.is_active,
        ),
        Act("reactivate", "Reactivate", Permission.MANAGE_ACCESS, _reactivate, offered=lambda row: not row.is_active),
    )

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("memberships__team")

    def scope_of(self, row: User) -> Scope | None:
        return None

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may(request, "change", None) and (obj is None or manages(person(request), obj))

    def acts_for(self, request: HttpRequest, row: User) -> list[Act]:
        """Any administrator of a person may shut them out; what lets somebody in needs all of their teams."""
        actor = person(request)
        everything, anything = manages(actor, row), _shared_team(actor, row) is not None
        return [
            act for act in self.acts if act.offered(row) and (everything or (anything and act.verb == "deactivate"))
        ]

    def write(self, request: HttpRequest, data: dict[str, Any]) -> User:
        team, role = data.pop("team"), data.pop("role")
        require(person(request), Permission.MANAGE_ACCESS, Scope(team_id=team.pk), act=f"add people to {team}")
        user: User = User.objects.create_user(is_staff=True, **data)
        record("user.add", user, team_id=team.pk)
        grant(user, team, role)
        return user

    def reading(self, request: HttpRequest, row: User) -> dict[str, Any]:
        return {"memberships": Membership.objects.visible_to(person(request)).filter(user=row).select_related("team")}

    @display(description="Name")
    def full_name(self, row: User) -> str:
        return row.get_full_name()

    @display(description="Roles")
    def roles(self, row: Any) -> str:
        return ", ".join(sorted({membership.get_role_display() for membership in row.memberships.all()}))


def grant(user: User, team: Team, role: str, agent_id: UUID | None = None) -> Membership:
    """Give a role; giving it twice is a refusal, not a second row."""
    if Membership.objects.filter(user=user, team=team, role=role, agent_id=agent_id).exists():
        raise DomainError(f"{user} is {Role(role).label.lower()} there already.")
    membership = Membership(user=user, team=team, role=role, agent_id=agent_id)
    membership.save(force_insert=True)
    record("membership.grant", membership, team_id=team.pk, facts={"role": role, "user": str(user.pk)})
    return membership


class MembershipForm(DeskForm):
    """A role for somebody, over all agents of a team or over one."""

    username = forms.CharField(max_length=150, help_text="The person, who has an account already.")
    team = forms.ModelChoiceField(Team.objects.none())
    role = forms.ChoiceField(choices=Role.choices)
    agent = forms.ModelChoiceField(Agent.objects.none(), required=False, help_text="Empty: every agent of the team.")

    def prepare(self) -> None:
        teams = managed_teams(self.actor)
        for name, rows in (
            ("team", Team.objects.filter(pk__in=teams)),
            ("agent", Agent.objects.filter(team_id__in=teams)),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ModelChoiceField)  # declared above
            field.queryset = rows
        self.fields["team"].initial = Team.objects.filter(pk__in=teams).first()

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        agent, team = data.get("agent"), data.get("team")
        if agent is not None and team is not None and agent.team_id != team.pk:
            self.add_error("agent", f"{agent} is not an agent of {team}.")
        user = User.objects.filter(username=data.get("username", ""), is_active=True).first()
        if user is None and "username" in data:
            self.add_error("username", "Nobody active has this name: add the person first.")
        elif user is not None and user.memberships.exists() and _shared_team(self.actor, user) is None:
            self.add_error(
                "username",
                "This person works for other teams only: an administrator of one of those must give the role.",
            )
        return data | {"user": user}


class MembershipAdmin(GovernedAdmin):
    list_display = ("user", "role", "team", "agent_name", "created_at")
    list_filter = (("team", VisibleRelatedFilter), "role")
    search_fields = ("user__username",)
    list_select_related = ("user", "team")
    fields = ("user", "team", "role", "agent_name", "created_at")
    writing_form = MembershipForm
    writing_help = "A role says what a person may do; what each role carries stands in the table below."
    writing_template = "console/grant.html"

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> Any:
        carried = [(role.label, ", ".join(sorted(str(one) for one in held))) for role, held in ROLES.items()]
        return super().add_view(request, form_url, {"carried": carried, **(extra_context or {})})

    def scope_of(self, row: Membership) -> Scope:
        return Scope(team_id=row.team_id)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A team keeps its last administrator, or nobody could let anyone in again."""
        if not super().has_delete_permission(request, obj):
            return False
        if obj is None or obj.role != Role.ADMINISTRATOR or obj.agent_id is not None:
            return True
        others = Membership.objects.filter(team=obj.team, role=Role.ADMINISTRATOR, agent_id=None, user__is_active=True)
        return others.exclude(pk=obj.pk).exists()

    def write(self, request: HttpRequest, data: dict[str, Any]) -> Membership:
        team = data["team"]
        require(person(request), Permission.MANAGE_ACCESS, Scope(team_id=team.pk), act=f"give roles in {team}")
        with acting(person(request), reason="given in the admin"):
            return grant(data["user"], team, data["role"], data["agent"].pk if data["agent"] else None)

    @display(description="Agent")
    def agent_name(self, row: Membership) -> str:
        if row.agent_id is None:
            return "every agent"
        return str(Agent.objects.filter(pk=row.agent_id, team_id=row.team_id).first() or "none of this team")


class TeamAdmin(GovernedAdmin):
    list_display = ("name", "slug", "created_at")
    fields = ("name", "slug", "created_at")
    reading_template = "console/team.html"

    def scope_of(self, row: Team) -> Scope:
        return Scope(team_id=row.pk)

    def reading(self, request: HttpRequest, row: Team) -> dict[str, Any]:
        return {
            "memberships": row.memberships.select_related("user").order_by("user__username", "role"),
            "agents": Agent.objects.visible_to(person(request)).filter(team=row).select_related("stable"),
        }  # fmt: skip
