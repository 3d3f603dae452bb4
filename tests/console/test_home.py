"""The home page and what stands around every page."""

from types import SimpleNamespace

from django.test import Client, RequestFactory
from django.urls import reverse

from accounts.models import User
from console.navigation import environment_badge, navigation
from harness.models import Agent
from tests.console.world import build_world


def home(user: User) -> str:
    client = Client()
    client.force_login(user)
    return client.get(reverse("admin:index")).content.decode()


def test_home__an_approver__sees_what_waits_for_them(cast: SimpleNamespace, agent: Agent, other_agent: Agent) -> None:
    build_world(agent, cast.engineer)
    build_world(other_agent, cast.outsider)

    body = home(cast.approver)

    assert "<strong>1</strong> proposal to review" in body
    assert "<strong>1</strong> release to approve" in body
    assert "<strong>1</strong> change to decide" in body
    assert f"Order numbers of {agent.slug}" in body
    assert other_agent.slug not in body


def test_home__the_author__is_not_asked_to_review_their_own(cast: SimpleNamespace, agent: Agent) -> None:
    world = build_world(agent, cast.approver)

    body = home(cast.approver)

    assert world.proposal.author_ids() == {cast.approver.pk}
    assert "to review" not in body


def test_home__somebody_without_a_role__is_told_so(db: None) -> None:
    body = home(User.objects.create_user("new", password="correct horse", is_staff=True))

    assert "You belong to no team yet" in body


def test_navigation__of_a_member__follows_the_river(cast: SimpleNamespace) -> None:
    request = RequestFactory().get("/admin/")
    request.user = cast.engineer

    titles = [group.get("title") for group in navigation(request)]

    assert titles == [None, "Episodes", "Proposals", "Evals", "Releases", "Ground", "People"]
    assert all(item["link"].startswith("/admin/") for group in navigation(request) for item in group["items"])


def test_navigation__of_whoever_runs_the_installation__has_its_jobs(cast: SimpleNamespace) -> None:
    cast.engineer.is_superuser = True
    request = RequestFactory().get("/admin/")
    request.user = cast.engineer

    assert navigation(request)[-1]["title"] == "Operation"


def test_badge__by_environment__warns_in_production(settings: SimpleNamespace) -> None:
    request = RequestFactory().get("/admin/")
    settings.IS_PRODUCTION = True
    production = environment_badge(request)
    settings.IS_PRODUCTION = False

    assert (production[1], environment_badge(request)[1]) == ("danger", "info")
