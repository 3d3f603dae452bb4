"""What drafts expect: by corrections first, then by what was resolved, and nothing where nothing is known."""

import pytest

from episodes.detectors.readings import StepReading
from evals.expecting import Corrected, Lived, Usual, as_expectations, facts_in, propose, strength_of
from evals.scoring import Reply, score, validate_expectations
from evals.wording import in_words

RESOLVED = {"resolution": "resolved", "resolution_source": "customer"}


def call(name="lookup_order", status="ok", **arguments):
    return StepReading(1, "tool_call", name=name, input=arguments, status=status)


def proposed(**lived):
    return as_expectations(propose(Lived(**lived)))


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("You have 30 days to send it back.", ["30 days"]),
        ("Shipping costs €4.95, or 3,50 EUR by post.", ["€4.95", "3,50 EUR"]),
        ("It takes 5 business days. 20 % off.", ["5 business days", "20 %"]),
        ("Say “no questions asked” and see https://shop.test/returns.", ["no questions asked", "https://shop.test/returns"]),
        ("Your order 4711000815 is on its way.", []),
        ("We are glad to help.", []),
    ],
)  # fmt: skip
def test_facts__of_an_answer__are_its_amounts_and_quotes(text, facts):
    assert facts_in(text) == facts


def test_propose__corrected__takes_the_correction_over_how_it_went():
    said = Corrected(
        answer="You have 30 days.", tool="lookup_order", arguments={"order_id": "A7"}, should_escalate=True
    )

    found = proposed(correction=said, output_text="You have 14 days.", sources=["old"], **RESOLVED)

    assert found == {
        "contains": ["30 days"], "tool_called": {"name": "lookup_order", "arguments": {"order_id": "A7"}}, "handoff": True,
    }  # fmt: skip


def test_propose__correction_without_facts__takes_its_words_and_asks_to_shorten_them():
    [found] = propose(Lived(correction=Corrected(answer="We do not ship there.")))

    assert (found.name, found.value) == ("contains", ["We do not ship there."])
    assert "shorten" in found.why


def test_propose__resolved_by_a_tool__calls_it_with_what_the_user_said():
    told = {"user_texts": ["Where is order A-7?"], **RESOLVED}

    assert proposed(steps=[call(order_id="A7")], **told)["tool_called"] == {
        "name": "lookup_order", "arguments": {"order_id": "A7"},
    }  # fmt: skip
    assert proposed(steps=[call(order_id="B9")], **told)["tool_called"] == {"name": "lookup_order"}
    assert "tool_called" not in proposed(steps=[call(status="error", order_id="A7")], **told)


def test_propose__resolved_with_sources__cites_them_and_needs_nobody():
    found = proposed(sources=["returns", "fees", "more"], output_text="You have 30 days.", **RESOLVED)

    assert found == {"cites": ["returns", "fees"], "contains": ["30 days"], "handoff": False}
    assert all("customer's system" in one.why for one in propose(Lived(sources=["returns"], **RESOLVED)))


def test_propose__resolved_by_the_agents_own_word__proves_nothing():
    assert proposed(sources=["returns"], resolution="resolved", resolution_source="agent") == {}


def test_propose__flagged__is_not_expected_to_go_as_it_went():
    assert proposed(flags=["wrong"], sources=["returns"], **RESOLVED) == {}
    assert proposed(flags=["should_escalate"], sources=["returns"], **RESOLVED) == {"handoff": True}
    assert proposed(flags=["slow"], sources=["returns"], **RESOLVED)["cites"] == ["returns"]


def test_propose__failed__goes_as_its_intent_mostly_goes_or_waits_for_a_person():
    assert proposed(resolution="failed", usual=Usual(source="returns", count=4, of=5)) == {"cites": ["returns"]}
    assert proposed(resolution="failed", usual=Usual(tool="refund", count=4, of=5)) == {
        "tool_called": {"name": "refund"}
    }
    assert proposed(resolution="failed") == {}


def test_propose__handed_over_where_it_is_dangerous__must_be_handed_over_again():
    ended = {"resolution": "escalated", "resolution_source": "staff", "handed_off": True}

    assert proposed(is_high_risk=True, **ended) == {"handoff": True}
    assert proposed(**ended) == {}
    assert proposed(flags=["should_escalate"], resolution="failed") == {"handoff": True}


def test_strength__of_what_is_known__is_ordered():
    lives = [
        Lived(resolution="failed"), Lived(**RESOLVED), Lived(sources=["returns"], **RESOLVED), Lived(correction=Corrected(answer="30 days")),
    ]  # fmt: skip

    assert [strength_of(one, propose(one)) for one in lives] == [0, 1, 2, 3]


def test_proposals__of_a_resolved_episode__can_be_scored_and_are_met_by_it():
    steps = [{"kind": "tool_call", "name": "lookup_order", "input": {"order_id": "A7"}}]
    output = {"text": "It arrives in 3 days.", "sources": ["delivery"], "handoff": False}
    readings = [StepReading.from_stored(1, step) for step in steps]

    expected = proposed(
        steps=readings, sources=["delivery"], user_texts=["order a7?"], output_text=output["text"], **RESOLVED
    )

    validate_expectations(expected)
    assert score(expected, Reply(output, steps)).passed


def test_words__of_every_expectation__are_a_sentence():
    said = {
        "contains": ["30 days"], "excludes": ["never"], "handoff": False, "accepts_handoff": True, "cites": ["returns"],
        "tool_called": {"name": "refund", "arguments": {"order_id": "A7"}}, "matches": "\\d+",
    }  # fmt: skip

    words = dict(in_words(said))

    assert words["contains"] == "The reply says “30 days”."
    assert words["tool_called"] == "The tool refund is called with order_id = A7."
    assert words["handoff"] == "It is answered without handing over."
    assert words["matches"] == 'Matches: "\\\\d+"'
    assert all(words.values())


@pytest.mark.parametrize("odd", ["x", ["x"], {"arguments": {}}, {"name": "x", "arguments": "y"}, None, 3])
def test_words__of_an_odd_value__do_not_fail(odd):
    for name in ("contains", "cites", "tool_called", "handoff", "excludes"):
        assert in_words({name: odd})[0][1]
