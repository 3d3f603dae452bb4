"""Whole ramps on synthetic users: what the guard reads, and what the machine then does."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.acting import MACHINE
from accounts.exceptions import DomainError, NotPermittedError
from audit.exceptions import TransitionRefusedError
from audit.models import Event
from episodes.models import Conversation, Episode, Outcome
from harness.exceptions import StableMovedError
from harness.models import Agent, HarnessVersion, put_in_force
from harness.policy import demo_policy
from lessons.models import Lesson
from proposals.models import Proposal
from releases import serving
from releases.exceptions import ReleaseRefusedError
from releases.jobs import tick_releases
from releases.models import Exposure, GuardTick, Release
from releases.observing import observe
from releases.rollout import revert_now
from releases.watching import guard_age_s, read, watch
from tests.releases.conftest import _long_ago

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(demo_clock, started, proposal):
    """A running release whose draws are the same in every run."""
    release = started(proposal)
    Release._base_manager.filter(pk=release.pk).update(salt="5a17" * 8)
    release.refresh_from_db()
    return release


def never(drawn, number):
    return False


def sometimes(drawn, number):
    return number % 10 == 0


def harmful(drawn, number):
    return drawn == "canary" or number % 10 == 0


def helpful(drawn, number):
    return number % 10 < (1 if drawn == "canary" else 6)


def through_first_step(release, live, fails=sometimes):
    live(release, range(160), fails=fails)
    watch(release.pk)
    release.refresh_from_db()


def test_watch__nobody_served__waits(release):
    reading = watch(release.pk)

    release.refresh_from_db()
    assert (release.status, release.step) == ("running", 0)
    assert reading.step.decision == "wait"
    assert release.guard_sentence.startswith("Waiting")
    assert GuardTick.objects.get(release=release).status == "hold"


def test_watch__first_step_is_fine__advances_as_planned(release, live):
    through_first_step(release, live)

    assert (release.status, release.step, release.weight) == ("running", 1, 0.5)
    assert Event.objects.filter(action="release.advance", facts__step=1).exists()


def test_watch__whole_ramp_of_a_good_version__is_promoted_and_verified(release, live, pattern, agent):
    through_first_step(release, live, fails=helpful)
    live(release, range(1000, 1640), fails=helpful)
    watch(release.pk)
    release.refresh_from_db()
    assert release.status == "promoted", release.guard_sentence
    agent.refresh_from_db()
    assert agent.stable_id == release.version_id
    assert serving.resolve("shop-desk").digest == release.version.digest

    live(release, range(2000, 2120), fails=helpful)
    watch(release.pk)

    release.refresh_from_db()
    pattern.refresh_from_db()
    assert (release.effect, pattern.status) == ("verified", "resolved"), release.guard_sentence
    assert release.aftermath_closed_at is not None
    assert Proposal.objects.get(pk=release.proposal_id).status == "verified"
    lesson = Lesson.objects.get(agent=agent)
    assert lesson.state == "confirmed"
    assert "shipping" in lesson.text
    assert lesson.embedding is not None
    assert serving.resolve("shop-desk", "ann").reason == "stable"


def test_watch__version_without_effect__is_not_fixed(release, live, pattern):
    through_first_step(release, live)
    live(release, range(1000, 1640), fails=sometimes)
    watch(release.pk)
    release.refresh_from_db()
    live(release, range(2000, 2120), fails=sometimes)

    watch(release.pk)

    release.refresh_from_db()
    pattern.refresh_from_db()
    assert (release.effect, pattern.status) == ("not_fixed", "escalating")


def test_watch__harmful_version__is_rolled_back_with_its_evidence(release, live, pattern, agent):
    live(release, range(400), fails=harmful)
    watch(release.pk)
    release.refresh_from_db()
    assert (release.status, release.weight) == ("rolling_back", 0.0)
    assert serving.resolve("shop-desk", "user-1").arm is None

    tick_releases()

    release.refresh_from_db()
    pattern.refresh_from_db()
    assert (release.status, pattern.status) == ("rolled_back", "escalating")
    assert Proposal.objects.get(pk=release.proposal_id).status == "rolled_back"
    tick = release.ticks.get(status="alarm")
    assert tick.reading["evidence"]["overall"]["e_value"] > 0
    agent.refresh_from_db()
    assert agent.stable_id == release.baseline_id


def test_watch__harm_in_the_aftermath__puts_the_preceding_version_back(release, live, agent):
    through_first_step(release, live)
    live(release, range(1000, 1640), fails=sometimes)
    watch(release.pk)
    release.refresh_from_db()
    assert release.status == "promoted"

    plan = release.plan | {"aftermath_users": 100_000, "aftermath_s": 1e6}
    Release._base_manager.filter(pk=release.pk).update(plan=plan)
    live(release, range(2000, 2600), fails=lambda drawn, number: drawn == "canary")
    watch(release.pk)
    watch(release.pk)

    release.refresh_from_db()
    agent.refresh_from_db()
    assert (release.status, agent.stable_id) == ("rolled_back", release.baseline_id)


def test_watch__time_is_up_undecided__ends_inconclusive_and_a_person_extends(release, live, manager):
    live(release, range(20), fails=sometimes)
    Release._base_manager.filter(pk=release.pk).update(deadline_at=timezone.now() - timedelta(seconds=1))

    watch(release.pk)
    release.refresh_from_db()
    assert (release.status, release.weight) == ("inconclusive", 0.1)
    release.extend(by=manager, reason="more users come tomorrow", seconds=600)
    watch(release.pk)

    release.refresh_from_db()
    assert release.status == "running"


def test_watch__arms_of_the_wrong_size__pauses_and_a_person_may_resume(release, manager):
    at = timezone.now() - timedelta(seconds=5)
    Exposure.objects.bulk_create(
        Exposure(
            release=release, subject=f"u{n}", stage=0, arm="canary" if n % 2 else "control", weight=0.1, served_at=at
        )
        for n in range(200)
    )

    watch(release.pk)
    release.refresh_from_db()
    assert release.status == "paused"
    assert "planned sizes" in release.guard_sentence
    release.resume(by=manager, reason="a load test, explained")
    watch(release.pk)

    release.refresh_from_db()
    assert (release.status, release.acknowledged) == ("running", ["sample_ratio"])


def test_watch__guard_was_silent_for_minutes__pauses(release):
    at = timezone.now() - timedelta(seconds=400)
    Release._base_manager.filter(pk=release.pk).update(started_at=at)
    release.history.model.objects.filter(id=release.pk).update(history_date=at)
    release.refresh_from_db()
    assert guard_age_s(release) > 180

    tick_releases()

    release.refresh_from_db()
    assert release.status == "paused"


def test_watch__only_the_agent_says_it_went_well__counts_as_failure(release, live):
    live(release, range(100), fails=never, said_by="agent")

    seen = observe(release, release.as_plan(), now=timezone.now()).observations

    assert len(seen) == 100
    assert all(one.failed for one in seen)


def test_observe__outcome_recorded_after_the_instant__changes_nothing(release, live, agent):
    live(release, range(10), fails=sometimes)
    late = Conversation.objects.get(external_id=f"{release.pk}-0-user-0")
    Outcome.objects.create(
        conversation=late,
        name="resolved",
        source="customer",
        at=late.started_at,
        recorded_at=timezone.now(),
        recorded_by="shop",
    )

    seen = observe(release, release.as_plan(), now=timezone.now()).observations

    assert [one.failed for one in seen if one.user == "user-0"] == [True]


def test_observe__conversation__is_one_unit_by_its_first_episode(release, live, agent):
    draws = live(release, range(10), fails=never)
    talk = Conversation.objects.get(external_id=f"{release.pk}-0-user-3")
    Episode.objects.create(
        agent=agent,
        conversation=talk,
        external_id="second",
        started_at=talk.started_at + timedelta(seconds=1),
        body_digest="0" * 64,
    )

    seen = observe(release, release.as_plan(), now=timezone.now()).observations

    assert len(seen) == 10
    assert {one.user: one.arm for one in seen} == draws
    assert {one.intent for one in seen} == {"shipping"}


def test_observe__not_yet_matured__is_not_read(release, live):
    live(release, range(10), fails=never)

    seen = observe(release, release.as_plan(), now=timezone.now() - timedelta(seconds=60)).observations

    assert seen == ()


def test_advance__manual_policy__waits_for_a_person(agent, started, propose, live, manager, cast):
    put_in_force(
        agent,
        "policy",
        demo_policy() | {"autonomy": {"mode": "manual", "standing": None}},
        by=MACHINE,
        reason="careful",
    )
    release = started(propose())
    with pytest.raises(ReleaseRefusedError, match="may not advance yet"):
        release.advance(by=manager, reason="eager")
    live(release, range(160), fails=sometimes)
    watch(release.pk)
    release.refresh_from_db()
    assert release.step == 0

    with pytest.raises(NotPermittedError):
        release.advance(by=cast.support.as_actor(), reason="go on")
    release.advance(by=manager, reason="go on")

    release.refresh_from_db()
    assert release.step == 1


def test_promote__stable_moved_meanwhile__falls_back_and_pauses(release, live, agent):
    other = HarnessVersion.create(
        agent=agent,
        document=agent.stable.document | {"memory": {"rules": {}}},
        parent=agent.stable,
        by=MACHINE,
        note="x",
    )
    Agent.objects.get(pk=agent.pk).set_stable(other, expected=release.baseline, by=MACHINE, reason="hotfix")
    release.begin_promotion(by=MACHINE, reason="met")

    watch(release.pk)
    release.refresh_from_db()
    assert release.status == "running"
    watch(release.pk)

    release.refresh_from_db()
    agent.refresh_from_db()
    assert (release.status, agent.stable_id) == ("paused", other.pk)


def test_promote__waiting_proposals__go_back_to_the_queue(release, propose, agent):
    waiting = propose(2, layer="prompt", targets=("other",), of_pattern=False)
    release.begin_promotion(by=MACHINE, reason="met")

    release.promote(by=MACHINE, reason="met")

    waiting.refresh_from_db()
    assert (waiting.status, waiting.base_id) == ("submitted", release.version_id)


def test_revert_now__live_release__is_rolled_back_without_approval(release, agent, cast):
    reverted = revert_now(agent, by=cast.on_call.as_actor(), reason="customers complain")

    assert (reverted.pk, reverted.status) == (release.pk, "rolling_back")
    assert Event.objects.filter(action="agent.revert_now").exists()
    with pytest.raises(NotPermittedError):
        revert_now(agent, by=cast.engineer.as_actor(), reason="me too")


def test_revert_now__promoted_release__brings_the_preceding_version_back(release, agent, cast):
    release.begin_promotion(by=MACHINE, reason="met")
    release.promote(by=MACHINE, reason="met")

    revert_now(agent, by=cast.on_call.as_actor(), reason="customers complain")
    tick_releases()

    agent.refresh_from_db()
    release.refresh_from_db()
    assert (agent.stable_id, release.status) == (release.baseline_id, "rolled_back")
    with pytest.raises(ReleaseRefusedError, match="nothing to revert"):
        revert_now(agent, by=cast.on_call.as_actor(), reason="again")


def test_roll_back__aftermath_closed__needs_a_release_that_reverts(release, live, cast):
    release.begin_promotion(by=MACHINE, reason="met")
    release.promote(by=MACHINE, reason="met")
    Release._base_manager.filter(pk=release.pk).update(aftermath_closed_at=timezone.now())
    release.refresh_from_db()

    with pytest.raises(ReleaseRefusedError, match="aftermath"):
        release.roll_back(by=cast.on_call.as_actor(), reason="too late")


def test_roll_back__live_release_builds_on_it__goes_with_it(release, propose, started, agent, cast):
    release.begin_promotion(by=MACHINE, reason="met")
    release.promote(by=MACHINE, reason="met")
    agent.refresh_from_db()
    later = started(propose(2, layer="prompt", targets=("other",), of_pattern=False))

    release.refresh_from_db()
    release.roll_back(by=cast.on_call.as_actor(), reason="complaints")

    later.refresh_from_db()
    assert later.status == "rolling_back"
    tick_releases()
    assert set(Release.objects.values_list("status", flat=True)) == {"rolled_back"}


def test_resume__stable_moved__is_refused(release, agent, manager, cast):
    release.pause(by=cast.on_call.as_actor(), reason="looks odd")
    other = HarnessVersion.create(
        agent=agent,
        document=agent.stable.document | {"memory": {"rules": {}}},
        parent=agent.stable,
        by=MACHINE,
        note="x",
    )
    agent.set_stable(other, expected=agent.stable, by=MACHINE, reason="hotfix")

    with pytest.raises(StableMovedError):
        release.resume(by=manager, reason="go on")


@pytest.mark.parametrize("verb", ["confirm_rolled_back", "begin_promotion", "promote", "fall_back", "run_out"])
def test_machine_moves__by_a_person__are_refused(release, manager, verb):
    with pytest.raises((NotPermittedError, TransitionRefusedError)):
        getattr(release, verb)(by=manager, reason="by hand")

    release.refresh_from_db()
    assert release.status == "running"


def test_read__same_facts__same_reading(release, live):
    live(release, range(120), fails=sometimes)
    now = timezone.now()

    assert read(release, now=now).to_mapping() == read(release, now=now).to_mapping()


@pytest.mark.django_db(transaction=True)
def test_start__two_at_once__only_one_runs(demo_clock, propose, awaiting, cast, manager):
    releases = [awaiting(propose(1)), awaiting(propose(2, layer="prompt", targets=("other",), of_pattern=False))]
    for release in releases:
        release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)
    gate, ended = threading.Barrier(2), []

    def start(release):
        try:
            gate.wait()
            release.start(by=manager, reason="go")
            ended.append("running")
        except DomainError as refusal:
            ended.append(refusal.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=start, args=(release,)) for release in releases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ended) == ["ramp_busy", "running"]


@pytest.mark.django_db(transaction=True)
def test_watch__by_two_processes__looks_once(demo_clock, started, propose, live):
    release = started(propose())
    live(release, range(160), fails=sometimes)
    gate, looks = threading.Barrier(2), []

    def look():
        try:
            gate.wait()
            looks.append(watch(release.pk))
        except DomainError as refusal:
            looks.append(refusal)
        finally:
            connection.close()

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    release.refresh_from_db()
    assert release.step == 1
    assert Event.objects.filter(action="release.advance").count() == 1


def test_long_ago__helper__keeps_the_order_of_moments(release):
    _long_ago(release)

    assert release.started_at <= release.step_started_at
