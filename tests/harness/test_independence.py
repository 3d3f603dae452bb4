"""One person who holds two accounts is not two people."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.acting import MACHINE, acting
from accounts.models import Membership, User
from accounts.roles import Role
from audit.record import record
from console.people import grant
from harness.exceptions import SelfApprovalError
from harness.models import Change
from releases.models import Release
from tests.console.world import build_world


@pytest.fixture
def change(agent, cast):
    return Change.propose(agent=agent, kind="policy", document={}, rationale="weaken", by=cast.administrator.as_actor())


def set_password(by, user):
    password = "brand new pass 1"
    browser = Client()
    browser.force_login(by)
    browser.post(f"/admin/accounts/user/{user.pk}/verb/set_password/", {"password": password, "reason": "forgotten"})
    user.refresh_from_db()
    assert user.check_password(password)


def approve(change, user):
    change.approve(by=user.as_actor(), reason="fine")


def test_approve__author_set_the_approvers_password__is_refused_in_the_admin_too(change, cast):
    set_password(cast.administrator, cast.approver)
    puppet = Client()
    assert puppet.login(username="approver", password="brand new pass 1")

    answer = puppet.post(
        f"/admin/harness/change/{change.pk}/verb/approve/",
        {"reason": "fine", "digest": change.audit_digest()},
        follow=True,
    )

    change.refresh_from_db()
    assert change.status == Change.Status.PROPOSED
    assert "administrator set a password" in answer.content.decode()
    approve(change, cast.second_approver)
    assert change.status == Change.Status.APPROVED


def test_approve__author_set_it_shortly_before_drafting__is_refused(agent, cast):
    set_password(cast.administrator, cast.approver)
    change = Change.propose(agent=agent, kind="policy", document={}, rationale="x", by=cast.administrator.as_actor())

    with pytest.raises(SelfApprovalError):
        approve(change, cast.approver)


def test_approve__author_set_it_long_before_drafting__counts(change, cast):
    set_password(cast.administrator, cast.approver)
    Change._base_manager.filter(pk=change.pk).update(proposed_at=timezone.now() + timedelta(days=8))
    change.refresh_from_db()

    approve(change, cast.approver)

    assert change.status == Change.Status.APPROVED


def test_approve__one_administrator_set_both_passwords__is_refused(agent, cast):
    change = Change.propose(agent=agent, kind="policy", document={}, rationale="x", by=cast.engineer.as_actor())
    set_password(cast.administrator, cast.approver)
    approve_me = Change.propose(agent=agent, kind="objective", document={}, rationale="x", by=cast.engineer.as_actor())
    set_password(cast.administrator, cast.engineer)

    for row in (change, approve_me):
        with pytest.raises(SelfApprovalError):
            approve(row, cast.approver)


def test_approve__approver_set_the_authors_password__is_refused(agent, cast):
    with acting(MACHINE, reason="a second hat"):
        Membership(user=cast.approver, team=cast.team, role=Role.ADMINISTRATOR).save()
    change = Change.propose(agent=agent, kind="policy", document={}, rationale="x", by=cast.engineer.as_actor())
    set_password(cast.approver, cast.engineer)

    with pytest.raises(SelfApprovalError):
        approve(change, cast.approver)


def test_approve__account_made_by_the_author_since__is_refused(change, cast):
    with acting(cast.administrator.as_actor(), reason="a friend"):
        friend = User.objects.create_user("friend", password="correct horse", is_staff=True)
        record("user.add", friend, team_id=cast.team.pk)
        grant(friend, cast.team, Role.APPROVER)

    with pytest.raises(SelfApprovalError):
        approve(change, friend)


def test_approve__role_given_by_the_author_since__is_refused_unless_held_before(change, cast):
    with acting(cast.administrator.as_actor(), reason="help me"):
        grant(cast.support, cast.team, Role.APPROVER)
        grant(cast.approver, cast.team, Role.ENGINEER)

    with pytest.raises(SelfApprovalError):
        approve(change, cast.support)
    approve(change, cast.approver)

    assert change.status == Change.Status.APPROVED


def test_approve__proposal_and_release__ask_the_same(agent, cast):
    world = build_world(agent, cast.administrator)
    release = Release.objects.filter(agent=agent).get()
    set_password(cast.administrator, cast.approver)
    Release._base_manager.filter(pk=release.pk).update(status="awaiting_approval", owner=cast.release_manager)
    release.refresh_from_db()

    with pytest.raises(SelfApprovalError, match="one person could be both"):
        world.proposal.approve(by=cast.approver.as_actor(), reason="fine")
    with pytest.raises(SelfApprovalError, match="one person could be both"):
        release.approve(by=cast.approver.as_actor(), reason="fine", plan_digest=release.plan_digest)
