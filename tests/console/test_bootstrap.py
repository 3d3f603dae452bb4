"""The command that makes an installation for one person."""

import io
import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Membership, Team, User
from accounts.roles import Role
from audit.models import Event
from harness.models import Agent
from tests.conftest import DOCUMENT

pytestmark = pytest.mark.django_db


def bootstrap(**options: object) -> str:
    out = io.StringIO()
    call_command("bootstrap", username="ada", team="The Desk", stdout=out, **options)
    return out.getvalue()


def test_bootstrap__fresh_installation__gives_one_person_every_role_and_says_what_that_means() -> None:
    printed = bootstrap()

    user = User.objects.get(username="ada")
    roles = set(Membership.objects.filter(user=user, team__slug="the-desk").values_list("role", flat=True))
    event = Event.objects.get(action="installation.bootstrap")
    password = printed.split("shown this once: ")[1].splitlines()[0]
    assert roles == set(Role.values)
    assert user.check_password(password)
    assert user.is_staff
    assert "single-person installation" in event.reason
    assert "cannot be approved until a second person" in event.reason
    assert event.facts["people"] == 1
    assert event.team_id == Team.objects.get().pk
    assert event.reason in printed


def test_bootstrap__with_an_agent_and_its_document__serves_version_1(tmp_path: Path) -> None:
    document = tmp_path / "harness.json"
    document.write_text(json.dumps(DOCUMENT))

    bootstrap(agent="shop-desk", document=document)

    stable = Agent.objects.get(slug="shop-desk").stable
    assert stable is not None
    assert stable.number == 1
    assert stable.document == DOCUMENT


def test_bootstrap__password_from_standard_input__is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a long enough phrase\n"))

    printed = bootstrap(password_stdin=True)

    assert User.objects.get(username="ada").check_password("a long enough phrase")
    assert "a long enough phrase" not in printed


def test_bootstrap__weak_password__changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))

    with pytest.raises(CommandError, match="too short"):
        bootstrap(password_stdin=True)

    assert not User.objects.exists()


def test_bootstrap__bad_document__changes_nothing(tmp_path: Path) -> None:
    document = tmp_path / "harness.json"
    document.write_text('{"prompt": {"rules": 3}}')

    with pytest.raises(CommandError, match="prompt"):
        bootstrap(agent="shop-desk", document=document)

    assert not User.objects.exists()
    assert not Event.objects.exists()


def test_bootstrap__account_there_already__refuses() -> None:
    bootstrap()

    with pytest.raises(CommandError, match="exists already"):
        bootstrap()


def test_bootstrap__document_without_agent__refuses(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="needs --agent"):
        bootstrap(document=tmp_path / "harness.json")
