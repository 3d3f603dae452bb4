import threading
from dataclasses import replace
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.acting import MACHINE
from accounts.exceptions import NotPermittedError
from audit.exceptions import ReasonMissingError, TransitionRefusedError
from audit.models import Event
from harness.exceptions import SelfApprovalError
from harness.models import HarnessVersion
from proposals.drafting import Quote, Sketch, draft, edit_of_layer, laws_broken
from proposals.exceptions import BaseMovedError, EvidenceMissingError, NotJudgedError, ProposalRefusedError
from proposals.models import Proposal
from proposals.requeueing import return_to_queue

SKETCH = Sketch(title="Remember", claim="fixes", patch=[], rationale="it forgets", evidence=[])


def judged(proposal, cast, *, approvals=1):
    """Bring a draft to `validated`."""
    proposal.submit(by=cast.engineer.as_actor(), reason="ready")
    proposal.begin_validation(by=MACHINE)
    proposal.record_verdict("pass", run_ref=uuid4(), summary={"sentence": "pass"}, approvals=approvals, by=MACHINE)
    return proposal


def test_draft__person__becomes_author_and_size_is_counted(proposal, cast):
    assert proposal.author_ids() == {cast.engineer.pk}
    assert proposal.size > 0
    assert laws_broken(proposal) == []
    assert Event.objects.about(f"proposals.proposal:{proposal.pk}").get().action == "proposal.draft"


def test_draft__quote_nobody_said__is_refused(agent, cast, rule_sketch, episode_of):
    sketch = rule_sketch(evidence=[Quote(episode_of(1), "Sweden")])

    with pytest.raises(EvidenceMissingError, match="Sweden"):
        draft(agent, sketch, by=cast.engineer.as_actor())


def test_draft__episode_of_another_agent__is_refused(agent, other_agent, cast, rule_sketch, episode_of):
    sketch = rule_sketch(evidence=[Quote(episode_of(1, of=other_agent))])

    with pytest.raises(EvidenceMissingError, match="another agent"):
        draft(agent, sketch, by=cast.engineer.as_actor())


def test_submit__without_evidence__is_refused(agent, cast, rule_sketch):
    proposal = draft(agent, rule_sketch(evidence=[]), by=cast.engineer.as_actor())

    with pytest.raises(ProposalRefusedError, match="names no episode"):
        proposal.submit(by=cast.engineer.as_actor(), reason="ready")


def test_submit__machine_reading_verify__is_refused(agent, rule_sketch, episode_of):
    sketch = rule_sketch(evidence=[Quote(episode_of(1, split="verify"))])
    proposal = draft(agent, sketch, by=MACHINE, source="rules")

    with pytest.raises(ProposalRefusedError, match="dev split"):
        proposal.submit(by=MACHINE, reason="ready")


def test_submit__machine_on_guardrails__is_refused(agent, rule_sketch):
    patch = [{"op": "add", "path": "/guardrails", "value": {"rules": {"x": {"when": "refund", "then": "escalate"}}}}]
    proposal = draft(agent, rule_sketch(patch=patch), by=MACHINE, source="rules")

    with pytest.raises(ProposalRefusedError, match="guardrails"):
        proposal.submit(by=MACHINE, reason="ready")


def test_edit_of_layer__form__becomes_the_patch(agent):
    value = {**agent.stable.document["context"], "retrieval": {"top_k": 5, "min_score": 0.3}}

    patch = edit_of_layer(agent.stable, "context", value)

    assert [operation["path"] for operation in patch if operation["op"] == "replace"] == ["/context/retrieval/top_k"]


def test_begin_validation__fixes_the_candidate_version(proposal, cast):
    proposal.submit(by=cast.engineer.as_actor(), reason="ready")

    proposal.begin_validation(by=MACHINE)

    assert proposal.candidate.digest == proposal.candidate_digest
    assert proposal.candidate.parent == proposal.base


def test_begin_validation__second_proposal__waits(agent, proposal, cast):
    proposal.submit(by=cast.engineer.as_actor(), reason="ready")
    proposal.begin_validation(by=MACHINE)
    evidence = proposal.evidence.get().episode
    patch = [{"op": "add", "path": "/memory", "value": {"rules": {"m": {"position": 1, "text": "Remember."}}}}]
    other = draft(agent, replace(SKETCH, patch=patch, evidence=[Quote(evidence)]), by=cast.engineer.as_actor())
    other.submit(by=cast.engineer.as_actor(), reason="ready")

    with pytest.raises(Exception, match="one at a time"):
        other.begin_validation(by=MACHINE)


def test_approve__author__is_refused(proposal, cast):
    judged(proposal, cast)
    proposal.authors.get_or_create(user=cast.approver)

    with pytest.raises(SelfApprovalError):
        proposal.approve(by=cast.approver.as_actor(), reason="mine")


def test_approve__other_digest__is_refused(proposal, cast):
    judged(proposal, cast)

    with pytest.raises(NotJudgedError):
        proposal.approve(by=cast.approver.as_actor(), reason="fine", digest="0" * 64)


def test_approve__two_people_needed__waits_for_the_second(proposal, cast):
    judged(proposal, cast, approvals=2)

    proposal.approve(by=cast.approver.as_actor(), reason="fine")
    proposal.approve(by=cast.approver.as_actor(), reason="still fine")
    assert (proposal.status, proposal.num_approvals()) == ("validated", 1)
    proposal.approve(by=cast.second_approver.as_actor(), reason="fine too", digest=proposal.candidate_digest)

    assert proposal.status == "approved"


def test_approve__claim_no_longer_the_one_approved__does_not_count(proposal, cast):
    judged(proposal, cast, approvals=2)
    proposal.approve(by=cast.approver.as_actor(), reason="fine")

    proposal.target_intents = ["everything"]

    assert proposal.num_approvals() == 0


def test_approve__machine_and_support__are_refused(proposal, cast):
    judged(proposal, cast)

    with pytest.raises(NotPermittedError, match="machines stop"):
        proposal.approve(by=MACHINE, reason="fine")
    with pytest.raises(NotPermittedError, match="approver"):
        proposal.approve(by=cast.support.as_actor(), reason="fine")


def test_approve__without_reason__is_refused(proposal, cast):
    judged(proposal, cast)

    with pytest.raises(ReasonMissingError):
        proposal.approve(by=cast.approver.as_actor(), reason=" ")


def test_verdict__on_a_draft__is_refused(proposal):
    with pytest.raises(TransitionRefusedError, match="'draft'"):
        proposal.record_verdict("pass", run_ref=uuid4(), summary={}, approvals=1, by=MACHINE)


def test_validated__without_run__is_refused_by_the_database(proposal):
    with pytest.raises(IntegrityError), transaction.atomic():
        Proposal._base_manager.filter(pk=proposal.pk).update(status="validated")


def move_stable(agent, path, value):
    """Serve another version, as a release would."""
    document = {**agent.stable.document, path: value}
    version = HarnessVersion.create(agent=agent, document=document, parent=agent.stable, by=MACHINE, note="moved")
    agent.set_stable(version, expected=agent.stable, by=MACHINE, reason="moved")


def test_return_to_queue__promotion_elsewhere__rebases_and_asks_for_judgment_again(agent, proposal, cast):
    judged(proposal, cast)
    move_stable(agent, "memory", {"rules": {"m": {"position": 1, "text": "Remember."}}})

    assert return_to_queue(agent, reason="stable moved") == (1, 0)

    proposal.refresh_from_db()
    assert (proposal.status, proposal.base_id, proposal.run_ref) == ("submitted", agent.stable_id, None)


def test_return_to_queue__conflict__becomes_stale(agent, proposal, cast):
    judged(proposal, cast)
    rules = {**agent.stable.document["prompt"]["rules"], "brief": {"position": 5, "text": "Something else."}}
    move_stable(agent, "prompt", {**agent.stable.document["prompt"], "rules": rules})

    assert return_to_queue(agent, reason="stable moved") == (0, 1)

    proposal.refresh_from_db()
    assert proposal.status == "stale"


def test_begin_validation__moved_base__is_refused(agent, proposal, cast):
    proposal.submit(by=cast.engineer.as_actor(), reason="ready")
    move_stable(agent, "memory", {"rules": {"m": {"position": 1, "text": "Remember."}}})

    with pytest.raises(BaseMovedError, match="rebase"):
        proposal.begin_validation(by=MACHINE)


def test_amend__other_person__becomes_an_author(proposal, cast):
    proposal.amend(by=cast.second_engineer.as_actor(), reason="clearer", title="Answer briefly")

    assert proposal.author_ids() == {cast.engineer.pk, cast.second_engineer.pk}
    assert proposal.history.first().history_change_reason == "clearer"


def test_amend__submitted__is_refused(proposal, cast):
    proposal.submit(by=cast.engineer.as_actor(), reason="ready")

    with pytest.raises(ProposalRefusedError, match="only drafts"):
        proposal.amend(by=cast.engineer.as_actor(), reason="oops", title="x")


@pytest.mark.django_db(transaction=True)
def test_submit__twice_at_once__moves_once(agent, cast, rule_sketch):
    proposal = draft(agent, rule_sketch(), by=cast.engineer.as_actor())
    outcomes = []

    def submit():
        try:
            Proposal.objects.get(pk=proposal.pk).submit(by=cast.engineer.as_actor(), reason="ready")
            outcomes.append("moved")
        except TransitionRefusedError:
            outcomes.append("refused")
        finally:
            connection.close()

    threads = [threading.Thread(target=submit) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["moved", "refused", "refused"]
    assert Event.objects.filter(action="proposal.submit").count() == 1
