"""Who is let in: not whoever guesses, and in production no scripted person."""

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client
from django.utils import timezone

from accounts.exceptions import HistoryBypassError
from accounts.guessing import MAX_FAILURES, WINDOW
from accounts.models import FailedLogin, User
from harness.models import ApiKey

LOGIN = "/admin/login/"


def attempt(password, username="approver", **more):
    return Client().post(LOGIN, {"username": username, "password": password}, **more)


def test_login__ten_failures__are_answered_with_when_to_come_back(cast):
    answers = [attempt(f"wrong {number}").status_code for number in range(MAX_FAILURES)]

    refused = attempt("correct horse")

    assert answers == [200] * MAX_FAILURES
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= WINDOW.total_seconds()
    assert attempt("correct horse", username="engineer").status_code == 302
    assert attempt("correct horse", REMOTE_ADDR="203.0.113.7").status_code == 302


def test_login__after_the_window__is_open_again_and_the_failures_are_forgotten(cast):
    for number in range(MAX_FAILURES):
        attempt(f"wrong {number}")
    FailedLogin.objects.update(at=timezone.now() - WINDOW - timedelta(seconds=1))

    assert attempt("wrong again").status_code == 200
    assert FailedLogin.objects.count() == 1
    assert attempt("correct horse").status_code == 302
    assert not FailedLogin.objects.exists()


def test_login__name_with_nul_or_half_a_pair__is_a_failure_like_others(cast):
    assert attempt("x", username="a\x00b").status_code == 200
    assert attempt("x", username="a" * 5_000).status_code == 200


def test_login__behind_a_proxy_in_production__counts_the_address_it_wrote(cast, settings):
    settings.IS_PRODUCTION, settings.SECURE_SSL_REDIRECT = True, False
    for number in range(MAX_FAILURES):
        attempt(f"wrong {number}", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}, 203.0.113.7")

    assert attempt("correct horse", HTTP_X_FORWARDED_FOR="203.0.113.7").status_code == 429
    assert attempt("correct horse", HTTP_X_FORWARDED_FOR="203.0.113.8").status_code == 302


@pytest.fixture
def scripted(cast):
    return User.objects.create_user("scripted", password="correct horse", is_staff=True, is_simulated=True)


def test_simulated_account__in_production__is_let_in_nowhere(scripted, api, settings):
    browser = Client()
    assert browser.login(username="scripted", password="correct horse")
    _, secret = ApiKey.issue(kind="person", name="k", owner=scripted, by=scripted.as_actor(), scopes=["view"])
    assert api(secret).get("/api/v1/agents").status_code == 200

    settings.IS_PRODUCTION = True

    assert not Client().login(username="scripted", password="correct horse")
    assert "_auth_user_id" in browser.session
    assert browser.get("/admin/").status_code == 302
    assert api(secret).get("/api/v1/agents").status_code == 401


def test_deploy_check__simulated_account_in_production__fails(scripted, settings):
    settings.IS_PRODUCTION = True

    with pytest.raises(SystemCheckError, match=r"accounts\.E001"):
        call_command("check", deploy=True, fail_level="ERROR", databases=["default"])


@pytest.mark.parametrize("act", [lambda rows: rows.update(is_active=False), lambda rows: rows.delete()])
def test_people__many_at_once__are_neither_changed_nor_deleted(cast, act):
    with pytest.raises(HistoryBypassError):
        act(User.objects.filter(pk=cast.support.pk))
