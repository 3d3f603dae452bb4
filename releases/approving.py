"""Two people's word before a release: who may approve a plan, and what the approval binds to."""

from datetime import timedelta

from django.utils import timezone

from accounts.access import require
from accounts.acting import Actor, acting
from accounts.roles import Permission
from audit.exceptions import ReasonMissingError, TransitionRefusedError
from audit.record import record
from harness.exceptions import SelfApprovalError
from harness.independence import refuse_dependent
from releases.exceptions import PlanMovedError
from releases.models import Release, ReleaseApproval

__all__ = ["approve"]


def approve(release: Release, *, by: Actor, reason: str, plan_digest: str) -> None:
    """Write the approval down once per person and plan; approving again renews one that expired.

    Refuses the proposal's authors, the release's owner, another plan than the one in force, and any other state than
    awaiting approval.
    """
    with release.locked():
        require(by, Permission.APPROVE_RELEASE, release.access_scope(), act=f"approve {release}")
        if by.user_id in release.proposal.author_ids():
            raise SelfApprovalError(
                f"{by.name} wrote the change in {release} and cannot approve it: ask a second person."
            )
        if by.user_id == release.owner_id:
            raise SelfApprovalError(f"{by.name} planned {release} and cannot approve it: ask a second person.")
        refuse_dependent(
            by, authors=release.proposal.author_ids() | {release.owner_id}, drafted_at=release.proposal.created_at,
            permission=Permission.APPROVE_RELEASE, scope=release.access_scope(), act=f"approve {release}",
        )  # fmt: skip
        if release.status != Release.Status.AWAITING_APPROVAL:
            raise TransitionRefusedError(
                f"Cannot approve {release}: it is {release.status!r}; this needs {Release.Status.AWAITING_APPROVAL.value}."
            )
        if plan_digest != release.plan_digest:
            raise PlanMovedError(
                f"The plan of {release} is {release.plan_digest[:12]}…, not {plan_digest[:12] or 'none'}…: read it again."
            )
        if not reason.strip():
            raise ReasonMissingError(f"Say why the plan of {release} is right: the record needs it.")
        _write(release, by=by, reason=reason)


def _write(release: Release, *, by: Actor, reason: str) -> None:
    assert by.user_id is not None  # the permission belongs to people
    expires_at = timezone.now() + timedelta(seconds=release.agent.current_policy().approvals.expires_s)
    with acting(by, reason=reason):
        approval = release.approvals.filter(approver_id=by.user_id, plan_digest=release.plan_digest).first()
        approval = approval or ReleaseApproval(
            release=release, approver_id=by.user_id, plan_digest=release.plan_digest, is_simulated=by.is_simulated
        )
        approval.version_digest, approval.comment, approval.expires_at = release.version.digest, reason, expires_at
        approval.save()
        facts = {
            "plan_digest": release.plan_digest,
            "expires_at": expires_at.isoformat(),
            "is_simulated": by.is_simulated,
        }
        record("release.approve", release, digest=release.version.digest, team_id=release.agent.team_id, facts=facts)
