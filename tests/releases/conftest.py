"""A judged and approved proposal, and what it takes to release it and let users live under it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.acting import MACHINE, acting
from episodes.models import Conversation, Episode, Intent, Outcome, Pattern
from evals.models import Benchmark, Run
from harness.models import ApiKey, put_in_force
from harness.policy import demo_policy
from proposals.drafting import Quote, Sketch, draft
from releases import exposures, snapshot
from releases.bucketing import arm
from releases.models import Exposure, Release
from releases.planning import draft_release


@pytest.fixture(autouse=True)
def _no_memory():
    """Every test begins in a process that has served nothing."""
    snapshot.stop()
    exposures._start_over()
    yield
    snapshot.stop()


@pytest.fixture
def intent(agent):
    with acting(MACHINE, reason="defined"):
        return Intent.objects.create(agent=agent, slug="shipping", name="Shipping", state="live")


@pytest.fixture
def pattern(agent, intent):
    now = timezone.now()
    with acting(MACHINE, reason="found"):
        return Pattern.objects.create(
            agent=agent, layer="context", kind="unanswered", intent=intent, title="Nobody answers shipping",
            first_seen_at=now, last_seen_at=now, num_subjects=8, num_episodes=9,
        )  # fmt: skip


@pytest.fixture
def demo_clock(agent, cast):
    """Put the demo's policy in force: clocks in seconds."""
    put_in_force(agent, "policy", demo_policy(), by=MACHINE, reason="seconds instead of hours")
    agent.refresh_from_db()


def judged(proposal, *, verdict="pass", gain=0.02):
    """Let a run judge a submitted proposal, as the gate would."""
    proposal.begin_validation(by=MACHINE)
    proposal.refresh_from_db()
    with acting(MACHINE, reason="made"):
        benchmark, _ = Benchmark.objects.get_or_create(agent=proposal.agent, name="exam")
        run = Run(
            agent=proposal.agent,
            benchmark=benchmark,
            proposal=proposal,
            baseline=proposal.base,
            candidate=proposal.candidate,
        )
        run.save(force_insert=True)
    run.start(by=MACHINE)
    effect = {"name": "effect", "verdict": "pass", "numbers": {"overall_gain": gain, "predicted_overall_gain": 0.0}}
    run.judge(verdict=verdict, reading={"sentence": verdict, "gates": [effect]}, by=MACHINE)
    proposal.record_verdict(verdict, run_ref=run.pk, summary={"sentence": verdict}, approvals=1, by=MACHINE)
    return run


@pytest.fixture
def propose(agent, cast, intent, pattern):
    """Draft, submit, judge and approve a change; `number` keeps several apart."""

    def make(number=1, *, gain=0.02, layer="context", targets=("shipping",), of_pattern=True):
        at = timezone.now() - timedelta(hours=2)
        conversation = Conversation.objects.create(
            agent=agent,
            external_id=f"seen-{number}",
            subject=f"earlier-{number}",
            split="dev",
            started_at=at,
            last_at=at,
        )
        episode = Episode.objects.create(
            agent=agent, conversation=conversation, external_id=f"seen-{number}", started_at=at, body_digest="0" * 64,
            input={"messages": [{"role": "user", "content": "Do you ship to Norway?"}]}, output={"text": "No idea."},
        )  # fmt: skip
        document = {"title": "Shipping abroad", "text": f"Answer number {number}.", "tags": []}
        rule = {"position": 20 + number, "text": f"Rule {number}."}
        operation = {
            "context": {"op": "add", "path": f"/context/documents/shipping-{number}", "value": document},
            "prompt": {"op": "add", "path": f"/prompt/rules/rule-{number}", "value": rule},
        }[layer]
        sketch = Sketch(
            title=f"Answer shipping {number}", claim="fixes", patch=[operation], rationale="Nobody can.",
            evidence=[Quote(episode, "Norway")], target_intents=list(targets),
        )  # fmt: skip
        agent.refresh_from_db()
        proposal = draft(agent, sketch, by=cast.engineer.as_actor(), pattern=pattern if of_pattern else None)
        proposal.submit(by=cast.engineer.as_actor(), reason="ready")
        judged(proposal, gain=gain)
        for approver in (cast.approver, cast.second_approver)[: proposal.approvals_needed]:
            proposal.approve(by=approver.as_actor(), reason="right")
        proposal.refresh_from_db()
        return proposal

    return make


@pytest.fixture
def proposal(propose):
    return propose()


@pytest.fixture
def awaiting(cast):
    """Draft a release and submit it for approval."""

    def make(proposal, **options):
        release = draft_release(proposal, by=cast.release_manager.as_actor(), reason="goes out", **options)
        release.submit(by=cast.release_manager.as_actor(), reason="ready")
        return release

    return make


@pytest.fixture
def started(awaiting, cast):
    """Draft, submit, approve and start a release."""

    def make(proposal, **options):
        release = awaiting(proposal, **options)
        for approver in (cast.approver, cast.second_approver)[: release.approvals_needed]:
            release.approve(by=approver.as_actor(), reason="right", plan_digest=release.plan_digest)
        release.start(by=cast.release_manager.as_actor(), reason="go")
        return release

    return make


@pytest.fixture
def manager(cast):
    return cast.release_manager.as_actor()


def issue_fetch_key(agent, cast, name):
    _, secret = ApiKey.issue(
        kind="agent", name=name, owner=cast.administrator, agent=agent, scopes=["harness:read"], by=MACHINE
    )
    return secret


@pytest.fixture
def fetch_key(agent, cast):
    return issue_fetch_key(agent, cast, "fetching")


@pytest.fixture
def live(agent, intent):
    """Let users have a conversation each under a release, ended long enough ago to be read.

    `fails` says by arm and number of the user whether the conversation fails.
    """

    def make(release, users, *, fails, of_intent=intent, said_by="customer"):
        release.refresh_from_db()
        _long_ago(release)
        now = timezone.now()
        at = now - timedelta(seconds=release.as_plan().maturity_s + 20)
        draws = {f"user-{number}": arm(release.salt, f"user-{number}", release.weight).value for number in users}
        known = set(release.exposures.filter(stage=release.step).values_list("subject", flat=True))
        Exposure.objects.bulk_create(
            Exposure(release=release, subject=user, stage=release.step, arm=drawn, weight=release.weight, served_at=at)
            for user, drawn in draws.items()
            if user not in known
        )
        conversations, episodes, outcomes = [], [], []
        for number, (user, drawn) in zip(users, draws.items(), strict=True):
            started_at = at + timedelta(milliseconds=number)
            name = f"{release.pk}-{release.step}-{user}"
            digest = release.version.digest if drawn == "canary" else release.baseline.digest
            conversation = Conversation(
                agent=agent, external_id=name, subject=user, split="dev", started_at=started_at, last_at=started_at,
                intent=of_intent,
            )  # fmt: skip
            conversations.append(conversation)
            episode = Episode(
                agent=agent, conversation=conversation, external_id=name, started_at=started_at, body_digest="0" * 64,
                release_ref=release.pk, arm=drawn, weight=release.weight, harness_digest=digest,
                captured_at=started_at + timedelta(milliseconds=200), understood_at=started_at + timedelta(seconds=1),
            )  # fmt: skip
            episodes.append(episode)
            outcomes.append(
                Outcome(
                    conversation=conversation, episode=episode, name="failed" if fails(drawn, number) else "resolved",
                    source=said_by, at=started_at, recorded_at=started_at + timedelta(milliseconds=500), recorded_by="shop",
                )
            )  # fmt: skip
        Conversation.objects.bulk_create(conversations)
        Episode.objects.bulk_create(episodes)
        Outcome.objects.bulk_create(outcomes)
        return draws

    return make


def _long_ago(release, seconds=60):
    """Move the release's clock back, so that its steps are baked and its users' conversations lie behind its start."""
    back = timedelta(seconds=seconds)
    moments = {
        name: getattr(release, name) - back
        for name in ("started_at", "step_started_at", "promoted_at")
        if getattr(release, name) is not None
    }
    Release._base_manager.filter(pk=release.pk).update(**moments)
    release.refresh_from_db()
