"""Django permissions read off the table of roles."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.db import models

from accounts.access import has_anywhere
from accounts.models import Membership, User
from accounts.roles import Permission

__all__ = ["RoleBackend"]

# What a form of the admin may add or change directly; everything else moves by verbs.
FORMS: dict[str, Permission] = {
    "accounts.add_user": Permission.MANAGE_ACCESS,
    "accounts.change_user": Permission.MANAGE_ACCESS,
    "accounts.add_membership": Permission.MANAGE_ACCESS,
    "accounts.change_membership": Permission.MANAGE_ACCESS,
    "accounts.delete_membership": Permission.MANAGE_ACCESS,
    "harness.add_apikey": Permission.MANAGE_ACCESS,
    "harness.add_agent": Permission.MANAGE_AGENT,
    "harness.change_agent": Permission.MANAGE_AGENT,
    "harness.add_change": Permission.PROPOSE_CHANGE,
    "episodes.add_flag": Permission.FLAG_EPISODE,
    "episodes.add_correction": Permission.CORRECT_EPISODE,
    "episodes.add_intent": Permission.EDIT_INTENTS,
    "episodes.change_intent": Permission.EDIT_INTENTS,
    "proposals.add_proposal": Permission.WRITE_PROPOSAL,
    "evals.add_benchmark": Permission.EDIT_BENCHMARK,
    "evals.change_benchmark": Permission.EDIT_BENCHMARK,
    "evals.add_case": Permission.EDIT_BENCHMARK,
    "evals.change_case": Permission.EDIT_BENCHMARK,
    "evals.add_run": Permission.START_RUN,
    "releases.add_release": Permission.PLAN_RELEASE,
    "releases.change_userstate": Permission.EDIT_USER_STATE,
    "releases.add_userstate": Permission.EDIT_USER_STATE,
}


class RoleBackend(ModelBackend):
    """Answers `has_perm` from memberships: members may view, roles may fill in the forms of `FORMS`.

    Superusers get no exemption from approvals: verbs ask `accounts.access`, not this backend.
    """

    def user_can_authenticate(self, user: Any) -> bool:
        """Let in whom the installation admits; asked at login and again at every request of a session."""
        return isinstance(user, User) and user.is_admitted

    def has_perm(self, user_obj: Any, perm: str, obj: models.Model | None = None) -> bool:
        if not isinstance(user_obj, User) or not user_obj.is_active:
            return False
        if perm in FORMS:
            return has_anywhere(user_obj.as_actor(), FORMS[perm])
        _, _, codename = perm.partition(".")
        if codename.startswith("view_"):
            return Membership.objects.of(user_obj.as_actor()).exists()
        return False

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        return isinstance(user_obj, User) and Membership.objects.of(user_obj.as_actor()).exists()
