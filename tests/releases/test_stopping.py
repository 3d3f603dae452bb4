"""What can always be stopped, and what can end: promotions under way, pauses looked into, aftermaths overtaken."""

import pytest

from accounts.acting import MACHINE
from audit.models import Event
from harness.models import Agent, HarnessVersion
from proposals.models import Proposal
from releases import serving
from releases.exceptions import ReleaseRefusedError
from releases.models import Exposure, GuardTick, Release
from releases.rollout import revert_now
from releases.watching import watch

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(demo_clock, started, proposal):
    """A running release whose draws are the same in every run."""
    release = started(proposal)
    Release._base_manager.filter(pk=release.pk).update(salt="5a17" * 8)
    release.refresh_from_db()
    return release


@pytest.fixture
def in_last_step(release, live):
    live(release, range(160), fails=sometimes)
    watch(release.pk)
    release.refresh_from_db()
    assert release.step == 1
    return release


def sometimes(drawn, number):
    return number % 10 == 0


def harmful(drawn, number):
    return drawn == "canary" or number % 10 == 0


def put_stable(agent, release, note="hotfix"):
    other = HarnessVersion.create(
        agent=agent,
        document=agent.stable.document | {"memory": {"rules": {}}},
        parent=agent.stable,
        by=MACHINE,
        note=note,
    )
    Agent.objects.get(pk=agent.pk).set_stable(other, expected=agent.stable, by=MACHINE, reason=note)
    return other


# promoting


def test_watch__harm_seen_while_promoting__rolls_back(in_last_step, live, agent):
    release = in_last_step
    release.begin_promotion(by=MACHINE, reason="met")
    live(release, range(1000, 1640), fails=harmful)

    watch(release.pk)

    release.refresh_from_db()
    agent.refresh_from_db()
    assert (release.status, agent.stable_id) == ("rolling_back", release.baseline_id)
    assert release.ticks.filter(status="alarm").exists()


def test_watch__promotion_begun_and_still_allowed__is_finished(in_last_step, live):
    release = in_last_step
    release.begin_promotion(by=MACHINE, reason="met")
    live(release, range(1000, 1640), fails=sometimes)

    watch(release.pk)

    release.refresh_from_db()
    assert release.status == "promoted", release.guard_sentence


def test_watch__nothing_known_while_promoting__falls_back(in_last_step):
    in_last_step.begin_promotion(by=MACHINE, reason="met")

    watch(in_last_step.pk)

    in_last_step.refresh_from_db()
    assert in_last_step.status == "running"


def test_watch__agent_frozen_while_promoting__falls_back(in_last_step, live, agent, cast):
    release = in_last_step
    live(release, range(1000, 1640), fails=sometimes)
    release.begin_promotion(by=MACHINE, reason="met")
    agent.freeze(by=cast.on_call.as_actor(), reason="incident")

    watch(release.pk)

    release.refresh_from_db()
    assert (release.status, release.agent.stable_id) == ("running", release.baseline_id)


def test_roll_back__while_promoting__by_a_person(in_last_step, cast):
    in_last_step.begin_promotion(by=MACHINE, reason="met")

    in_last_step.roll_back(by=cast.on_call.as_actor(), reason="complaints")

    assert (in_last_step.status, in_last_step.weight) == ("rolling_back", 0.0)


def test_revert_now__while_promoting__rolls_back(in_last_step, agent, cast):
    in_last_step.begin_promotion(by=MACHINE, reason="met")

    reverted = revert_now(agent, by=cast.on_call.as_actor(), reason="complaints")

    assert (reverted.pk, reverted.status) == (in_last_step.pk, "rolling_back")
    assert serving.resolve("shop-desk", "user-1").arm is None


# acknowledged pauses


def test_watch__pause_was_looked_into__the_ramp_goes_on(release, live, manager):
    live(release, range(160), fails=sometimes)
    # A load test: far more canaries than planned, all long ago.
    at = release.exposures.first().served_at
    Exposure.objects.bulk_create(
        Exposure(release=release, subject=f"load-{n}", stage=0, arm="canary", weight=0.1, served_at=at)
        for n in range(60)
    )
    watch(release.pk)
    release.refresh_from_db()
    assert release.status == "paused"
    while release.status == "paused":
        release.resume(by=manager, reason="a load test, explained")
        watch(release.pk)
        release.refresh_from_db()

    assert (release.status, release.step) == ("running", 1), release.guard_sentence
    assert release.acknowledged == ["sample_ratio", "silence"]


# an aftermath that another version overtook


def test_watch__alarm_after_another_version_became_stable__closes_and_tells(in_last_step, live, agent, pattern):
    release = in_last_step
    live(release, range(1000, 1640), fails=sometimes)
    watch(release.pk)
    release.refresh_from_db()
    agent.refresh_from_db()
    assert release.status == "promoted", release.guard_sentence
    plan = release.plan | {"aftermath_users": 100_000, "aftermath_s": 1e6}
    Release._base_manager.filter(pk=release.pk).update(plan=plan)
    live(release, range(2000, 2600), fails=lambda drawn, number: drawn == "canary")
    other = put_stable(agent, release)

    watch(release.pk)
    watch(release.pk)

    release.refresh_from_db()
    agent.refresh_from_db()
    assert agent.stable_id == other.pk
    assert (release.status, release.effect) == ("promoted", "not_fixed")
    assert release.aftermath_closed_at is not None
    assert str(other) in release.effect_reading["sentence"]
    assert release.guard_sentence == release.effect_reading["sentence"]
    assert release.effect_reading["alarm"]["status"] == "alarm"
    assert release.effect_reading["alarm"]["evidence"]["overall"]["e_value"] > 0
    assert Event.objects.get(action="release.harm_outlived").facts["stable"] == other.number
    assert Proposal.objects.get(pk=release.proposal_id).status == "not_fixed"
    assert GuardTick.objects.filter(release=release, status="alarm").count() == 1


def test_revert_now__open_aftermath_of_a_version_no_longer_stable__has_nothing_to_revert(in_last_step, agent, cast):
    in_last_step.begin_promotion(by=MACHINE, reason="met")
    in_last_step.promote(by=MACHINE, reason="met")
    agent.refresh_from_db()
    put_stable(agent, in_last_step)

    with pytest.raises(ReleaseRefusedError, match="nothing to revert"):
        revert_now(agent, by=cast.on_call.as_actor(), reason="complaints")
