"""One row of every model for one agent: the smallest world in which every page has something to show."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from django.utils import timezone

from accounts.acting import MACHINE, acting
from accounts.ids import uuid7
from accounts.models import Membership, User
from accounts.roles import Role
from audit.record import record
from episodes.models import (
    Conversation,
    CorrectedEpisode,
    Correction,
    Critique,
    Episode,
    EpisodeAmendment,
    Flag,
    Intent,
    Outcome,
    Pattern,
    PatternMember,
    Signal,
    Trace,
    TraceFragment,
)
from episodes.otlp.spans import dump_fragment
from evals.judges.rubric import read_rubric
from evals.models import (
    Benchmark,
    Case,
    CurationTrial,
    DraftRound,
    JudgeCalibration,
    JudgeLabel,
    JudgeRubric,
    JudgeVerdict,
    Matrix,
    Result,
    Run,
    RunCase,
    SimulationCalibration,
)
from harness.canonical import digest_of
from harness.models import Agent, ApiKey, Change, HarnessVersion, put_in_force
from harness.objective import default_objective
from harness.policy import default_policy
from inference.models import LedgerEntry
from lessons.models import Lesson
from proposals.drafting import Quote, Sketch, draft
from proposals.models import Proposal, Review, Strategy
from releases.models import Exposure, GuardTick, Release, ReleaseApproval, UserState
from releases.plan import profile

__all__ = ["build_world", "make_episode", "make_proposal"]

RULE = {"op": "add", "path": "/prompt/rules/brief", "value": {"position": 20, "text": "Be brief."}}


def make_episode(
    agent: Agent, name: str = "one", text: str = "Where is <b>my</b> order?", **conversation: Any
) -> Episode:
    now = timezone.now()
    fields = {"split": "dev", "opening": text, "subject": f"user-{name}", "resolution": "failed"} | conversation
    talk = Conversation.objects.create(
        agent=agent, external_id=f"talk-{agent.slug}-{name}", started_at=now, last_at=now, **fields
    )
    return Episode.objects.create(
        agent=agent, conversation=talk, external_id=f"episode-{agent.slug}-{name}", started_at=now, body_digest="0" * 64,
        input={"messages": [{"role": "user", "content": text}]}, output={"text": "I do not know.", "handoff": True},
        steps=[
            {"kind": "tool_call", "name": "lookup_order", "input": {"arguments": {"order_id": "2"}}, "status": "error",
             "error": "no such order", "latency_ms": 12.5},
        ],
    )  # fmt: skip


def make_proposal(agent: Agent, episode: Episode, author: User | None = None, **fields: Any) -> Proposal:
    sketch = Sketch(
        title=fields.pop("title", f"Be brief for {agent.slug}"), claim="fixes", patch=[RULE], rationale="Customers asked for it.",
        evidence=[Quote(episode, "my</b> order")], target_intents=["where-is-it"], predicted_effect={"gain": 0.3},
    )  # fmt: skip
    by = author.as_actor() if author else MACHINE
    return draft(agent, sketch, by=by, source="person" if author else "rules", **fields)


def _episodes(agent: Agent, staff: User) -> SimpleNamespace:
    episode = make_episode(agent)
    now = timezone.now()
    Trace.objects.create(agent=agent, trace_id="a" * 32, has_root=True, first_at=now, last_at=now)
    TraceFragment.objects.create(agent=agent, trace_id="a" * 32, body=dump_fragment([], []))
    EpisodeAmendment.objects.create(
        episode=episode, previous_content={}, previous_digest="1" * 64, reason="a late span"
    )
    Outcome.objects.create(
        conversation=episode.conversation,
        episode=episode,
        name="failed",
        source="customer",
        at=now,
        recorded_by="a system",
    )
    Signal.objects.create(episode=episode, kind="tool_error", layer="tools", detector="rules")
    intent = Intent(agent=agent, slug="where-is-it", name="Where is it", state="live")
    intent.save()
    Flag(episode=episode, reason="wrong", note="It knew.", flagged_by=staff, flagged_by_name=staff.username).save()
    correction = Correction(agent=agent, intent=intent, title="Say it", answer="It ships.", corrected_by_name="staff")
    correction.save()
    CorrectedEpisode(correction=correction, episode=episode).save()
    critique = Critique(
        episode=episode, source="rules", is_failure=True, what="The tool refused the order number.", layer="tools"
    )
    critique.save()
    pattern = Pattern(
        agent=agent, layer="prompt", kind="tool_error", intent=intent, title=f"Order numbers of {agent.slug}",
        num_subjects=5, num_episodes=9, first_seen_at=now - timedelta(days=1), last_seen_at=now,
    )  # fmt: skip
    pattern.save()
    PatternMember.objects.create(pattern=pattern, critique=critique, similarity=0.9)
    return SimpleNamespace(episode=episode, intent=intent, pattern=pattern)


def _run(agent: Agent, proposal: Proposal, intent: Intent) -> Run:
    benchmark = Benchmark(agent=agent, name=f"Exam of {agent.slug}")
    benchmark.save()
    DraftRound.objects.create(benchmark=benchmark, number=120, asked_by_name="staff", sentence="No draft was added.")
    case = Case(
        benchmark=benchmark, name="one", kind="known_failure", split="verify", intent=intent, cluster="t1",
        messages=[{"role": "user", "content": "hello"}], expectations={"contains": ["ships"]}, status="active",
    )  # fmt: skip
    case.save()
    base = proposal.base
    SimulationCalibration.objects.create(
        benchmark=benchmark, manner_digest="0" * 64, manner={"by": "rules"}, harness_digest=base.digest,
        verdict="undecided", sentence="undecided: 19 more simulated cases are needed.", reading={}, tolerance={},
    )  # fmt: skip
    CurationTrial.objects.create(case=case, digest=base.digest, trial=0, passed=False, latency_ms=5)
    candidate = proposal.candidate
    run = Run(agent=agent, benchmark=benchmark, proposal=proposal, baseline=base, candidate=candidate, num_planned=2)
    run.save()
    row = RunCase.objects.create(
        run=run, case=case, split="verify", intent_slug=intent.slug, is_target=True, messages=case.messages,
        expectations=case.expectations, weight=1, cluster="t1", kind=case.kind,
    )  # fmt: skip
    for arm, passed in (("baseline", False), ("candidate", True)):
        Result.objects.create(
            run=run, run_case=row, arm=arm, trial=0, harness_digest=base.digest, score=1000 * passed, passed=passed
        )
    run.start(by=MACHINE)
    gate = {"name": "target", "verdict": "pass", "numbers": {"p": 0.01}, "sentence": "24 clusters improve, p = 0.01."}
    reading = {"sentence": "pass: all 1 gates.", "gates": [gate], "approvals": {"people": 1, "reasons": []}}
    run.judge(verdict="pass", reading=reading, by=MACHINE)
    cell = {
        "version": candidate.digest, "version_number": candidate.number, "base_number": base.number, "note": "",
        "model": f"model-of-{agent.slug}", "run": None,
    }  # fmt: skip
    Matrix(agent=agent, benchmark=benchmark, cells=[cell], reason="Does it carry over?", asked_by="staff").save()
    return run


def _judging(run: Run, staff: User) -> JudgeRubric:
    """A rubric, and what a judge and a person said of one result by it."""
    rubric = read_rubric({"text": f"It says what {run.agent.slug} ships."})
    row = JudgeRubric.objects.create(
        agent=run.agent, digest=rubric.digest, name=rubric.title, body=rubric.model_dump(mode="json")
    )
    result = run.results.all()[0]
    JudgeVerdict.objects.create(rubric=row, result=result, judge_digest="2" * 64, grade=1, rationale="It does.")
    JudgeLabel.objects.create(
        rubric=row, result=result, grade=0, labeled_by=staff, labeled_by_name=staff.username, note="It does not."
    )
    JudgeCalibration.objects.create(
        rubric=row, judge_digest="2" * 64, num_labels=1, num_clusters=1, kappa=0.0, kappa_lower=-1.0, kappa_upper=1.0,
        table=[[0, 1], [0, 0]], measured_by=staff.username,
    )  # fmt: skip
    return row


def _release(agent: Agent, proposal: Proposal, run: Run, owner: User) -> Release:
    plan = profile("default")
    release = Release(
        agent=agent, proposal=proposal, baseline=proposal.base, version=run.candidate, run_ref=run.pk, owner=owner,
        reason="It helps.", plan=plan.to_mapping(), plan_digest=plan.digest, salt="salt", status="awaiting_approval",
    )  # fmt: skip
    release.save()
    ReleaseApproval(
        release=release, approver=owner, plan_digest=plan.digest, version_digest=run.candidate.digest,
        expires_at=timezone.now() + timedelta(days=1),
    ).save()  # fmt: skip
    Exposure.objects.create(release=release, subject="user-one", stage=0, arm="canary", weight=0.05)
    for e_value in (1.0, 2.5):
        GuardTick.objects.create(
            release=release, stage=0, weight=0.05, status="ok", sentence="No harm seen.",
            reading={"evidence": {"overall": {"e_value": e_value, "alarm_at": 50.0}}},
        )  # fmt: skip
    return release


def _judged(agent: Agent, proposal: Proposal) -> None:
    """Bring a draft to validated, as a run that passed would."""
    proposal.submit(by=MACHINE, reason="ready")
    proposal.begin_validation(by=MACHINE)


def build_world(agent: Agent, staff: User) -> SimpleNamespace:
    """Make one row of every model of `agent`; `staff` is the person named where one is needed."""
    with acting(MACHINE, reason="a world for pages"):
        Membership.objects.get_or_create(user=staff, team=agent.team, role=Role.ENGINEER, agent_id=None)
        agent.refresh_from_db()
        put_in_force(agent, "policy", default_policy(), by=MACHINE, reason="the default")
        put_in_force(agent, "objective", default_objective(), by=MACHINE, reason="the default")
        lived = _episodes(agent, staff)
        strategy, _ = Strategy.objects.get_or_create(
            slug="context",
            defaults={"name": "Missing knowledge", "layer": "context", "description": "Writes documents."},
        )
        proposal = make_proposal(agent, lived.episode, author=staff, pattern=lived.pattern, strategy=strategy)
        _judged(agent, proposal)
        run = _run(agent, proposal, lived.intent)
        rubric = _judging(run, staff)
        summary = {
            "sentence": "pass",
            "gates": {"target": {"verdict": "pass", "sentence": "It improves."}},
            "reasons": [],
        }
        proposal.record_verdict("pass", run_ref=run.pk, summary=summary, approvals=1, by=MACHINE)
        Review(
            proposal=proposal,
            reviewer=staff,
            decision="comment",
            comment="Looks right.",
            digest=proposal.candidate_digest,
        ).save()
        release = _release(agent, proposal, run, staff)
        Change.propose(
            agent=agent, kind="policy", document={**default_policy(), "risk": "high"}, rationale="It matters.",
            by=staff.as_actor(),
        )  # fmt: skip
        ApiKey.issue(kind="agent", name="desk", owner=staff, agent=agent, scopes=["harness:read"], by=MACHINE)
        UserState.write(
            agent=agent, subject="user-one", overlay={"memory": {"user": {"name": "Ada"}}}, by=MACHINE, reason="told us"
        )
        Lesson.record(
            agent=agent, text="Ask for the number.", source_ref="x:1", layer="tools", state="confirmed", by=MACHINE
        )
        LedgerEntry.objects.create(
            call_id=uuid7(), agent_id=agent.pk, team_id=agent.team_id, role="critic", purpose="critique.write",
            source="localhost", model="m", outcome="answered",
        )  # fmt: skip
        record("world.built", agent, team_id=agent.team_id)
    version = HarnessVersion.objects.get(agent=agent, number=1)
    return SimpleNamespace(
        **vars(lived),
        proposal=proposal,
        run=run,
        rubric=rubric,
        release=release,
        agent=agent,
        version=version,
        digest=digest_of({}),
    )
