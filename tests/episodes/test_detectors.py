"""Each detector on its own: what it finds, what it leaves alone, and the spans it rests on."""

from typing import Any

import numpy as np
import pytest

from episodes.detectors import abandonment, handoff, loop, rephrase, tool_error
from episodes.detectors.readings import StepReading
from episodes.turns import Turn


def calls(*specs: tuple[str, str] | tuple[str, str, str]) -> list[StepReading]:
    """Tool calls as (name, argument) or (name, argument, error)."""
    return [
        StepReading(n, "tool_call", spec[0], {"id": spec[1]}, {}, "error" if len(spec) > 2 else "ok", "".join(spec[2:]))
        for n, spec in enumerate(specs, start=1)
    ]


def talk(*texts: str) -> list[Turn]:
    """User and assistant in turn, the user first."""
    return [Turn("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]


def test_tool_error__no_failure__finds_nothing() -> None:
    assert tool_error.detect(calls(("lookup", "1"), ("refund", "1"))) is None


def test_tool_error__failed_for_good__names_tool_step_and_words() -> None:
    found = tool_error.detect(calls(("lookup", "1"), ("refund", "2", "no such order")))

    assert found is not None
    assert found.layer == "tools"
    assert found.evidence["recovered"] is False
    assert (found.evidence["steps"], found.evidence["tools"], found.evidence["quotes"]) == (
        [2],
        ["refund"],
        ["no such order"],
    )
    assert found.evidence["arguments"] == [{"id": "2"}]


def test_tool_error__later_success_of_the_same_tool__is_recovered() -> None:
    found = tool_error.detect(calls(("lookup", "2", "no such order"), ("lookup", "KL-2")))

    assert found is not None
    assert found.evidence["recovered"] is True


def test_tool_error__success_of_another_tool__is_not_recovered() -> None:
    found = tool_error.detect(calls(("lookup", "2", "no such order"), ("refund", "2")))

    assert found is not None
    assert found.evidence["recovered"] is False


@pytest.mark.parametrize(("errors", "storm"), [([1, 2, 3], True), ([1, 2], False), ([1, 4, 7], False)])
def test_tool_error__three_of_five_calls__are_a_storm(errors: list[int], storm: bool) -> None:
    steps = calls(*[("t", str(n), "bad") if n in errors else ("t", str(n)) for n in range(1, 9)])

    found = tool_error.detect(steps)

    assert found is not None
    assert found.evidence["storm"] is storm


def test_loop__same_call_three_times__is_found() -> None:
    found = loop.detect(calls(("lookup", "1"), ("other", "1"), ("lookup", "1"), ("lookup", "1")))

    assert found is not None
    assert (found.layer, found.evidence["steps"], found.evidence["times"]) == ("workflow", [1, 3, 4], 3)


@pytest.mark.parametrize("cycle", [["a", "b"], ["a", "b", "c"]])
def test_loop__cycle_twice_in_a_row__is_found(cycle: list[str]) -> None:
    found = loop.detect(calls(("start", "0"), *[(name, "1") for name in cycle * 2]))

    assert found is not None
    assert (found.evidence["period"], found.evidence["times"]) == (len(cycle), 2)


def test_loop__same_tool_with_other_arguments__is_work() -> None:
    assert loop.detect(calls(*[("lookup", str(n)) for n in range(9)])) is None
    assert loop.detect(calls(("a", "1"), ("b", "1"), ("a", "1"), ("c", "1"))) is None


def test_handoff__step_after_a_retrieval__was_attempted() -> None:
    steps = [StepReading(1, "retrieval"), StepReading(2, "handoff", "person", output={"reason": "score is low"})]

    found = handoff.detect(steps)

    assert found is not None
    assert (found.layer, found.evidence["attempted"], found.evidence["quotes"]) == ("context", True, ["score is low"])


def test_handoff__without_any_attempt__points_to_the_workflow() -> None:
    found = handoff.detect([StepReading(1, "handoff", "person")])

    assert found is not None
    assert (found.layer, found.evidence["attempted"]) == ("workflow", False)


def test_handoff__guardrail_before_it__is_named() -> None:
    steps = [StepReading(1, "check", "legal", output={"fired": True}), StepReading(2, "handoff")]

    found = handoff.detect(steps)

    assert found is not None
    assert (found.layer, found.evidence["guarded"]) == ("guardrails", "legal")


@pytest.mark.parametrize("name", ["transfer_to_human_agents", "hand_off", "handoff", "escalate_case"])
def test_handoff__tool_made_for_it__counts(name: str) -> None:
    assert handoff.detect([StepReading(1, "tool_call", name)]) is not None


def test_handoff__outputs_own_word__counts_and_nothing_else_does() -> None:
    assert handoff.detect([], says_handoff=True) is not None
    assert handoff.detect([StepReading(1, "tool_call", "transfer_money")]) is None


@pytest.mark.parametrize(
    ("turns", "steps", "cause"),
    [
        (talk("Where is it?", "Which order do you mean?"), [], "question"),
        (talk("Where is it?", "I am sorry, I cannot help with that."), [], "excuse"),
        (talk("Where is it?", "Something went wrong."), calls(("lookup", "1", "timeout")), "error"),
    ],
)
def test_abandonment__agent_owed_something__is_found(turns: list[Turn], steps: list[StepReading], cause: str) -> None:
    found = abandonment.detect(turns, steps)

    assert found is not None
    assert found.evidence["cause"] == cause
    assert found.evidence["quotes"] == [turns[-1].text]


@pytest.mark.parametrize(
    "turns",
    [
        talk("Where is it?", "It arrives on Monday."),
        talk("Where is it?", "It arrives on Monday.", "Thanks, that's all", "Anything else I can do?"),
        talk("Where is it?", "Which one?", "The lamp"),
        [],
    ],
)
def test_abandonment__served_closed_or_still_talking__is_not(turns: list[Turn]) -> None:
    assert abandonment.detect(turns, []) is None


def vectors(cosine: float, *texts: str) -> dict[str, Any]:
    other = np.array([cosine, np.sqrt(1 - cosine**2)])
    return {text: np.array([1.0, 0.0]) if n == 0 else other for n, text in enumerate(texts)}


def test_rephrase__explicit_words__need_no_vectors() -> None:
    found = rephrase.detect(talk("Refund my lamp", "Lamps cost 20.", "That is not what I asked"))

    assert found is not None
    assert (found.evidence["explicit"], found.evidence["turns"]) == (True, [0, 2])


def test_rephrase__adjacent_turns_alike__is_found_by_cosine() -> None:
    turns = talk("refund my lamp", "Lamps cost 20.", "get money back for lamp")

    found = rephrase.detect(turns, vectors(0.7, "refund my lamp", "get money back for lamp"))

    assert found is not None
    assert found.evidence["cosine"] == pytest.approx(0.7)
    assert rephrase.detect(turns, vectors(0.5, "refund my lamp", "get money back for lamp")) is None
    assert rephrase.detect(turns) is None


def test_rephrase__answer_to_a_question__is_no_rephrasing() -> None:
    alike = vectors(0.9, "refund my lamp", "refund the red lamp")

    assert rephrase.detect(talk("refund my lamp", "Which lamp?", "refund the red lamp"), alike) is None
    asked = talk("refund my lamp", "Could you say it in other words?", "refund the red lamp")
    assert rephrase.detect(asked, alike) is not None


def test_rephrase__newest_only__leaves_older_pairs_to_their_episode() -> None:
    turns = talk("Refund my lamp", "20.", "Not what I asked", "It is refunded.", "When will it arrive")

    assert rephrase.detect(turns) is not None
    assert rephrase.detect(turns, newest_only=True) is None
