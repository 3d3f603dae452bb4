"""What people write in the admin: agents, keys, changes, proposals, flags, corrections, roles, a user's layer."""

import json
from types import SimpleNamespace

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.urls import reverse

from accounts.acting import MACHINE
from accounts.models import Membership, User
from accounts.roles import Role
from audit.models import Event
from episodes.models import Correction, Flag, Outcome
from evals.models import Benchmark, Case
from harness.models import Agent, ApiKey, Change
from harness.policy import default_policy
from proposals.models import Proposal
from releases.models import UserState
from tests.conftest import DOCUMENT
from tests.console.world import build_world, make_episode, make_proposal


def as_person(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_agent__written_by_an_administrator__serves_its_document(cast: SimpleNamespace) -> None:
    fields = {"team": cast.team.pk, "slug": "desk", "name": "Desk", "document": json.dumps(DOCUMENT)}

    as_person(cast.administrator).post(reverse("admin:harness_agent_add"), fields)

    agent = Agent.objects.get(slug="desk")
    assert agent.stable is not None
    assert agent.owner == cast.administrator
    assert Event.objects.filter(action="agent.add", team_id=cast.team.pk).exists()


def test_agent__with_a_document_that_does_not_validate__is_not_made(cast: SimpleNamespace) -> None:
    fields = {"team": cast.team.pk, "slug": "desk", "name": "Desk", "document": '{"prompt": {"rules": 3}}'}

    response = as_person(cast.administrator).post(reverse("admin:harness_agent_add"), fields)

    assert not Agent.objects.filter(slug="desk").exists()
    assert b'role="alert"' in response.content


def test_agent__edited__keeps_history_and_leaves_an_event(cast: SimpleNamespace, agent: Agent) -> None:
    fields = {"name": "New name", "purpose": "x", "runner": "http", "endpoint": "", "owner": cast.administrator.pk}

    as_person(cast.administrator).post(reverse("admin:harness_agent_change", args=(agent.pk,)), fields)

    agent.refresh_from_db()
    latest = agent.history.first()
    assert agent.name == "New name"
    assert latest.history_actor == "administrator"
    assert Event.objects.filter(action="agent.change", actor="administrator").exists()


def test_agent__frozen_and_reverted_by_on_call__says_what_came_of_it(cast: SimpleNamespace, agent: Agent) -> None:
    client = as_person(cast.on_call)

    client.post(reverse("admin:harness_agent_verb", args=(agent.pk, "freeze")), {"reason": "smoke"})
    url = reverse("console:agent-act", args=(agent.pk, "revert"))
    form = client.get(url)
    answer = client.post(url, {"reason": "smoke"}, follow=True)

    agent.refresh_from_db()
    assert agent.frozen_reason == "smoke"
    assert form.status_code == 200
    assert "nothing to revert" in answer.content.decode()


def test_key__issued__shows_its_secret_once_and_never_again(cast: SimpleNamespace, agent: Agent) -> None:
    client = as_person(cast.administrator)
    fields = {"kind": "agent", "name": "desk", "agent": agent.pk, "scopes": ["harness:read"]}

    shown = client.post(reverse("admin:harness_apikey_add"), fields)

    key = ApiKey.objects.get(name="desk")
    secret = next(
        word for word in shown.content.decode().replace("<", " ").replace(">", " ").split() if word.startswith("wsk_")
    )
    later = client.get(reverse("admin:harness_apikey_change", args=(key.pk,))).content.decode()
    assert ApiKey.authenticate(secret) == key
    assert "no-store" in shown["Cache-Control"]
    assert secret not in later
    assert key.digest not in later


def test_key__of_an_agent__needs_the_permission_to_manage_access(cast: SimpleNamespace, agent: Agent) -> None:
    fields = {"kind": "agent", "name": "desk", "agent": agent.pk, "scopes": ["harness:read"]}

    response = as_person(cast.support).post(reverse("admin:harness_apikey_add"), fields)

    assert not ApiKey.objects.exists()
    assert b"manage_access" in response.content


def test_change__proposed_in_the_admin__waits_for_a_second_person(cast: SimpleNamespace, agent: Agent) -> None:
    client = as_person(cast.engineer)
    url = reverse("admin:harness_change_add")
    start = client.get(url, {"agent": agent.slug, "kind": "policy"}).content.decode()

    document = {**default_policy(), "risk": "high"}
    fields = {"agent": agent.slug, "kind": "policy", "document": json.dumps(document), "rationale": "It matters."}
    client.post(url, fields)

    change = Change.objects.get()
    assert "velocity" in start
    assert (change.status, change.proposed_by) == ("proposed", cast.engineer)


def proposal_fields(agent: Agent, evidence: str, **more: object) -> dict[str, object]:
    layer = {**DOCUMENT["prompt"], "rules": {"polite": {"position": 10, "text": "Be kind and brief."}}}
    return {
        "agent": agent.slug, "layer": "prompt", "title": "Be brief", "value": json.dumps(layer), "claim": "fixes",
        "rationale": "People asked.", "evidence": evidence, "gain": "0.3", **more,
    }  # fmt: skip


def test_proposal__written_from_a_layer__has_a_patch_the_platform_computed(cast: SimpleNamespace, agent: Agent) -> None:
    episode = make_episode(agent)
    client = as_person(cast.engineer)
    url = reverse("admin:proposals_proposal_add")
    start = client.get(url, {"agent": agent.slug, "layer": "prompt"}).content.decode()

    client.post(url, proposal_fields(agent, f"{episode.pk} | order"))

    proposal = Proposal.objects.get()
    assert "Be kind." in start
    assert [operation["path"] for operation in proposal.patch if operation["op"] != "test"] == [
        "/prompt/rules/polite/text"
    ]
    assert proposal.size == 1
    assert proposal.author_ids() == {cast.engineer.pk}
    assert proposal.evidence.get().quote == "order"


def test_proposal__checked__shows_size_and_laws_and_writes_nothing(cast: SimpleNamespace, agent: Agent) -> None:
    episode = make_episode(agent)
    fields = proposal_fields(agent, str(episode.pk), _preview="1")
    fields["value"] = json.dumps({**DOCUMENT["prompt"], "system": "\n".join(f"line {n}" for n in range(40))})

    body = as_person(cast.engineer).post(reverse("admin:proposals_proposal_add"), fields).content.decode()

    assert not Proposal.objects.exists()
    assert "too large" in body
    assert "desk-added" in body


@pytest.mark.parametrize(
    ("evidence", "sentence"), [("nobody", "No episode"), ("episode-shop-desk-one | not said", "does not say")]
)
def test_proposal__with_evidence_that_does_not_hold__is_refused(
    cast: SimpleNamespace, agent: Agent, evidence: str, sentence: str
) -> None:
    make_episode(agent)

    body = as_person(cast.engineer).post(reverse("admin:proposals_proposal_add"), proposal_fields(agent, evidence))

    assert sentence in body.content.decode()
    assert not Proposal.objects.exists()


def test_proposal__with_an_episode_of_the_other_team__is_refused(
    cast: SimpleNamespace, agent: Agent, other_agent: Agent
) -> None:
    hidden = make_episode(other_agent)

    body = as_person(cast.engineer).post(
        reverse("admin:proposals_proposal_add"), proposal_fields(agent, str(hidden.pk))
    )

    assert "No episode" in body.content.decode()


def test_proposal__unchanged_layer__is_refused(cast: SimpleNamespace, agent: Agent) -> None:
    fields = proposal_fields(agent, str(make_episode(agent).pk)) | {"value": json.dumps(DOCUMENT["prompt"])}

    body = as_person(cast.engineer).post(reverse("admin:proposals_proposal_add"), fields).content.decode()

    assert "Nothing is changed yet" in body


def test_proposal__amended__counts_the_amender_as_an_author(cast: SimpleNamespace, agent: Agent) -> None:
    proposal = make_proposal(agent, make_episode(agent), cast.engineer)
    layer = {**DOCUMENT["prompt"], "system": "You are the desk."}
    fields = {"title": "Shorter", "claim": "fixes", "value": json.dumps(layer), "rationale": "r", "reason": "better"}

    url = reverse("admin:proposals_proposal_verb", args=(proposal.pk, "amend"))
    as_person(cast.second_engineer).post(url, fields)

    proposal.refresh_from_db()
    assert (proposal.title, proposal.revision) == ("Shorter", 2)
    assert proposal.author_ids() == {cast.engineer.pk, cast.second_engineer.pk}


def test_version__restored__opens_the_form_with_the_earlier_layer(cast: SimpleNamespace, agent: Agent) -> None:
    world = build_world(agent, cast.engineer)
    agent.set_stable(world.run.candidate, expected=world.version, by=MACHINE, reason="released")
    client = as_person(cast.engineer)

    page = client.get(reverse("console:restore-version", args=(world.version.pk,))).content.decode()
    form = client.get(
        reverse("admin:proposals_proposal_add"), {"agent": agent.slug, "layer": "prompt", "version": world.version.pk}
    ).content.decode()

    assert "Which layer comes back?" in page
    assert "Restore prompt of version 1" in form
    assert "Be brief." not in form


def test_episodes__flagged_together__carry_one_mark_each(cast: SimpleNamespace, agent: Agent) -> None:
    episodes = [make_episode(agent, "a"), make_episode(agent, "b")]
    client = as_person(cast.support)
    chosen = {ACTION_CHECKBOX_NAME: [episode.pk for episode in episodes], "action": "flag_selected"}
    url = reverse("admin:episodes_episode_changelist")

    form = client.post(url, chosen)
    client.post(url, {**chosen, "_apply": "1", "mark": "wrong", "reason": "both"})

    assert "Flag 2 episodes" in form.content.decode()
    assert list(Flag.objects.values_list("reason", "note")) == [("wrong", "both")] * 2


def test_episodes__corrected_together__are_covered_by_one_correction(cast: SimpleNamespace, agent: Agent) -> None:
    episodes = [make_episode(agent, "a"), make_episode(agent, "b")]
    fields = {
        ACTION_CHECKBOX_NAME: [episode.pk for episode in episodes], "action": "correct_selected", "_apply": "1",
        "title": "Returns", "answer": "Within 30 days.", "arguments": "{}",
    }  # fmt: skip

    as_person(cast.support).post(reverse("admin:episodes_episode_changelist"), fields)

    assert Correction.objects.get().coverage.count() == 2


def test_episodes__flagged_by_who_may_not__are_not(cast: SimpleNamespace, agent: Agent) -> None:
    episode = make_episode(agent)
    client = as_person(cast.auditor)

    client.post(reverse("admin:episodes_episode_verb", args=(episode.pk, "flag")), {"mark": "wrong"})

    assert not Flag.objects.exists()


def test_episode__staff_says_how_it_ended__is_an_outcome_of_staff(cast: SimpleNamespace, agent: Agent) -> None:
    episode = make_episode(agent)

    url = reverse("admin:episodes_episode_verb", args=(episode.pk, "report_ending"))
    as_person(cast.support).post(url, {"name": "resolved", "reason": "I called"})

    outcome = Outcome.objects.get()
    assert (outcome.name, outcome.source) == ("resolved", "staff")


def test_pattern__asked_for_a_proposal__says_what_came_of_it(cast: SimpleNamespace, agent: Agent) -> None:
    world = build_world(agent, cast.engineer)
    url = reverse("console:ask-for-proposal", args=(world.pattern.pk,))

    allowed = as_person(cast.engineer).post(url, follow=True).content.decode()
    refused = as_person(cast.support).post(url, follow=True).content.decode()

    assert "No strategy writes for the layer" in allowed
    assert "write_proposal" in refused


def test_case__written_in_the_admin__starts_as_a_draft(cast: SimpleNamespace, agent: Agent) -> None:
    client = as_person(cast.engineer)
    client.post(reverse("admin:evals_benchmark_add"), {"agent": agent.slug, "name": "Exam"})
    fields = {
        "benchmark": Benchmark.objects.get().pk, "name": "one", "kind": "success", "split": "verify", "weight": "1",
        "messages": '[{"role": "user", "content": "hi"}]', "expectations": '{"contains": ["hello"]}',
    }  # fmt: skip

    client.post(reverse("admin:evals_case_add"), fields)

    assert Case.objects.get().status == "draft"


def test_user_state__written_then_erased__is_gone(cast: SimpleNamespace, agent: Agent) -> None:
    client = as_person(cast.support)
    overlay = json.dumps({"memory": {"user": {"name": "Ada"}}})
    client.post(
        reverse("admin:releases_userstate_add"),
        {"agent": agent.slug, "subject": "u1", "overlay": overlay, "reason": "told"},
    )
    state = UserState.objects.get()

    answer = client.post(
        reverse("admin:releases_userstate_verb", args=(state.pk, "erase")), {"reason": "asked"}, follow=True
    )

    assert answer.status_code == 200
    assert not UserState.objects.exists()


def test_person__added_with_a_role__can_sign_in(cast: SimpleNamespace) -> None:
    fields = {"username": "grace", "password": "a long enough phrase", "team": cast.team.pk, "role": "engineer"}

    as_person(cast.administrator).post(reverse("admin:accounts_user_add"), fields)

    user = User.objects.get(username="grace")
    assert user.is_staff
    assert user.check_password("a long enough phrase")
    assert Membership.objects.get(user=user).role == Role.ENGINEER


def test_role__given_in_a_team_of_others__is_refused(cast: SimpleNamespace) -> None:
    fields = {"username": "support", "team": cast.other_team.pk, "role": "administrator"}

    as_person(cast.administrator).post(reverse("admin:accounts_membership_add"), fields)

    assert not Membership.objects.filter(user=cast.support, team=cast.other_team).exists()


def test_role__of_another_teams_agent__is_refused(cast: SimpleNamespace, other_agent: Agent) -> None:
    fields = {"username": "support", "team": cast.team.pk, "role": "engineer", "agent": other_agent.pk}

    as_person(cast.administrator).post(reverse("admin:accounts_membership_add"), fields)

    assert not Membership.objects.filter(user=cast.support, role="engineer").exists()


def test_membership__naming_another_teams_agent__shows_nothing_of_it(cast: SimpleNamespace, other_agent: Agent) -> None:
    Membership(user=cast.support, team=cast.team, role=Role.ENGINEER, agent_id=other_agent.pk).save()

    assert not Agent.objects.visible_to(cast.support.as_actor()).filter(pk=other_agent.pk).exists()


def test_role__of_the_last_administrator__cannot_be_taken(cast: SimpleNamespace) -> None:
    last = Membership.objects.get(user=cast.administrator)
    other = Membership.objects.get(user=cast.support)
    client = as_person(cast.administrator)

    kept = client.post(reverse("admin:accounts_membership_delete", args=(last.pk,)), {"post": "yes"})
    taken = client.post(reverse("admin:accounts_membership_delete", args=(other.pk,)), {"post": "yes"})

    assert (kept.status_code, taken.status_code) == (403, 302)
    assert Membership.objects.filter(pk=last.pk).exists()
    assert not Membership.objects.filter(pk=other.pk).exists()
    assert Event.objects.filter(action="membership.delete").exists()


def test_person__who_also_works_for_another_team__is_not_managed_by_one(cast: SimpleNamespace) -> None:
    Membership(user=cast.support, team=cast.other_team, role=Role.SUPPORT).save()
    url = reverse("admin:accounts_user_verb", args=(cast.support.pk, "set_password"))

    answer = as_person(cast.administrator).post(url, {"password": "another long phrase", "reason": "lost"}, follow=True)

    cast.support.refresh_from_db()
    assert cast.support.check_password("correct horse")
    assert "do not administer" in answer.content.decode()


def test_person__deactivated__is_never_deleted(cast: SimpleNamespace) -> None:
    url = reverse("admin:accounts_user_verb", args=(cast.support.pk, "deactivate"))

    as_person(cast.administrator).post(url, {"reason": "left"})

    cast.support.refresh_from_db()
    assert not cast.support.is_active
    assert (
        as_person(cast.administrator).get(reverse("admin:accounts_user_delete", args=(cast.support.pk,))).status_code
        == 403
    )
