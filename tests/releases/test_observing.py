"""What a tick may read: the drawn arm, what was known in time, and nobody whom a later ramp served."""

from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from accounts.acting import MACHINE, acting
from episodes.models import Conversation, Episode, Intent, Outcome, Signal
from releases.bucketing import arm
from releases.guard import tick
from releases.models import Exposure, Release
from releases.observing import observe, tripwire_counts
from releases.plan import Plan
from releases.watching import watch
from tests.tampering import rewrite

pytestmark = pytest.mark.django_db


@pytest.fixture
def release(demo_clock, started, proposal):
    """A running release whose draws are the same in every run."""
    release = started(proposal)
    Release._base_manager.filter(pk=release.pk).update(salt="5a17" * 8)
    release.refresh_from_db()
    return release


@pytest.fixture
def promoted(release, live):
    """The same release, promoted, its aftermath long."""
    for users in (range(160), range(1000, 1640)):
        live(release, users, fails=sometimes)
        watch(release.pk)
        release.refresh_from_db()
    assert release.status == "promoted", release.guard_sentence
    plan = release.plan | {"aftermath_users": 100_000, "aftermath_s": 1e6}
    Release._base_manager.filter(pk=release.pk).update(plan=plan)
    release.refresh_from_db()
    return release


def sometimes(drawn, number):
    return number % 10 == 0


def harmful(drawn, number):
    return drawn == "canary" or number % 10 == 0


def seen_of(release, **clock):
    return observe(release, release.as_plan(), now=clock.get("now") or timezone.now())


# outcomes that do not arrive


def test_watch__nobody_but_the_agent_says_how_it_ended__never_promotes(release, live):
    live(release, range(160), fails=sometimes)
    watch(release.pk)
    live(release, range(1000, 1640), fails=harmful, said_by="agent")

    watch(release.pk)

    release.refresh_from_db()
    assert (release.status, release.step, release.guard_status) == ("running", 1, "hold")
    assert "Outcomes do not arrive" in release.guard_sentence


def test_observe__source_the_objective_does_not_believe__is_not_known(release, live):
    live(release, range(20), fails=sometimes)
    plan = Plan.from_mapping(release.plan | {"truth_sources": ["staff"]})

    seen = observe(release, plan, now=timezone.now()).observations

    assert {(one.failed, one.known) for one in seen} == {(True, False)}
    assert all(one.known for one in seen_of(release).observations)


# read by the draw


def fall_back(release, users):
    """Let those users' conversations run the baseline without a release, and fail: the canary broke under them."""
    talks = Conversation.objects.filter(subject__in=users)
    episodes = Episode._base_manager.filter(conversation__in=talks)
    rewrite(episodes, harness_digest=release.baseline.digest, release_ref=None, weight=None, arm="")


def test_observe__canary_given_up_for_the_baseline__counts_for_the_canary(release, live):
    draws = live(release, range(400), fails=harmful)
    canaries = [user for user, drawn in draws.items() if drawn == "canary"]
    fall_back(release, canaries[::2])

    seen = seen_of(release)

    read_as_canary = {one.user: one for one in seen.observations if one.arm == "canary"}
    assert sorted(read_as_canary) == sorted(canaries)
    assert sum(one.as_drawn is False for one in read_as_canary.values()) == len(canaries[::2])
    assert all(one.failed for one in read_as_canary.values())


def test_observe__episode_that_fell_back__is_no_report_of_the_canary(release, live):
    draws = live(release, range(100), fails=sometimes)
    canaries = [user for user, drawn in draws.items() if drawn == "canary"]
    fall_back(release, canaries)

    reports = {one.user: one.reports for one in seen_of(release).exposures}

    assert {reports[user] for user in canaries} == {0}
    assert {reports[user] for user in draws.keys() - set(canaries)} == {1}


def test_observe__episode_before_the_draw__is_no_report(release, live):
    live(release, range(5), fails=sometimes)
    Conversation.objects.filter(subject="user-3").update(subject="somebody")
    talk = Conversation.objects.get(subject="somebody")
    rewrite(Episode._base_manager.filter(conversation=talk), started_at=talk.started_at - timedelta(seconds=30))
    Conversation.objects.filter(subject="somebody").update(subject="user-3")

    reports = {one.user: one.reports for one in seen_of(release).exposures}

    assert (reports["user-3"], reports["user-2"]) == (0, 1)


def test_observe__several_conversations_of_a_user__are_all_counted_as_reports(release, live):
    live(release, range(3), fails=sometimes)
    first = Episode.objects.get(conversation__subject="user-1")
    for number in range(3):
        talk = Conversation.objects.create(
            agent=release.agent, external_id=f"again-{number}", subject="user-1", split="dev",
            started_at=first.started_at, last_at=first.started_at,
        )  # fmt: skip
        Episode.objects.create(
            agent=release.agent, conversation=talk, external_id=f"again-{number}", started_at=first.started_at,
            captured_at=first.captured_at, body_digest="0" * 64, release_ref=release.pk, weight=first.weight,
            harness_digest=first.harness_digest,
        )  # fmt: skip

    assert {one.user: one.reports for one in seen_of(release).exposures} == {"user-0": 1, "user-1": 4, "user-2": 1}


def test_observe__maturity_still_running__says_nothing_of_reports(release):
    Exposure.objects.create(release=release, subject="ann", stage=0, arm="canary", weight=0.1)

    assert [one.reports for one in seen_of(release).exposures] == [None]


# a later ramp among the same users


@pytest.fixture
def later(promoted, propose, started):
    """A release among the users of the promoted one, at half of them."""
    later = started(propose(2, layer="prompt", targets=(), of_pattern=False))
    Release._base_manager.filter(pk=later.pk).update(weight=0.5, step=1)
    later.refresh_from_db()
    return later


def live_under_both(first, later, users, *, outcome="failed"):
    """Let users live through both as serving would have it: whoever the first one holds out never meets the later."""
    at = timezone.now() - timedelta(seconds=first.as_plan().maturity_s + 20)
    Release._base_manager.filter(pk=first.pk).update(promoted_at=at - timedelta(seconds=60))
    Release._base_manager.filter(pk=later.pk).update(started_at=at - timedelta(seconds=30))
    first.refresh_from_db()
    later.refresh_from_db()
    served = {}
    for number in users:
        user = f"user-{number}"
        drawn, drawn_later = arm(first.salt, user, first.weight), arm(later.salt, user, later.weight)
        Exposure.objects.create(
            release=first, subject=user, stage=first.step, arm=drawn, weight=first.weight, served_at=at
        )
        is_held_out = drawn == "control"
        mine, mine_arm = (first, drawn) if is_held_out else (later, drawn_later)
        if not is_held_out:
            Exposure.objects.create(
                release=later, subject=user, stage=1, arm=drawn_later, weight=later.weight, served_at=at
            )
        version = mine.version if mine_arm == "canary" else mine.baseline
        talk = Conversation.objects.create(
            agent=first.agent, external_id=f"both-{number}", subject=user, split="dev", started_at=at, last_at=at
        )
        episode = Episode.objects.create(
            agent=first.agent, conversation=talk, external_id=f"both-{number}", started_at=at, captured_at=at,
            understood_at=at, body_digest="0" * 64, release_ref=mine.pk, arm=mine_arm, weight=mine.weight, harness_digest=version.digest,
        )  # fmt: skip
        harmed = not is_held_out and drawn_later == "canary"
        Outcome.objects.create(
            conversation=talk, episode=episode, name=outcome if harmed or number % 10 == 0 else "resolved",
            source="customer", at=at, recorded_at=at + timedelta(seconds=1), recorded_by="shop",
        )  # fmt: skip
        served[user] = (drawn.value, drawn_later.value)
    return served


def test_watch__later_canary_fails_always__the_promoted_release_is_not_blamed(promoted, later):
    served = live_under_both(promoted, later, range(4000, 4500))

    guard = watch(promoted.pk).guard

    promoted.refresh_from_db()
    assert promoted.status == "promoted"
    assert guard.status == "ok", guard.sentence
    watch(later.pk)
    later.refresh_from_db()
    assert later.status == "rolling_back"
    # Left out in both arms, by the place under the later salt alone.
    seen = {one.user: one for one in seen_of(promoted).observations if one.stage == promoted.step}
    assert set(seen) == {user for user, (_, second) in served.items() if second == "control"}
    assert {one.arm for one in seen.values()} == {"canary", "control"}
    assert all(one.as_drawn for one in seen.values())


def test_observe__promoted_release_harms_while_another_ramps__is_still_seen(promoted, later):
    live_under_both(promoted, later, range(4000, 4200))
    harmed = [
        f"user-{number}" for number in range(4000, 4200) if arm(promoted.salt, f"user-{number}", 0.95) == "canary"
    ]
    talks = Conversation.objects.filter(subject__in=harmed, external_id__startswith="both-")
    at = talks[0].started_at + timedelta(seconds=1)
    Outcome.objects.bulk_create(
        Outcome(conversation=talk, name="failed", source="customer", at=at, recorded_at=at, recorded_by="shop")
        for talk in talks
    )

    seen = [one for one in seen_of(promoted).observations if one.stage == promoted.step]

    assert sum(one.arm == "canary" for one in seen) > 50
    assert all(one.failed for one in seen if one.arm == "canary")
    assert not all(one.failed for one in seen if one.arm == "control")


def test_tripwires__struck_under_a_later_canary__are_not_the_promoted_releases(promoted, later):
    live_under_both(promoted, later, range(4000, 4100), outcome="critical_violation")
    counts = {release.pk: tripwire_counts(seen_of(release), release.as_plan()) for release in (promoted, later)}

    assert counts[later.pk]["critical_violation"] > 10
    # What else fails in this world strikes one in ten.
    assert counts[promoted.pk]["critical_violation"] <= 10


def test_observe__later_ramp_was_rolled_back__its_users_count_again(promoted, later):
    live_under_both(promoted, later, range(4000, 4100))
    before = len(seen_of(promoted).observations)
    ended_at = later.started_at - timedelta(seconds=60)

    Release._base_manager.filter(pk=later.pk).update(status="rolled_back", ended_at=ended_at)

    assert len(seen_of(promoted).observations) > before


# the past stands still


def test_observe__past_tick_replayed_after_everything_changed__gives_the_same_numbers(release, live, agent, intent):
    live(release, range(200), fails=sometimes)
    watch(release.pk)
    row = release.ticks.get()
    before = seen_of(release, now=row.at)
    change_everything(release, agent)

    after = seen_of(release, now=row.at)

    assert after.observations == before.observations
    assert after.exposures == before.exposures
    again = tick(
        after.observations, release.as_plan(), exposures=after.exposures, tripwires={"critical_violation": 0}, stage=0
    )
    assert again.to_mapping()["evidence"] == row.reading["evidence"]


def test_observe__next_tick_after_everything_changed__has_the_same_past(release, live, agent):
    live(release, range(200), fails=sometimes)
    watch(release.pk)
    before = seen_of(release).observations
    change_everything(release, agent)

    later = timezone.now() + timedelta(seconds=3)
    after = {one.conversation: one for one in seen_of(release, now=later).observations}

    assert [after.pop(one.conversation) for one in before] == list(before)
    assert [one.matured_at > before[-1].matured_at for one in after.values()] == [True]


def change_everything(release, agent):
    """Correct outcomes, reassign intents, detect signals and let episodes come in, all of it late."""
    now = timezone.now() + timedelta(milliseconds=50)
    with acting(MACHINE, reason="defined"):
        other = Intent.objects.create(agent=agent, slug="other", name="Other", state="live")
    talks = list(Conversation.objects.filter(external_id__startswith=str(release.pk)))
    Conversation.objects.filter(pk__in=[talk.pk for talk in talks[::2]]).update(intent=other)
    for talk in talks[::3]:
        Outcome.objects.create(
            conversation=talk, name="failed", source="customer", at=talk.started_at, recorded_at=now, recorded_by="shop"
        )
        Signal.objects.create(
            episode=talk.episodes.first(), kind="handoff", layer="workflow", detector="rules", created_at=now
        )
        Episode.objects.create(
            agent=agent, conversation=talk, external_id=f"late-{talk.pk}", captured_at=now, body_digest="0" * 64,
            started_at=talk.started_at - timedelta(milliseconds=1), usage={"latency_ms": 9e9}, harness_digest="f" * 64,
        )  # fmt: skip
    first = talks[0]
    late = Conversation.objects.create(
        agent=agent, external_id="reported late", subject=first.subject, split="dev", started_at=first.started_at,
        last_at=first.started_at,
    )  # fmt: skip
    Episode.objects.create(
        agent=agent, conversation=late, external_id="reported late", started_at=first.started_at, captured_at=now,
        understood_at=now, body_digest="0" * 64, release_ref=release.pk, weight=release.weight,
    )  # fmt: skip
    Exposure.objects.create(
        release=release, subject="came later", stage=0, arm="canary", weight=release.weight, served_at=now
    )


# analysis that lags


@pytest.fixture
def lagging(release, live):
    """200 matured conversations of which the analysis has come to the second half."""
    live(release, range(200), fails=sometimes)
    behind = Episode._base_manager.filter(release_ref=release.pk).order_by("started_at")[:100]
    behind = Episode._base_manager.filter(pk__in=list(behind.values_list("pk", flat=True)))
    rewrite(behind, understood_at=None)
    Conversation.objects.filter(episodes__in=behind).update(intent=None)
    return behind


def analyzed_now(lagging, intent):
    now = timezone.now()
    rewrite(lagging, understood_at=now)
    Conversation.objects.filter(episodes__in=lagging).update(intent=intent)
    return now.timestamp()


def in_order(sightings):
    return sorted(sightings.observations, key=lambda one: (one.matured_at, one.conversation))


def test_observe__analysis_lags__reads_the_intent_behind_all_that_looks_had_seen(release, lagging, intent):
    watch(release.pk)
    watch(release.pk)
    written = release.ticks.count()
    watch(release.pk)  # says nothing new, so it is not written down, and has looked all the same
    before = in_order(seen_of(release))
    analyzed_at = analyzed_now(lagging, intent)

    after = in_order(seen_of(release, now=timezone.now() + timedelta(seconds=3)))

    assert release.ticks.count() == written
    assert (len(before), len(after)) == (100, 200)
    assert after[:100] == before
    assert {one.matured_at for one in after[100:]} == {analyzed_at}
    assert {one.intent for one in after} == {intent.slug}


def test_observe__analysis_never_comes__is_read_without_an_intent_after_a_minute(release, lagging):
    last = max(lagging.values_list("started_at", flat=True)) + timedelta(seconds=release.as_plan().maturity_s)

    assert len(seen_of(release, now=last + timedelta(seconds=39)).observations) == 100
    read = seen_of(release, now=last + timedelta(seconds=63)).observations

    assert [one.intent for one in read].count(None) == 100


def test_observe__analyzed_after_it_was_read__keeps_its_place_and_reading(release, lagging, intent):
    ago = timedelta(minutes=2)
    rewrite(lagging, started_at=F("started_at") - ago, captured_at=F("captured_at") - ago)
    watch(release.pk)
    before = seen_of(release).observations
    analyzed_now(lagging, intent)

    assert len(before) == 200
    assert seen_of(release).observations == before


def test_observe__analysis_failed_for_now__waits_like_any_other(release, lagging):
    rewrite(lagging, analysis_failed_at=timezone.now(), analysis_error="a worker stopped here")

    assert len(seen_of(release).observations) == 100
