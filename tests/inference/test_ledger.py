"""The ledger: what it sums up, who may read it, and that nobody may change it."""

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from accounts.acting import MACHINE, Actor
from accounts.models import Membership, Team, User
from accounts.roles import Role
from inference.models import LedgerEntry
from inference.querysets import budget_day

pytestmark = pytest.mark.django_db


def entry(**changes: Any) -> LedgerEntry:
    facts: dict[str, Any] = {
        "call_id": uuid.uuid4(),
        "role": "critic",
        "purpose": "critique.write",
        "source": "localhost",
        "model": "small-model",
        "cost_usd": Decimal("0.25"),
        "outcome": "answered",
    }
    return LedgerEntry.objects.create(**{**facts, **changes})


def member(name: str, team: Team, *, role: Role = Role.ENGINEER, agent_id: uuid.UUID | None = None) -> User:
    user: User = User.objects.create_user(username=name, password=None, is_staff=True)
    Membership.objects.create(user=user, team=team, role=role, agent_id=agent_id)
    return user


@pytest.fixture
def ours() -> Team:
    return Team.objects.create(slug="ours", name="Ours")


@pytest.fixture
def theirs() -> Team:
    return Team.objects.create(slug="theirs", name="Theirs")


def test_spent_today__rows_around_midnight_utc__counts_the_day_of_utc() -> None:
    for at in ("2026-03-01T23:59:59.999", "2026-03-02T00:00:00", "2026-03-02T23:59:59", "2026-03-03T00:00:00"):
        entry(at=datetime.fromisoformat(at).replace(tzinfo=UTC))
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)

    assert LedgerEntry.objects.spent_today(noon) == Decimal("0.50")
    assert budget_day(noon) == (datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))


def test_spent_today__no_rows__is_zero() -> None:
    assert LedgerEntry.objects.spent_today() == 0


def test_visible_to__members_of_two_teams__see_the_calls_of_their_own(ours: Team, theirs: Team) -> None:
    agent_of_ours, other_agent_of_ours = uuid.uuid4(), uuid.uuid4()
    first = entry(team_id=ours.pk, agent_id=agent_of_ours)
    second = entry(team_id=ours.pk, agent_id=other_agent_of_ours)
    third = entry(team_id=theirs.pk, agent_id=uuid.uuid4())
    unowned = entry()

    def seen(actor: Actor) -> set[LedgerEntry]:
        return set(LedgerEntry.objects.visible_to(actor))

    assert seen(member("engineer", ours).as_actor()) == {first, second}
    assert seen(member("guest", ours, agent_id=agent_of_ours).as_actor()) == {first}
    assert seen(member("outsider", theirs).as_actor()) == {third}
    assert seen(member("administrator", theirs, role=Role.ADMINISTRATOR).as_actor()) == {third, unowned}
    assert seen(User.objects.create_user(username="nobody").as_actor()) == set()
    assert seen(Actor(kind="key", name="key", agent_id=agent_of_ours)) == {first}
    assert seen(MACHINE) == {first, second, third, unowned}
    assert str(first) == "critic · critique.write · Answered · $0.250000"


@pytest.mark.parametrize("act", ["UPDATE inference_ledgerentry SET cost_usd = 0", "DELETE FROM inference_ledgerentry"])
def test_ledger__row_changed_or_deleted__is_refused_by_the_database(act: str) -> None:
    entry()

    with pytest.raises(IntegrityError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL whetstone.test_flush = 'off'")
        cursor.execute(act)


def test_ledger__failure_without_a_named_error__is_refused_by_the_database() -> None:
    with pytest.raises(IntegrityError, match="ledger_error_names_failure"), transaction.atomic():
        entry(outcome="failed", error="")


def test_admin__engineer__reads_the_ledger_of_the_team_and_changes_nothing(
    client: Client, ours: Team, theirs: Team
) -> None:
    mine, foreign = entry(team_id=ours.pk), entry(team_id=theirs.pk, model="their-model")
    client.force_login(member("engineer", ours))

    changelist = client.get(reverse("admin:inference_ledgerentry_changelist"))
    own_page = client.get(reverse("admin:inference_ledgerentry_change", args=[mine.pk]))
    foreign_page = client.get(reverse("admin:inference_ledgerentry_change", args=[foreign.pk]))
    addition = client.get(reverse("admin:inference_ledgerentry_add"))

    assert changelist.status_code == own_page.status_code == 200
    assert "small-model" in changelist.text
    assert "their-model" not in changelist.text
    assert 'name="_save"' not in own_page.text
    assert foreign_page.status_code == 302
    assert addition.status_code == 403
