"""The rules' critique: which layer, by the strongest evidence."""

import pytest

from episodes.critiques import CaseReading, judge, praise
from episodes.detectors.readings import StepReading
from episodes.resolution import Statement, derive
from tests.episodes.factories import LONG_AGO

FAILED_CALL = StepReading(2, "tool_call", "lookup_order", {"order_id": "2"}, {}, "error", "no order '2'")
LOST = {"tool_error": {"recovered": False, "tools": ["lookup_order"]}}


def retrieval(*scores: float, **output: object) -> StepReading:
    return StepReading(
        1, "retrieval", output={"documents": [{"id": "d", "score": score} for score in scores], **output}
    )


@pytest.mark.parametrize(
    ("case", "kind", "layer"),
    [
        (CaseReading(steps=[retrieval(0.9), FAILED_CALL], signals=LOST), "tool_error:lookup_order", "tools"),
        (CaseReading(steps=[FAILED_CALL], signals=LOST, corrected_answer=True), "tool_error:lookup_order", "tools"),
        (CaseReading(corrected_tool="lookup_order"), "tool_error:lookup_order", "tools"),
        (CaseReading(corrected_answer=True), "unmet_need", "context"),
        (CaseReading(steps=[retrieval()]), "unmet_need", "context"),
        (CaseReading(steps=[retrieval(0.2)]), "unmet_need", "context"),
        (CaseReading(steps=[retrieval(0.4, min_score=0.5)]), "unmet_need", "context"),
        (CaseReading(steps=[retrieval(0.4)], min_score=0.5), "unmet_need", "context"),
        (CaseReading(steps=[retrieval(0.8)], sources=["d"], resolution="failed"), "unmet_need", "context"),
        (CaseReading(steps=[retrieval(0.8)], sources=["d"], flags=frozenset({"wrong"})), "unmet_need", "context"),
        (CaseReading(signals={"loop": {"tools": ["a"], "times": 3}}), "loop", "workflow"),
        (CaseReading(signals={"handoff": {"attempted": False}}), "early_handoff", "workflow"),
        (CaseReading(signals={"handoff": {"attempted": False, "guarded": "legal"}}), "guarded_handoff", "guardrails"),
        (CaseReading(signals={"handoff": {"attempted": True}}), "late_handoff", "workflow"),
        (CaseReading(flags=frozenset({"should_escalate"})), "missed_handoff", "guardrails"),
        (CaseReading(should_escalate=True), "missed_handoff", "guardrails"),
        (CaseReading(flags=frozenset({"unsafe"}), steps=[retrieval()]), "unsafe_answer", "guardrails"),
        (CaseReading(flags=frozenset({"tone"})), "tone", "prompt"),
        (CaseReading(flags=frozenset({"slow"})), "slow", "workflow"),
        (CaseReading(resolution="failed"), "wrong_outcome", "prompt"),
    ],
)
def test_judge__evidence__names_kind_and_layer(case: CaseReading, kind: str, layer: str) -> None:
    judgment = judge(case)

    assert (judgment.kind, judgment.layer) == (kind, layer)
    assert all((judgment.what, judgment.why, judgment.prevention, judgment.counterfactual))


def test_judge__tool_failure__means_the_same_whatever_the_number() -> None:
    other = StepReading(2, "tool_call", "lookup_order", {"order_id": "9"}, {}, "error", "no order '9'")

    first = judge(CaseReading(steps=[FAILED_CALL], signals=LOST))
    second = judge(CaseReading(steps=[other], signals=LOST))

    assert first.meaning == second.meaning
    assert first.spans_intents
    assert first.evidence["arguments"] == {"order_id": "2"}


def test_judge__recovered_error__is_not_the_cause() -> None:
    recovered = {"tool_error": {"recovered": True, "tools": ["lookup_order"]}}

    assert judge(CaseReading(steps=[FAILED_CALL], signals=recovered, resolution="failed")).layer == "prompt"


def test_judge__ways_of_not_knowing__rank_alike() -> None:
    missed, refused = (
        judge(CaseReading(steps=[retrieval()])),
        judge(CaseReading(steps=[retrieval(0.9)], resolution="failed")),
    )

    assert missed.rank == refused.rank


def test_praise__quiet_episode__names_what_carried_it() -> None:
    assert praise(CaseReading(sources=["returns"])).layer == "context"
    assert praise(CaseReading(steps=[StepReading(1, "tool_call", "lookup_order")])).layer == "tools"
    assert praise(CaseReading()).layer == "prompt"


def said(name: str, source: str, *, value: float = 1.0, order: str = "1", days: float = 0) -> Statement:
    return Statement(name, value, source, LONG_AGO.replace(day=2 + int(days)), order)


@pytest.mark.parametrize(
    ("statements", "resolution", "source"),
    [
        ([], "open", ""),
        ([said("resolved", "agent")], "resolved", "agent"),
        ([said("resolved", "agent"), said("abandoned", "detector")], "abandoned", "detector"),
        ([said("abandoned", "detector"), said("resolved", "staff")], "resolved", "staff"),
        ([said("failed", "customer"), said("resolved", "staff", days=5)], "failed", "customer"),
        ([said("failed", "customer"), said("resolved", "customer", days=1)], "resolved", "customer"),
        ([said("failed", "customer", order="1"), said("resolved", "customer", order="2")], "resolved", "customer"),
        ([said("resolved", "customer", value=0)], "failed", "customer"),
        ([said("escalated", "customer", value=0), said("resolved", "agent")], "resolved", "agent"),
        ([said("revenue", "customer", value=12)], "open", ""),
    ],
)
def test_derive__several_voices__the_strongest_is_heard(
    statements: list[Statement], resolution: str, source: str
) -> None:
    reading = derive(statements, last_at=LONG_AGO)

    assert (reading.resolution, reading.source) == (resolution, source)


def test_derive__detector_before_the_conversation_went_on__is_out_of_date() -> None:
    assert derive([said("abandoned", "detector")], last_at=LONG_AGO.replace(day=9)).resolution == "open"


def test_derive__source_outside_the_objective__is_not_heard() -> None:
    assert derive([said("abandoned", "detector")], last_at=LONG_AGO, order=("customer", "agent")).resolution == "open"
