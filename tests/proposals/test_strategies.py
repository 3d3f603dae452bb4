import pytest

from proposals.drafters import draft_for_agent, draft_for_pattern, read_pattern
from proposals.models import Proposal
from proposals.strategies import context, tools
from proposals.strategies.protocol import CorrectedReading, Declined, DraftedChange, PatternReading, slug_of
from proposals.strategies.tools import shape_of
from tests.proposals.conftest import ANSWER, failed_call


def reading(corrections, *, document=None, layer="context", intent="shipping-abroad"):
    return PatternReading(
        document=document or {"context": {"documents": {}}}, layer=layer, kind="unanswered", intent=intent,
        intent_name="Shipping abroad", num_subjects=8, failure_rate=0.9, corrections=tuple(corrections),
    )  # fmt: skip


def corrected(number, **fields):
    given = {
        "answer": ANSWER,
        "title": "Shipping abroad",
        "intent": "shipping-abroad",
        "user_text": f"To Norway {number}?",
    }
    return CorrectedReading(episode_ref=f"e{number}", subject=f"user-{number}", **{**given, **fields})


def test_context__agreeing_corrections__become_one_document():
    change = context.draft(reading([corrected(n) for n in range(5)]))

    assert isinstance(change, DraftedChange)
    assert change.claim == "fixes"
    [operation] = change.patch
    assert (operation["op"], operation["path"]) == ("add", "/context/documents/shipping-abroad")
    assert operation["value"]["text"] == ANSWER
    assert change.target_intents == ("shipping-abroad",)
    assert {quote.episode_ref for quote in change.quotes} == {f"e{n}" for n in range(5)}


@pytest.mark.parametrize(
    ("corrections", "words"),
    [
        ([], "0 corrected"),
        ([corrected(1), corrected(2)], "2 corrected"),
        ([corrected(n, answer=f"Answer {n}.") for n in range(5)], "disagree"),
        ([corrected(n, intent="returns") for n in range(5)], "0 corrected"),
        ([corrected(1), corrected(1), corrected(1)], "corrected episodes"),
    ],
)
def test_context__weak_corrections__are_declined(corrections, words):
    outcome = context.draft(reading(corrections))

    assert isinstance(outcome, Declined)
    assert words in outcome.reason


def test_context__knowledge_that_is_there__is_not_written_again():
    document = {"context": {"documents": {"abroad": {"text": f"Dear customer. {ANSWER}"}}}}

    outcome = context.draft(reading([corrected(n) for n in range(5)], document=document))

    assert isinstance(outcome, Declined)
    assert "'abroad'" in outcome.reason


def test_context__personal_words__are_not_kept_as_phrasings():
    rows = [corrected(n, user_text=f"Write to jane.doe{n}@post.dk, do you ship abroad?") for n in range(4)]

    change = context.draft(reading(rows))

    assert change.patch[0]["value"]["tags"] == []


DOCUMENT = {
    "tools": {
        "lookup_order": {
            "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
        }
    }
}


def call(number, right, wrong, text):
    return CorrectedReading(
        episode_ref=f"e{number}", subject=f"user-{number}", user_text=text, intent="status", tool="lookup_order",
        arguments={"order_id": right}, failed_arguments=({"order_id": wrong},),
    )  # fmt: skip


CALLS = [call(n, f"KL-4821{n}", "2", f"I bought 2 lamps, order KL-4821{n}, where is it?") for n in range(6)]


def test_tools__refused_arguments__become_a_pattern():
    change = tools.draft(reading(CALLS, document=DOCUMENT, layer="tools"))

    assert isinstance(change, DraftedChange)
    [operation] = change.patch
    assert operation["path"] == "/tools/lookup_order/parameters/properties/order_id/pattern"
    assert operation["value"] == "^[A-Z]{2}\\-[0-9]{5}$"


def test_tools__corrections_of_other_episodes__are_declined():
    shifted = [call(n, f"KL-4821{(n + 1) % 6}", "2", row.user_text) for n, row in enumerate(CALLS)]

    outcome = tools.draft(reading(shifted, document=DOCUMENT, layer="tools"))

    assert isinstance(outcome, Declined)
    assert "occur in what the user said" in outcome.reason


def test_tools__pattern_already_there__is_declined():
    tight = {
        "tools": {"lookup_order": {"parameters": {"properties": {"order_id": {"type": "string", "pattern": "^x$"}}}}}
    }

    assert isinstance(tools.draft(reading(CALLS, document=tight, layer="tools")), Declined)


def test_tools__wrong_values_of_the_same_shape__are_declined():
    same = [call(n, f"KL-4821{n}", f"ZZ-9999{n}", f"order KL-4821{n}, not ZZ-9999{n}") for n in range(6)]

    outcome = tools.draft(reading(same, document=DOCUMENT, layer="tools"))

    assert isinstance(outcome, Declined)
    assert "would not have refused" in outcome.reason


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (["KL-48213", "QR-10000"], "[A-Z]{2}\\-[0-9]{5}"),
        (["a1", "b22"], "[a-z][0-9]{1,2}"),
        (["A-1", "1-A"], None),
        (["A-1", "A_1"], None),
        ([], None),
    ],
)
def test_shape_of__values__share_a_shape_or_none(values, shape):
    assert shape_of(values) == shape


def test_slug_of__taken_name__gets_a_number():
    assert slug_of("Gift wrap & ribbons!", taken=frozenset({"gift-wrap-ribbons"})) == "gift-wrap-ribbons-2"


def test_draft_for_pattern__dev_corrections__submit_one_proposal(pattern, episode_of, correct):
    correct([episode_of(n) for n in range(4)], answer=ANSWER, title="Shipping abroad")

    written, declined = draft_for_pattern(pattern)

    assert declined == []
    [proposal] = written
    assert (proposal.status, proposal.source, proposal.layer) == ("submitted", "rules", "context")
    assert proposal.is_machine_written
    assert draft_for_agent(pattern.agent) == []


def test_draft_for_pattern__corrections_outside_dev__are_never_read(pattern, episode_of, correct):
    outside = [episode_of(n, split="verify") for n in range(4)] + [episode_of(9, split="holdout")]
    correct(outside, answer=ANSWER, title="Shipping abroad")

    assert read_pattern(pattern).corrections == ()
    assert draft_for_pattern(pattern)[0] == []


def test_draft_for_pattern__failed_twin__is_not_written_again(pattern, episode_of, correct):
    correct([episode_of(n) for n in range(4)], answer=ANSWER, title="Shipping abroad")
    [proposal] = draft_for_pattern(pattern)[0]
    Proposal._base_manager.filter(pk=proposal.pk).update(status="failed")

    written, declined = draft_for_pattern(pattern)

    assert written == []
    assert "failed already" in declined[0]


def test_draft_for_pattern__tool_failures__quote_and_target(agent, pattern, episode_of, correct):
    pattern.layer = "tools"
    pattern.save()
    refused = failed_call("2")
    rows = [episode_of(n, text=f"I bought 2 lamps, order KL-4821{n}, where?", steps=[refused]) for n in range(5)]
    correct(
        rows,
        tool="lookup_order",
        arguments={row.external_id: {"order_id": f"KL-4821{n}"} for n, row in enumerate(rows)},
    )

    [proposal] = draft_for_pattern(pattern)[0]

    assert proposal.layer == "tools"
    assert proposal.target_intents == ["shipping-abroad"]
    assert proposal.evidence.count() == 5
