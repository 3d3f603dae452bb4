"""Administrators and the people of other teams."""

import pytest
from django.test import Client

from accounts.acting import MACHINE, acting
from accounts.models import Membership, User
from accounts.roles import Role


@pytest.fixture
def shared(cast):
    """Somebody who works for both teams."""
    with acting(MACHINE, reason="lent out"):
        Membership(user=cast.support, team=cast.other_team, role=Role.SUPPORT).save()
    return cast.support


def press(by, user, verb, **fields):
    browser = Client()
    browser.force_login(by)
    browser.post(f"/admin/accounts/user/{user.pk}/verb/{verb}/", {"reason": "left the company", **fields})
    user.refresh_from_db()
    return browser.get(f"/admin/accounts/user/{user.pk}/change/").content.decode()


def test_deactivate__by_an_administrator_of_one_of_the_teams__shuts_the_person_out(cast, shared):
    page = press(cast.administrator, shared, "deactivate")

    assert not shared.is_active
    assert "verb/reactivate" not in page


@pytest.mark.parametrize(("verb", "fields"), [("set_password", {"password": "brand new pass 1"}), ("reactivate", {})])
def test_letting_in__by_an_administrator_of_one_of_the_teams__is_refused(cast, shared, verb, fields):
    with acting(MACHINE, reason="away"):
        shared.is_active = verb != "reactivate"
        shared.save(update_fields=["is_active"])

    press(cast.administrator, shared, verb, **fields)

    assert shared.is_active == (verb != "reactivate")
    assert shared.check_password("correct horse")


def test_role__given_to_somebody_of_another_team__is_refused(cast):
    browser = Client()
    browser.force_login(cast.outsider)

    page = browser.post(
        "/admin/accounts/membership/add/",
        {"username": "support", "team": str(cast.other_team.pk), "role": "support", "agent": ""},
    ).content.decode()

    assert "works for other teams only" in page
    assert cast.support.memberships.count() == 1
    assert not User.objects.visible_to(cast.outsider.as_actor()).filter(username="support").exists()


def test_role__given_to_somebody_of_no_team__is_given(cast):
    User.objects.create_user("newcomer", password="correct horse", is_staff=True)
    browser = Client()
    browser.force_login(cast.administrator)

    browser.post(
        "/admin/accounts/membership/add/",
        {"username": "newcomer", "team": str(cast.team.pk), "role": "support", "agent": ""},
    )

    assert Membership.objects.filter(user__username="newcomer", team=cast.team).exists()
