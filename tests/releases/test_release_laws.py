"""Who may plan, approve and start a release, and what keeps one from starting."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.acting import MACHINE, acting
from accounts.exceptions import NotPermittedError
from audit.exceptions import TransitionRefusedError
from audit.models import Event
from harness.exceptions import AgentFrozenError, SelfApprovalError, StableMovedError
from harness.models import HarnessVersion, Revision, put_in_force
from harness.objective import default_objective
from harness.policy import default_policy
from proposals.models import Proposal
from releases.exceptions import ApprovalMissingError, PlanMovedError, RampBusyError, ReleaseRefusedError, VelocityError
from releases.models import Release
from releases.planning import draft_release, plan_for
from tests.releases.conftest import judged

pytestmark = pytest.mark.django_db


def test_plan_for__policy_with_profile__adds_intents_targets_and_tripwires(agent, proposal, demo_clock):
    plan = plan_for(agent, proposal)

    assert plan.max_duration_s == 300
    assert plan.intents == ("shipping",)
    assert plan.target_intents == ("shipping",)
    assert [wire.name for wire in plan.tripwires] == ["critical_violation"]


def test_plan_for__objective_that_believes_staff_only__is_fixed_in_the_plan(agent, proposal):
    put_in_force(agent, "objective", default_objective() | {"truth_sources": ["staff"]}, by=MACHINE, reason="strict")

    assert plan_for(agent, proposal).truth_sources == ("staff",)


@pytest.mark.parametrize(
    ("asked", "armed"),
    [
        ([], {"critical_violation": 1}),
        ([{"name": "critical_violation", "limit": 0}], {"critical_violation": 0}),
        ([{"name": "angry", "limit": 4}], {"angry": 4, "critical_violation": 1}),
    ],
)
def test_plan_for__asks_for_tripwires__may_add_or_lower_and_drops_none(agent, proposal, asked, armed):
    wires = {"critical_violation": {"at_least": 2, "action": "roll_back"}}
    put_in_force(agent, "objective", default_objective() | {"tripwires": wires}, by=MACHINE, reason="lenient")

    assert {wire.name: wire.limit for wire in plan_for(agent, proposal, {"tripwires": asked}).tripwires} == armed


@pytest.mark.parametrize("asked", [[{"name": "critical_violation", "limit": 9}], ["critical_violation"], 3])
def test_plan_for__asks_for_looser_tripwires__is_refused(agent, proposal, asked):
    with pytest.raises(ReleaseRefusedError, match="ripwires"):
        plan_for(agent, proposal, {"tripwires": asked})


def test_plan_for__asks_for_another_margin__is_refused(agent, proposal):
    with pytest.raises(ReleaseRefusedError, match="margin"):
        plan_for(agent, proposal, {"margin": 0.3})


def test_draft__approved_and_judged__is_bound_to_what_was_judged(proposal, manager):
    release = draft_release(proposal, by=manager, reason="goes out")

    assert release.status == "draft"
    assert release.version.digest == proposal.candidate_digest
    assert release.plan_digest == release.as_plan().digest
    assert release.approvals_needed == 1
    assert Event.objects.filter(action="release.draft", digest=release.version.digest).exists()


@pytest.mark.parametrize(("gain", "people"), [(0.02, 1), (0.12, 1), (0.25, 2)])
def test_draft__overall_gain__decides_how_many_people_look(propose, manager, gain, people):
    assert draft_release(propose(gain=gain), by=manager, reason="goes out").approvals_needed == people


def test_draft__not_approved__is_refused(proposal, manager):
    Proposal._base_manager.filter(pk=proposal.pk).update(status="validated")

    with pytest.raises(ReleaseRefusedError, match="only an approved proposal"):
        draft_release(proposal, by=manager, reason="goes out")


def test_draft__candidate_is_another_version__is_refused(agent, proposal, manager):
    other = HarnessVersion.create(
        agent=agent,
        document=agent.stable.document | {"memory": {"rules": {}}},
        parent=agent.stable,
        by=MACHINE,
        note="x",
    )
    Proposal._base_manager.filter(pk=proposal.pk).update(candidate=other)

    with pytest.raises(ReleaseRefusedError, match="not what would be released"):
        draft_release(proposal, by=manager, reason="goes out")


def test_draft__second_release_of_a_proposal__is_refused(proposal, manager):
    draft_release(proposal, by=manager, reason="goes out")

    with pytest.raises(ReleaseRefusedError, match="already has a release"):
        draft_release(proposal, by=manager, reason="again")


def test_draft__by_support__is_not_permitted(proposal, cast):
    with pytest.raises(NotPermittedError):
        draft_release(proposal, by=cast.support.as_actor(), reason="goes out")


def test_approve__author__is_refused(awaiting, proposal, cast):
    release = awaiting(proposal)
    with acting(MACHINE, reason="also a reviewer"):
        cast.engineer.memberships.create(team=cast.team, role="approver")

    with pytest.raises(SelfApprovalError, match="wrote the change"):
        release.approve(by=cast.engineer.as_actor(), reason="mine", plan_digest=release.plan_digest)


def test_approve__owner__is_refused(awaiting, proposal, cast):
    with acting(MACHINE, reason="also a reviewer"):
        cast.release_manager.memberships.create(team=cast.team, role="approver")
    release = awaiting(proposal)

    with pytest.raises(SelfApprovalError, match="planned"):
        release.approve(by=cast.release_manager.as_actor(), reason="mine", plan_digest=release.plan_digest)


def test_approve__other_digest__is_refused(awaiting, proposal, cast):
    release = awaiting(proposal)

    with pytest.raises(PlanMovedError):
        release.approve(by=cast.approver.as_actor(), reason="right", plan_digest="0" * 64)


def test_approve__draft_not_submitted__is_refused(proposal, manager, cast):
    release = draft_release(proposal, by=manager, reason="goes out")

    with pytest.raises(TransitionRefusedError):
        release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)


def test_approve__twice_by_one_person__counts_once(awaiting, proposal, cast):
    release = awaiting(proposal)

    for _ in range(2):
        release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)

    assert release.num_approvals() == 1
    assert release.approvals.count() == 1


def test_approve__simulated_person__is_marked(awaiting, proposal, cast):
    cast.approver.is_simulated = True
    release = awaiting(proposal)

    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)

    assert release.approvals.get().is_simulated


def test_start__without_approval__is_refused(awaiting, proposal, manager):
    with pytest.raises(ApprovalMissingError, match="0 of 1"):
        awaiting(proposal).start(by=manager, reason="go")


def test_start__approval_expired__is_refused_until_renewed(awaiting, proposal, manager, cast):
    release = awaiting(proposal)
    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)
    release.approvals.model._base_manager.all().update(expires_at=timezone.now() - timedelta(seconds=1))

    with pytest.raises(ApprovalMissingError):
        release.start(by=manager, reason="go")
    release.approve(by=cast.approver.as_actor(), reason="still right", plan_digest=release.plan_digest)
    release.start(by=manager, reason="go")

    assert release.status == "running"


def test_start__everything_in_place__serves_the_first_step(awaiting, proposal, pattern, manager, cast):
    release = awaiting(proposal)
    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)
    before = Revision.objects.get(pk=1).number

    release.start(by=manager, reason="go")

    assert (release.status, release.step, release.weight) == ("running", 0, release.as_plan().steps[0].weight)
    assert release.deadline_at > release.started_at
    assert Proposal.objects.get(pk=proposal.pk).status == "released"
    pattern.refresh_from_db()
    assert pattern.status == "addressed"
    assert Revision.objects.get(pk=1).number > before


def test_start__machine__is_not_permitted(awaiting, proposal, cast):
    release = awaiting(proposal)
    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)

    with pytest.raises(NotPermittedError, match="machines stop"):
        release.start(by=MACHINE, reason="go")


def test_start__agent_frozen__is_refused(awaiting, proposal, manager, cast, agent):
    release = awaiting(proposal)
    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)
    agent.freeze(by=cast.on_call.as_actor(), reason="incident")

    with pytest.raises(AgentFrozenError):
        release.start(by=manager, reason="go")


def test_start__stable_moved__is_refused(awaiting, proposal, manager, cast, agent):
    release = awaiting(proposal)
    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)
    other = HarnessVersion.create(
        agent=agent,
        document=agent.stable.document | {"memory": {"rules": {}}},
        parent=agent.stable,
        by=MACHINE,
        note="x",
    )
    agent.set_stable(other, expected=agent.stable, by=MACHINE, reason="meanwhile")

    with pytest.raises(StableMovedError):
        release.start(by=manager, reason="go")


def test_start__freeze_window__is_refused(awaiting, proposal, manager, cast):
    now = timezone.now()
    window = {
        "starts_at": (now - timedelta(hours=1)).isoformat(),
        "ends_at": (now + timedelta(hours=1)).isoformat(),
        "reason": "sale",
    }
    release = awaiting(proposal, overrides={"freezes": [window]})
    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)

    with pytest.raises(ReleaseRefusedError, match="frozen until"):
        release.start(by=manager, reason="go")


def test_start__plan_altered_after_approval__is_refused(awaiting, proposal, manager, cast):
    release = awaiting(proposal)
    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)
    Release._base_manager.filter(pk=release.pk).update(plan=release.plan | {"margin": 0.4})

    with pytest.raises(PlanMovedError):
        release.start(by=manager, reason="go")


def test_start__another_ramp_is_live__is_refused(started, propose, awaiting, manager, cast):
    first, second = propose(1), propose(2, layer="prompt", targets=("other",), of_pattern=False)
    started(first)
    release = awaiting(second)
    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)

    with pytest.raises(RampBusyError, match="still live"):
        release.start(by=manager, reason="go")


def test_start__after_a_rollback__cools_down_unless_hotfix(started, propose, awaiting, manager, cast):
    first, second = propose(1), propose(2, layer="prompt", targets=("other",), of_pattern=False)
    third = propose(3, layer="prompt", targets=("third",), of_pattern=False)
    broken = started(first)
    broken.roll_back(by=cast.on_call.as_actor(), reason="complaints")
    broken.confirm_rolled_back(by=MACHINE, reason="gone")
    waiting, hotfix = awaiting(second), awaiting(third, is_hotfix=True)
    for release in (waiting, hotfix):
        release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)

    with pytest.raises(VelocityError, match="rolled back"):
        waiting.start(by=manager, reason="go")
    hotfix.start(by=manager, reason="go")

    assert hotfix.status == "running"


def test_start__high_risk_agent__needs_two_people(agent, propose, awaiting, manager, cast):
    put_in_force(agent, "policy", default_policy() | {"risk": "high"}, by=MACHINE, reason="medical")
    release = awaiting(propose())
    release.approve(by=cast.approver.as_actor(), reason="right", plan_digest=release.plan_digest)

    with pytest.raises(ApprovalMissingError, match="1 of 2"):
        release.start(by=manager, reason="go")
    release.approve(by=cast.second_approver.as_actor(), reason="right", plan_digest=release.plan_digest)
    release.start(by=manager, reason="go")

    assert release.status == "running"


def test_withdraw_and_decline__end_what_never_ran(propose, awaiting, manager, cast):
    one, two = awaiting(propose(1)), awaiting(propose(2, layer="prompt", targets=("other",), of_pattern=False))

    one.withdraw(by=manager, reason="not needed")
    two.decline(by=cast.approver.as_actor(), reason="wrong plan")

    assert (one.status, two.status) == ("withdrawn", "declined")


def test_judged__helper_of_these_tests__leaves_a_failed_proposal_unreleasable(agent, cast, manager, propose):
    proposal = propose()
    proposal.rebase(by=MACHINE, reason="again")
    judged(proposal, verdict="fail")

    with pytest.raises(ReleaseRefusedError):
        draft_release(proposal, by=manager, reason="goes out")
