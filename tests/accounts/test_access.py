import pytest

from accounts.access import Scope, can, require
from accounts.acting import MACHINE, NOBODY, Actor, acting, current
from accounts.exceptions import DomainError, HistoryBypassError, NotPermittedError
from accounts.models import Membership, Team, User
from accounts.roles import ROLES, Permission, Role


@pytest.mark.parametrize("role", list(Role))
def test_can__each_role__holds_exactly_its_row_of_the_table(cast, role):
    user = getattr(cast, role.value)

    held = {permission for permission in Permission if can(user.as_actor(), permission, Scope(cast.team.pk))}

    assert held == ROLES[role]


def test_can__superuser_without_membership__holds_nothing(cast):
    superuser = User.objects.create_superuser("root-like", password="correct horse")

    held = [permission for permission in Permission if can(superuser.as_actor(), permission, Scope(cast.team.pk))]

    assert held == []


def test_can__membership_of_one_agent__does_not_reach_another(cast, agent, other_agent):
    person = User.objects.create_user("single", password="correct horse")
    Membership.objects.create(user=person, team=cast.team, agent_id=agent.pk, role=Role.ENGINEER)

    assert can(person.as_actor(), Permission.WRITE_PROPOSAL, agent.access_scope())
    assert not can(person.as_actor(), Permission.WRITE_PROPOSAL, Scope(cast.team.pk))
    assert not can(person.as_actor(), Permission.WRITE_PROPOSAL, other_agent.access_scope())


def test_can__key_without_the_scope__is_refused_though_its_owner_may(cast):
    actor = Actor(kind="key", name="key", user_id=cast.engineer.pk, scopes=frozenset({"view"}))

    assert not can(actor, Permission.WRITE_PROPOSAL, Scope(cast.team.pk))
    assert can(actor, Permission.VIEW, Scope(cast.team.pk))


def test_can__agents_key__holds_no_persons_permission(cast, agent):
    scopes = frozenset(permission.value for permission in Permission)
    actor = Actor(kind="key", name="key", user_id=cast.engineer.pk, agent_id=agent.pk, scopes=scopes)

    assert not any(can(actor, permission, agent.access_scope()) for permission in Permission)


def test_can__deactivated_person__holds_nothing(cast):
    cast.engineer.is_active = False
    cast.engineer.save()

    assert not can(cast.engineer.as_actor(), Permission.VIEW, Scope(cast.team.pk))


def test_require__refusal__says_who_may(cast):
    with pytest.raises(NotPermittedError, match="approver") as refusal:
        require(cast.support.as_actor(), Permission.APPROVE_PROPOSAL, Scope(cast.team.pk), act="approve it")

    assert refusal.value.http_status == 403


def test_machine_and_nobody__hold_no_permission(cast):
    assert not can(MACHINE, Permission.VIEW, Scope(cast.team.pk))
    assert not can(NOBODY, Permission.VIEW, Scope(cast.team.pk))


def test_visible_to__people__see_their_own_team_only(cast):
    actor = cast.outsider.as_actor()

    assert list(Team.objects.visible_to(actor)) == [cast.other_team]
    assert set(User.objects.visible_to(actor)) == {cast.outsider}
    assert not Membership.objects.visible_to(actor).exclude(team=cast.other_team).exists()
    assert not Team.objects.visible_to(NOBODY).exists()


def test_history__row__names_actor_and_reason(cast):
    with acting(cast.administrator.as_actor(), reason="renamed after the merger"):
        cast.team.name = "Customer care"
        cast.team.save()

    row = cast.team.history.first()
    assert (row.history_actor, row.history_change_reason) == ("administrator", "renamed after the merger")
    assert row.history_user_id == cast.administrator.pk


@pytest.mark.parametrize(
    "bypass",
    [
        lambda: Team.objects.update(name="x"),
        lambda: Team.objects.bulk_create([Team(slug="x", name="x")]),
        lambda: Team.objects.bulk_update([], ["name"]),
    ],
)
def test_governed_rows__bulk_write__is_refused(db, bypass):
    with pytest.raises(HistoryBypassError, match="history"):
        bypass()


def test_user__delete__is_refused(cast):
    with pytest.raises(DomainError, match="Deactivate"):
        cast.support.delete()


def test_acting__nested__inherits_reason_and_restores():
    actor = Actor(kind="user", name="somebody")

    with acting(actor, reason="outer", request_id="r-1"), acting(MACHINE):
        assert (current().actor, current().reason, current().request_id) == (MACHINE, "outer", "r-1")

    assert current().reason == ""
