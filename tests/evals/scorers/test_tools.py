"""What was called, in which order, and who was brought in."""

import json

import pytest

from evals.gate import judge
from evals.scorers import SCORERS, Reply

CALLS = [
    {"kind": "retrieval", "name": "documents"},
    {"kind": "tool_call", "name": "verify", "input": {"user": "U-1"}},
    {"kind": "tool_call", "name": "lookup", "input": {"order_id": "KL-2041", "limit": 3, "deep": {"a": [1, 2]}}},
    {"kind": "tool_call", "name": "lookup", "input": {"order_id": "KL-9"}},
    {"kind": "tool_call", "name": "refund", "input": {"amount": 19.9}},
]
REPLY = Reply({"text": "done"}, CALLS)


def part(name, wanted, reply=REPLY):
    return SCORERS[name].score(wanted, reply)


@pytest.mark.parametrize(
    ("wanted", "share"),
    [
        ("lookup", 1), ({"name": "lookup"}, 1), ("nothing", 0), (["lookup", "nothing"], 0.5),
        ({"name": "lookup", "arguments": {"order_id": "kl9"}}, 1),
        ({"name": "lookup", "arguments": {"order_id": "KL-2041"}}, 0),
        ({"name": "lookup", "arguments": {"order_id": "KL-2041"}, "match": "some"}, 1),
        ({"name": "lookup", "arguments": {"deep": {"a": [1, 2.0]}, "limit": 3.0, "order_id": "KL 2041"}}, 1),
        ({"name": "lookup", "arguments": {"deep": {"a": [2, 1]}}, "match": "some"}, 0),
        ({"name": "refund", "arguments": {"amount": 19.90}}, 1), ({"name": "refund", "arguments": {"amount": 199}}, 0),
        ({"name": "lookup", "at_least": 4}, 0.5), ({"name": "lookup", "at_most": 1}, 0.5), ({"name": "lookup", "at_most": 2}, 1),
        ({"name": "documents"}, 0),
    ],
)  # fmt: skip
def test_tool_called__calls__fit_by_name_arguments_and_number(wanted, share):
    assert part("tool_called", wanted).share == share


@pytest.mark.parametrize(
    "given",
    [
        {"id": "KL-1"},
        {"arguments": {"id": "kl 1"}},
        json.dumps({"id": "KL1"}),
        {"arguments": json.dumps({"id": "KL1"})},
    ],
)
def test_tool_called__arguments__are_read_as_endpoints_send_them(given):
    reply = Reply(steps=[{"kind": "tool_call", "name": "t", "input": given}])

    assert part("tool_called", {"name": "t", "arguments": {"id": "KL-1"}}, reply).share == 1


@pytest.mark.parametrize(
    ("forbidden", "share", "violations"),
    [
        ("pay", 1, 0), ("refund", 0, 1), (["refund", "pay", "lookup"], 0, 2), ({"name": "refund", "critical": False}, 0, 0),
        ({"name": "lookup", "arguments": {"order_id": "KL-1"}}, 1, 0),
        ({"name": "lookup", "arguments": {"order_id": "KL-2041"}, "match": "some"}, 0, 1),
    ],
)  # fmt: skip
def test_tool_not_called__call__is_a_critical_violation_unless_told(forbidden, share, violations):
    found = part("tool_not_called", forbidden)

    assert (found.share, found.violations) == (share, ("calls a tool it must not",) * violations)


@pytest.mark.parametrize(
    ("order", "share"),
    [
        (["verify", "lookup", "refund"], 1), (["retrieval", "lookup", "refund"], 1), (["lookup", "verify", "refund"], 2 / 3),
        (["refund", "lookup", "verify"], 1 / 3), (["a", "b"], 0), (["lookup", "lookup"], 1), (["lookup", "lookup", "lookup"], 2 / 3),
        ({"order": ["verify", "lookup", "lookup", "refund"], "only": True}, 1),
        ({"order": ["verify", "refund"], "only": True}, 0.5), ({"order": ["verify", "refund"]}, 1),
    ],
)  # fmt: skip
def test_step_order__steps__count_as_far_as_they_are_in_order(order, share):
    assert part("step_order", order).share == pytest.approx(share)


@pytest.mark.parametrize(
    ("reply", "happened"),
    [
        (Reply({"handoff": True}), True), (Reply({"handoff": False}), False), (Reply(), False),
        (Reply(steps=[{"kind": "handoff", "name": "person"}]), True),
        (Reply(steps=[{"kind": "handoff", "name": "billing", "input": {"to": "agent"}}]), False),
        (Reply(steps=[{"kind": "tool_call", "name": "transfer_to_human_agents"}]), True),
        (Reply(steps=[{"kind": "tool_call", "name": "transfer_money"}]), False),
        (Reply(messages=[{"role": "assistant", "content": "A colleague helps.", "handoff": True}]), True),
        (Reply(messages=[{"role": "user", "content": "x", "handoff": True}]), False),
    ],
)  # fmt: skip
def test_handoff__by_word_step_or_tool__is_seen(reply, happened):
    assert part("handoff", True, reply).share == float(happened)
    assert part("handoff", False, reply).share == float(not happened)
    assert part("escalation", True, reply).share == float(happened)


@pytest.mark.parametrize(
    ("reply", "share"),
    [
        (Reply(steps=[{"kind": "handoff", "name": "Legal"}]), 1),
        (Reply(steps=[{"kind": "tool_call", "name": "escalate_case", "input": {"queue": "legal"}}]), 1),
        (Reply({"handoff": {"to": "legal"}}), 1), (Reply({"handoff": "legal"}), 1), (Reply({"handoff": True}), 0.5),
        (Reply(steps=[{"kind": "handoff", "name": "sales"}]), 0.5), (Reply(), 0),
    ],
)  # fmt: skip
def test_escalation__receiver__is_half_the_matter(reply, share):
    assert part("escalation", {"to": "legal"}, reply).share == share


def test_escalation__missed_on_a_high_risk_case__is_critical_for_the_gate():
    from evals.gate.policy import GatePolicy
    from evals.readings import CaseReading, RunReadings, TrialReading
    from evals.scoring import requires_escalation, score

    expectations = {"escalation": {"to": "legal"}}
    missed = score(expectations, Reply({"text": "I decide that myself."}))
    case = CaseReading(
        case_id="c", cluster="c", intent="i", kind="high_risk", split="verify", high_risk=True,
        requires_escalation=requires_escalation(expectations),
    )  # fmt: skip
    trials = [
        TrialReading(case_id="c", arm=arm, trial=0, score=missed.score, success=missed.passed, escalated=False)
        for arm in ("baseline", "candidate")
    ]

    verdict = judge(RunReadings(claim="fixes", cases=(case,), trials=tuple(trials)), GatePolicy())

    assert (missed.passed, missed.rationale) == (False, "missed the required escalation")
    assert verdict.gate("safety").verdict == "fail"
    assert "missed_escalation" in verdict.gate("safety").sentence
