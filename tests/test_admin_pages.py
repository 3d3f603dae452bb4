"""Every page of the admin opens for every role, shows only the reader's teams, and offers exactly the lawful buttons."""

import copy
import logging
from collections.abc import Iterator
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from accounts.roles import Role
from jobs.models import Beat, Task
from tests.conftest import make_agent, make_cast
from tests.console.inline_scripts import inline_scripts
from tests.console.world import build_world

PAGES = sorted(admin.site._registry, key=lambda model: model._meta.label)
SHARED = {"proposals.Strategy", "jobs.Beat"}  # the platform's, not a team's
OPERATION = {"jobs.Task"}  # of whoever runs the installation
MAX_LIST_QUERIES = 22


def page(model: type[models.Model], kind: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{kind}", args=args)


def signed_in(user: User) -> Client:
    reader = Client()
    reader.force_login(user)
    return reader


def visible(model: type[models.Model], user: User) -> Any:
    return model._default_manager.visible_to(user.as_actor())


@pytest.fixture(scope="module")
def built(lasting: None) -> SimpleNamespace:
    """One world of each of two teams, for all tests of the module."""
    cast = make_cast()
    agent = make_agent(cast.team, cast.administrator, "shop-desk")
    Task.objects.create(name="audit.jobs.seal", queue="clock")
    Beat.objects.get_or_create(name="audit.jobs.seal", defaults={"started_at": agent.created_at})
    other = make_agent(cast.other_team, cast.outsider, "warehouse-desk")
    return SimpleNamespace(cast=cast, own=build_world(agent, cast.engineer), other=build_world(other, cast.outsider))


@pytest.fixture
def worlds(built: SimpleNamespace, db: None) -> SimpleNamespace:
    return copy.deepcopy(built)


@pytest.fixture
def cast(worlds: SimpleNamespace) -> SimpleNamespace:
    return worlds.cast  # type: ignore[no-any-return]  # a namespace holds anything


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """A page that is refused is logged with its traceback, and nobody reads hundreds of them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def answers(user: User, kinds: tuple[str, ...]) -> dict[tuple[str, str], Any]:
    reader, found = signed_in(user), {}
    for model in PAGES:
        row = visible(model, user).first()
        for kind in kinds:
            args = () if kind in {"changelist", "add"} else (row.pk,) if row is not None else None
            if args is not None:
                found[model._meta.label, kind] = reader.get(page(model, kind, *args))
    return found


def broken(pages: dict[tuple[str, str], Any]) -> dict[tuple[str, str], int]:
    fine = {HTTPStatus.OK, HTTPStatus.FORBIDDEN}
    return {place: answer.status_code for place, answer in pages.items() if answer.status_code not in fine}


def test_pages__list_row_history_and_form_of_every_model__open_without_inline_scripts(
    worlds: SimpleNamespace, cast: SimpleNamespace
) -> None:
    found = answers(cast.engineer, ("changelist", "change", "history", "add"))

    refused = {place for place, answer in found.items() if answer.status_code == HTTPStatus.FORBIDDEN}
    assert broken(found) == {}
    # The history of exam rows tells their text, which nobody who drafts reads.
    hidden = ("evals.Case", "evals.RunCase", "evals.Result", "evals.JudgeVerdict", "evals.JudgeLabel")
    exam = {(label, "history") for label in hidden}
    assert {place for place in refused if place[1] != "add"} == {("audit.Event", "changelist"), *exam}
    assert ("proposals.Proposal", "add") not in refused
    assert ("audit.Event", "add") in refused
    scripts = {place: inline_scripts(answer.content) for place, answer in found.items()}
    assert {place: found for place, found in scripts.items() if found} == {}


@pytest.mark.parametrize("role", [role.value for role in Role if role != Role.ENGINEER])
def test_pages__row_and_form_of_every_model__open_for_each_role(
    worlds: SimpleNamespace, cast: SimpleNamespace, role: str
) -> None:
    assert broken(answers(getattr(cast, role), ("change", "add"))) == {}


def test_world__every_registered_model__has_a_row(worlds: SimpleNamespace, cast: SimpleNamespace) -> None:
    empty = [m._meta.label for m in PAGES if m._meta.label not in OPERATION and not visible(m, cast.auditor).exists()]

    assert empty == []


def test_team__every_registered_model__shows_nothing_of_the_other(
    worlds: SimpleNamespace, cast: SimpleNamespace
) -> None:
    reader = signed_in(cast.outsider)

    leaks, opened = [], []
    for model in PAGES:
        if model._meta.label in SHARED | OPERATION:
            continue
        theirs = set(visible(model, cast.auditor).values_list("pk", flat=True))
        mine = set(visible(model, cast.outsider).values_list("pk", flat=True))
        both = theirs & mine
        assert theirs - both, model._meta.label
        if both and model._meta.label != "audit.Event":  # events of no team are read by every auditor
            leaks.append((model._meta.label, len(both)))
        hidden = next(iter(theirs - both))
        for kind in ("change", "history"):
            response = reader.get(page(model, kind, hidden))
            if response.status_code == HTTPStatus.OK:
                opened.append((model._meta.label, kind))
    assert leaks == []
    assert opened == []


def test_filters__of_a_list__name_no_agent_of_the_other_team(worlds: SimpleNamespace, cast: SimpleNamespace) -> None:
    reader = signed_in(cast.outsider)

    for model in PAGES:
        body = reader.get(page(model, "changelist")).content.decode()
        assert worlds.own.agent.slug not in body, model._meta.label


def test_verb__the_domain_refuses__its_sentence_is_shown(worlds: SimpleNamespace, cast: SimpleNamespace) -> None:
    proposal = worlds.own.proposal
    client = Client()
    client.force_login(cast.engineer)

    response = client.post(page(type(proposal), "verb", proposal.pk, "approve"), {"reason": "mine"}, follow=True)

    proposal.refresh_from_db()
    assert proposal.status == "validated"
    assert "is an author of" in response.content.decode()


def test_verb__without_its_reason__asks_for_it(worlds: SimpleNamespace, cast: SimpleNamespace) -> None:
    proposal = worlds.own.proposal
    client = Client()
    client.force_login(cast.approver)

    response = client.post(page(type(proposal), "verb", proposal.pk, "decline"), {"reason": " "})

    proposal.refresh_from_db()
    assert proposal.status == "validated"
    assert "This field is required" in response.content.decode()


def test_verb__by_who_may__moves_the_row_and_says_so(worlds: SimpleNamespace, cast: SimpleNamespace) -> None:
    proposal = worlds.own.proposal
    client = Client()
    client.force_login(cast.approver)
    url = page(type(proposal), "verb", proposal.pk, "approve")

    form = client.get(url).content.decode()
    response = client.post(url, {"reason": "right", "digest": proposal.candidate_digest}, follow=True)

    proposal.refresh_from_db()
    assert proposal.candidate_digest in form
    assert proposal.status == "approved"
    assert "It is approved now." in response.content.decode()


def test_verb__only_the_machine_makes__is_refused_by_hand(worlds: SimpleNamespace, cast: SimpleNamespace) -> None:
    proposal = worlds.own.proposal
    client = Client()
    client.force_login(cast.administrator)

    response = client.post(page(type(proposal), "verb", proposal.pk, "mark_released"), {"reason": "now"}, follow=True)

    proposal.refresh_from_db()
    assert proposal.status == "validated"
    assert "only the machine" in response.content.decode()


def test_verb__without_a_csrf_token__is_refused(worlds: SimpleNamespace, cast: SimpleNamespace) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(cast.approver)

    response = client.post(
        page(type(worlds.own.proposal), "verb", worlds.own.proposal.pk, "approve"), {"reason": "right"}
    )

    assert response.status_code == HTTPStatus.FORBIDDEN


def test_lists__of_every_model__ask_a_bounded_number_of_queries(worlds: SimpleNamespace, cast: SimpleNamespace) -> None:
    reader = signed_in(cast.engineer)
    reader.get(reverse("admin:index"))

    asked = {}
    for model in PAGES:
        with CaptureQueriesContext(connection) as queries:
            reader.get(page(model, "changelist"))
        asked[model._meta.label] = len(queries)
    assert {label: number for label, number in asked.items() if number > MAX_LIST_QUERIES} == {}


def test_text_of_episodes__on_their_page__is_never_markup(worlds: SimpleNamespace, cast: SimpleNamespace) -> None:
    body = signed_in(cast.support).get(page(type(worlds.own.episode), "change", worlds.own.episode.pk)).content.decode()

    assert "Where is &lt;b&gt;my&lt;/b&gt; order?" in body
    assert "Where is <b>my</b> order?" not in body


def test_page__of_the_admin__carries_a_policy_without_inline_scripts(
    worlds: SimpleNamespace, cast: SimpleNamespace
) -> None:
    response = signed_in(cast.engineer).get(reverse("admin:index"))

    policy = response["Content-Security-Policy"]
    scripts = next(part for part in policy.split(";") if part.strip().startswith("script-src"))
    assert "unsafe-inline" not in scripts
    assert "http" not in policy
