"""Roles and what each may do: a table in code, so that reading it is reading the truth."""

from enum import StrEnum

from django.db import models

__all__ = ["AGENT_KEY_SCOPES", "ROLES", "Permission", "Role", "roles_with"]


class Permission(StrEnum):
    """One thing a person may be allowed to do to the agents of a team."""

    VIEW = "view"
    FLAG_EPISODE = "flag_episode"
    CORRECT_EPISODE = "correct_episode"
    EDIT_INTENTS = "edit_intents"
    TRIAGE_PATTERN = "triage_pattern"
    EDIT_USER_STATE = "edit_user_state"
    WRITE_PROPOSAL = "write_proposal"
    APPROVE_PROPOSAL = "approve_proposal"
    EDIT_BENCHMARK = "edit_benchmark"
    READ_EXAM = "read_exam"
    LABEL_RESULT = "label_result"
    START_RUN = "start_run"
    PLAN_RELEASE = "plan_release"
    APPROVE_RELEASE = "approve_release"
    RUN_RELEASE = "run_release"
    STOP_RELEASE = "stop_release"
    PROPOSE_CHANGE = "propose_change"
    APPROVE_CHANGE = "approve_change"
    MANAGE_ACCESS = "manage_access"
    MANAGE_AGENT = "manage_agent"
    READ_AUDIT = "read_audit"


class Role(models.TextChoices):
    """What a person is to a team."""

    SUPPORT = "support", "Support"
    ENGINEER = "engineer", "Engineer"
    APPROVER = "approver", "Approver"
    RELEASE_MANAGER = "release_manager", "Release manager"
    ON_CALL = "on_call", "On-call"
    AUDITOR = "auditor", "Auditor"
    ADMINISTRATOR = "administrator", "Administrator"


P = Permission
ROLES: dict[Role, frozenset[Permission]] = {
    Role.SUPPORT: frozenset(
        {P.VIEW, P.FLAG_EPISODE, P.CORRECT_EPISODE, P.EDIT_USER_STATE, P.TRIAGE_PATTERN, P.LABEL_RESULT}
    ),
    Role.ENGINEER: frozenset(
        {P.VIEW, P.FLAG_EPISODE, P.CORRECT_EPISODE, P.EDIT_INTENTS, P.TRIAGE_PATTERN, P.WRITE_PROPOSAL}
        | {P.EDIT_BENCHMARK, P.START_RUN, P.PLAN_RELEASE, P.PROPOSE_CHANGE, P.LABEL_RESULT}
    ),
    # Those who judge write and read the exam; those who correct or draft never read it.
    Role.APPROVER: frozenset(
        {P.VIEW, P.APPROVE_PROPOSAL, P.APPROVE_RELEASE, P.APPROVE_CHANGE, P.EDIT_BENCHMARK, P.READ_EXAM, P.LABEL_RESULT}
    ),
    Role.RELEASE_MANAGER: frozenset({P.VIEW, P.PLAN_RELEASE, P.RUN_RELEASE, P.STOP_RELEASE}),
    Role.ON_CALL: frozenset({P.VIEW, P.STOP_RELEASE, P.FLAG_EPISODE, P.LABEL_RESULT}),
    Role.AUDITOR: frozenset({P.VIEW, P.READ_AUDIT, P.READ_EXAM}),
    Role.ADMINISTRATOR: frozenset({P.VIEW, P.MANAGE_ACCESS, P.MANAGE_AGENT, P.PROPOSE_CHANGE, P.READ_AUDIT}),
}

AGENT_KEY_SCOPES: frozenset[str] = frozenset(
    {"harness:read", "episode:write", "outcome:write", "outcome:truth", "state:write", "lesson:write", "run:play"}
)


def roles_with(permission: Permission) -> list[Role]:
    """Return the roles that carry `permission`."""
    return [role for role, permissions in ROLES.items() if permission in permissions]
