"""Conversations from the desk and over REST to an agent behind real HTTP, and back as results and calibrations."""

import copy
import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.acting import MACHINE, acting
from episodes.models import Conversation, Episode, Intent
from evals.benchmarks import activate_drafts, add_cases, create_benchmark
from evals.conversing.calibrating import calibrate_simulation
from evals.conversing.reading import ConversationError
from evals.conversing.recorded import said_in
from evals.conversing.standing import advisory_cases, standing_of
from evals.curation import play_trial
from evals.freezing import freeze_cases, gate_policy_of
from evals.models import Case, Result, Run, SimulationCalibration
from evals.playing import play
from evals.runners import HttpRunner
from evals.simulation_jobs import calibrate_simulation_of
from evals.verdicts import shared_passages
from harness.models import HarnessVersion, put_in_force
from jobs.models import Task
from tests.conftest import make_agent, make_cast
from tests.console.world import build_world
from tests.evals.endpoint import endpoint as serve_endpoint
from tests.evals.runs.conftest import make_taught

USER = {
    "kind": "simulated", "goal": "Learn about it.", "met_when": {"contains": "answer about topica"},
    "opening": "How about that <b>thing</b>?", "rephrasings": ["Tell me about topica."], "patience": [2, 3],
    "reactions": {"rephrase": 0.7, "leave": 0.3},
}  # fmt: skip
SCRIPT = {"kind": "scripted", "turns": [{"say": "Tell me about topica."}, {"say": "No more.", "if": {"asks_for": "x"}}]}
NUM_TALKS = 24


@pytest.fixture(scope="module")
def school(lasting):
    cast = make_cast()
    with serve_endpoint() as server:
        agent = make_taught(cast, server.url)
        exam = create_benchmark(agent, name="exam", description="", by=cast.approver.as_actor())
        add_cases(exam, [item(f"sim-{n}", conversation=USER) for n in range(NUM_TALKS)], by=cast.approver.as_actor())
        activate_drafts(exam, by=cast.approver.as_actor(), reason="reviewed")
        record_talks(agent)
        yield SimpleNamespace(cast=cast, agent=agent, exam=exam, server=server)


@pytest.fixture
def desk(school, db):
    return copy.deepcopy(SimpleNamespace(cast=school.cast, agent=school.agent, exam=school.exam))


@pytest.fixture
def runner(school):
    with HttpRunner(school.server.url) as made:
        yield made


def item(name, **fields):
    return {
        "name": name, "kind": "edge", "split": "verify", "intent": "topica", "messages": [],
        "expectations": {"contains": ["The answer about topica."]},
    } | fields  # fmt: skip


def record_talks(agent, number=NUM_TALKS, subject="user", opening="How about that thing?", repeats_history=True):
    """Write down as many conversations, by default like those of the simulated users; each turn is an episode."""
    with acting(MACHINE, reason="recorded"):
        intent, now = Intent.objects.get(agent=agent, slug="topica"), timezone.now()
    for n in range(number):
        resolved = n % 3 > 0
        row = Conversation.objects.create(
            agent=agent, external_id=f"{subject}-talk-{n}", subject=f"{subject}-{n}", split="dev", intent=intent,
            started_at=now, last_at=now, settled_at=now, resolution="resolved" if resolved else "abandoned",
        )  # fmt: skip
        said = [opening, "Tell me about topica."][: 1 + resolved]
        messages = []
        for turn, text in enumerate(said):
            messages = [*(messages if repeats_history else ()), {"role": "user", "content": text}]
            reply = "I cannot help." if turn == 0 else "The answer about topica."
            Episode.objects.create(
                agent=agent, conversation=row, external_id=f"{subject}-{n}-{turn}", body_digest="0" * 64,
                started_at=now + timedelta(seconds=turn), input={"messages": messages}, output={"text": reply},
                harness_digest=agent.stable.digest,
            )  # fmt: skip
            messages = [*messages, {"role": "assistant", "content": reply}]


def case_of(desk, name="sim-0"):
    return Case.objects.get(benchmark=desk.exam, name=name)


def lenient(desk):
    policy = {"gate": {"simulation_share": 0.5, "simulation_ratio": 0.9}}
    put_in_force(desk.agent, "policy", policy, by=desk.cast.approver.as_actor(), reason="wide")
    desk.exam.agent.refresh_from_db()


def test_trial__simulated_user_over_http__is_played_to_its_goal(desk, runner):
    rows = [
        play_trial(case_of(desk), desk.agent.stable.document, runner, digest="d", trial=n, seed=n) for n in range(12)
    ]

    assert {row.passed for row in rows} == {True, False}


def test_run__of_conversations__freezes_them_and_marks_what_is_simulated(desk, runner, api):
    examiner = desk.cast.approver
    opened = [{"role": "user", "content": "Hello"}]
    add_cases(desk.exam, [item("scripted", messages=opened, conversation=SCRIPT)], by=examiner.as_actor())
    stable = desk.agent.stable
    run = Run(agent=desk.agent, benchmark=desk.exam, baseline=stable, candidate=stable, trials=1, seed=3)
    run.save()
    freeze_cases(run, desk.exam.cases.filter(name__in=("sim-0", "scripted")), frozenset())

    played = play(run, runner)

    rows = {(row.run_case.case.name, row.arm): row for row in Result.objects.filter(run=run)}
    assert played == 4
    assert rows["sim-0", "baseline"].output["turns"][0]["user"] == rows["sim-0", "candidate"].output["turns"][0]["user"]
    assert rows["sim-0", "baseline"].output["ended_by"] == rows["sim-0", "candidate"].output["ended_by"]
    assert rows["scripted", "candidate"].passed
    assert [turn["user"] for turn in rows["scripted", "candidate"].output["turns"]] == [
        "Hello",
        "Tell me about topica.",
    ]
    shown = api(examiner).get(f"/api/v1/runs/{run.pk}/results").json()["results"]
    assert {row["case"]: row["is_simulated"] for row in shown} == {"sim-0": True, "scripted": False}
    assert len(rows) == 4


def test_leak__words_of_a_conversation__are_found_in_a_patch(desk):
    words = "send it back with the blue label inside the box please"
    add_cases(
        desk.exam,
        [item("s", conversation=SCRIPT | {"turns": [{"say": words}]})], by=desk.cast.approver.as_actor(),
    )  # fmt: skip

    shared = shared_passages([{"value": f"Always {words}."}], [case_of(desk, "s"), case_of(desk)], words=8)

    assert shared == [str(case_of(desk, "s").pk)]


def test_calibration__asked_for_over_rest__is_played_stored_and_shown(desk, api, school):
    lenient(desk)
    asked = api(desk.cast.approver).post(f"/api/v1/benchmarks/{desk.exam.pk}/calibrate_simulation", {}, format="json")

    assert (asked.status_code, asked.json()["sentence"][:25]) == (202, "24 simulated cases are pl")
    task = Task.objects.get(name="evals.simulation_jobs.calibrate_simulation_of")
    calibrate_simulation_of(*task.arguments)

    row = SimulationCalibration.objects.get()
    assert row.verdict == "like", row.sentence
    assert (row.reading["num_simulated"], row.reading["num_recorded"]) == (3 * NUM_TALKS, NUM_TALKS)
    assert {one["name"] for one in row.reading["statistics"]} >= {"turns", "resolved", "left"}
    address = f"/api/v1/benchmarks/{desk.exam.pk}/simulation_calibrations"
    assert api(desk.cast.engineer).get(address).json()["results"][0]["sentence"] == row.sentence
    assert api(desk.cast.outsider).get(address).status_code == 404
    page = signed_in(desk.cast.engineer).get(reverse("admin:evals_benchmark_change", args=(desk.exam.pk,)))
    assert "like the recorded ones within" in page.content.decode()
    page = signed_in(desk.cast.engineer).get(reverse("admin:evals_simulationcalibration_change", args=(row.pk,)))
    assert "turns of the user" in page.content.decode()


def test_standing__before_and_after_a_calibration__decides_what_counts(desk, runner):
    lenient(desk)
    policy = gate_policy_of(desk.exam.agent)
    assert len(advisory_cases(desk.exam, policy)) == NUM_TALKS
    assert standing_of(desk.exam).statements([USER]) == ("1 ways of simulating users were never calibrated.",)

    calibrate_simulation(desk.exam, runner)

    standing = standing_of(desk.exam)
    assert advisory_cases(desk.exam, policy) == frozenset()
    assert standing.of(USER) == standing.of(USER | {"goal": "Something else."}) == "calibrated"
    assert standing.of(USER | {"patience": 5}) == "uncalibrated"
    assert (standing.of(SCRIPT), standing.of({})) == ("", "")
    assert standing.statements([USER])[0].startswith("Calibrated 20")


def test_calibration__users_unlike_the_recorded__differs_and_takes_the_standing_away(desk, runner):
    lenient(desk)
    [before] = calibrate_simulation(desk.exam, runner)
    SimulationCalibration.objects.create(
        benchmark=desk.exam, manner=before.manner, manner_digest=before.manner_digest, harness_digest="", reading={},
        verdict="differs", sentence="differs", tolerance={},
    )  # fmt: skip
    assert standing_of(desk.exam).of(USER) == "uncalibrated"

    Conversation.objects.update(resolution="open")
    record_talks(desk.agent, subject="angry", opening="This is really not helpful, " * 12)
    [after] = calibrate_simulation(desk.exam, runner)

    assert after.verdict == "differs"
    assert "complained in 0%, recorded 100% (-100 pp;" in after.sentence


def test_calibration__recorded_with_another_version__are_not_compared_with(desk, runner):
    document = {**desk.agent.stable.document, "prompt": {**desk.agent.stable.document["prompt"], "system": "New."}}
    version = HarnessVersion.create(
        agent=desk.agent, document=document, parent=desk.agent.stable, by=MACHINE, note="new"
    )
    desk.agent.set_stable(version, expected=desk.agent.stable, by=MACHINE, reason="promoted")
    desk.exam.agent.refresh_from_db()

    [row] = calibrate_simulation(desk.exam, runner)

    assert (row.verdict, row.reading["num_recorded"]) == ("undecided", 0)
    assert "20 more users with recorded conversations (0 of 20)" in row.sentence


def test_calibration__nothing_simulated_or_own_proposal_open__is_refused(desk, api, agent_of_another):
    own, examinee = agent_of_another
    empty = create_benchmark(desk.agent, name="empty", description="", by=desk.cast.approver.as_actor())

    nothing = api(desk.cast.approver).post(f"/api/v1/benchmarks/{empty.pk}/calibrate_simulation", {}, format="json")
    theirs = api(examinee).post(f"/api/v1/benchmarks/{own.pk}/calibrate_simulation", {}, format="json")
    support = api(desk.cast.support).post(f"/api/v1/benchmarks/{desk.exam.pk}/calibrate_simulation", {}, format="json")

    assert (nothing.status_code, nothing.json()["code"]) == (409, "no_simulation")
    assert (theirs.status_code, theirs.json()["code"]) == (403, "own_change")
    assert support.status_code == 403
    assert not Task.objects.exists()


@pytest.fixture
def agent_of_another(desk):
    other = make_agent(desk.cast.team, desk.cast.administrator, "other-desk")
    world = build_world(other, desk.cast.engineer)
    return world.run.benchmark, desk.cast.engineer


def test_recorded_case__over_rest__says_what_was_said_in_the_split_of_its_conversation(desk, api):
    body = {
        "conversation": "user-talk-1", "name": "as it was", "kind": "edge", "expectations": {"contains": ["topica"]},
    }  # fmt: skip
    address = f"/api/v1/benchmarks/{desk.exam.pk}/recorded_cases"

    made = api(desk.cast.engineer).post(address, body, format="json")
    lost = api(desk.cast.engineer).post(address, body | {"conversation": "nobody"}, format="json")
    hidden = api(desk.cast.outsider).post(address, body, format="json")

    case = Case.objects.get(name="as it was")
    assert (made.status_code, made.json()["split"], made.json()["status"]) == (201, "dev", "draft")
    assert case.messages == [{"role": "user", "content": "How about that thing?"}]
    assert case.conversation == {"kind": "scripted", "turns": [{"say": "Tell me about topica."}]}
    assert (case.intent.slug, case.source) == ("topica", "conversation user-talk-1")
    assert "user-1" not in case.cluster
    assert (lost.status_code, lost.json()["code"], hidden.status_code) == (404, "unknown_conversation", 404)


def test_recorded_case__by_the_button__is_a_draft(desk):
    page = reverse("admin:evals_benchmark_verb", args=(desk.exam.pk, "add_recorded_case"))
    given = {"conversation": "user-talk-0", "name": "once", "kind": "edge", "expectations": '{"contains": ["x"]}'}
    client = signed_in(desk.cast.engineer)

    assert "The id under which the agent reported it." in client.get(page).content.decode()
    client.post(page, given)

    assert Case.objects.get(name="once").conversation == {}


def test_said_in__episodes_with_the_newest_message_alone__are_joined(desk):
    record_talks(desk.agent, 2, "brief", repeats_history=False)
    row = Conversation.objects.get(external_id="brief-talk-1")

    assert [(turn.role, turn.text) for turn in said_in(row)] == [
        ("user", "How about that thing?"), ("assistant", "I cannot help."),
        ("user", "Tell me about topica."), ("assistant", "The answer about topica."),
    ]  # fmt: skip


def signed_in(person):
    client = Client()
    client.force_login(person)
    return client


def test_case__conversation_over_rest__is_accepted_shown_and_concealed(desk, api):
    address = f"/api/v1/benchmarks/{desk.exam.pk}/cases"
    wrong = item("w", conversation=USER | {"patience": 0})

    refused = api(desk.cast.approver).post(address, [wrong], format="json")
    added = api(desk.cast.approver).post(address, [item("new", conversation=USER)], format="json")

    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_conversation")
    assert "patience" in refused.json()["detail"]
    assert added.status_code == 201
    address = f"/api/v1/cases/{case_of(desk, 'new').pk}"
    whole, bare = api(desk.cast.approver).get(address).json(), api(desk.cast.engineer).get(address).json()
    assert (whole["conversation"], whole["is_simulated"]) == (USER, True)
    assert (bare["conversation"], bare["is_concealed"]) == (None, True)


def test_case__page_of_it__reads_as_a_conversation_to_who_may_and_is_no_markup(desk):
    page = reverse("admin:evals_case_change", args=(case_of(desk).pk,))

    whole, bare = (signed_in(person).get(page).content.decode() for person in (desk.cast.approver, desk.cast.engineer))

    assert "played by rules" in whole
    assert "How about that &lt;b&gt;thing&lt;/b&gt;?" in whole
    assert "<b>thing</b>" not in whole
    assert "How about" not in bare
    assert "played by rules" not in bare


def test_case__edited_in_the_admin__keeps_a_good_conversation_and_refuses_a_bad_one(desk):
    add_cases(desk.exam, [item("mine", conversation=USER)], by=desk.cast.approver.as_actor())
    case = case_of(desk, "mine")
    page = reverse("admin:evals_case_change", args=(case.pk,))
    form = {
        "name": "mine", "kind": "edge", "cluster": "c", "weight": "1", "messages": '[{"role": "user", "content": "x"}]',
        "expectations": '{"contains": ["y"]}',
    }  # fmt: skip
    client = signed_in(desk.cast.approver)

    bad = client.post(page, form | {"conversation": '{"kind": "scripted", "turns": []}'}).content.decode()
    good = client.post(page, form | {"conversation": json.dumps(SCRIPT)})

    case.refresh_from_db()
    assert "turns: List should have at least 1 item" in bad
    assert (good.status_code, case.conversation) == (302, SCRIPT)


def test_case__written_in_the_admin__has_its_conversation(desk):
    form = {
        "benchmark": str(desk.exam.pk), "name": "written", "kind": "edge", "split": "dev", "weight": "1",
        "messages": "[]", "conversation": json.dumps(USER), "expectations": '{"contains": ["y"]}',
    }  # fmt: skip
    client = signed_in(desk.cast.engineer)

    client.post(reverse("admin:evals_case_add"), form | {"messages": '[{"role": "user", "content": "Hi"}]'})
    assert not Case.objects.filter(name="written").exists()
    client.post(reverse("admin:evals_case_add"), form | {"messages": '[{"role": "assistant", "content": "Hi"}]'})

    assert case_of(desk, "written").is_simulated


def test_cases__conversation_of_an_import__is_refused_before_anything_is_added(desk):
    with pytest.raises(ConversationError, match="Nobody opens"):
        add_cases(
            desk.exam,
            [item("a"), item("b", conversation={name: USER[name] for name in USER if name != "opening"})],
            by=desk.cast.approver.as_actor(),
        )

    assert not Case.objects.filter(name="a").exists()
