"""What a case may say of its conversation, and how it is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.turns import Turn
from evals.conversing.reading import ConversationError, as_mapping, lines_of, talk_of, validate_conversation
from evals.conversing.script import MAX_TURNS, Condition, Reply
from evals.conversing.scripting import script_from
from evals.conversing.words import asks_for, asks_for_details, asks_for_person, closes, complains, specifics
from tests.evals.conversing.people import SHOPPER, drawn, simulated, talks

OPENED = [{"role": "user", "content": "Hello"}]


@drawn
@given(talks())
def test_talk__any_valid_one__survives_json(described):
    talk = talk_of(described)

    again = talk_of(json.loads(json.dumps(as_mapping(talk), allow_nan=False)))

    assert again == talk
    assert as_mapping(again) == as_mapping(talk)
    assert lines_of(described)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "chat"}, "one of ('scripted', 'simulated')"),
        ({"reactions": {"leave": 0.5}}, "reactions: sum to 0.5"),
        ({"reactions": {"leave": 1.5, "rephrase": -0.5}}, "greater than or equal to 0"),
        ({"patience": [4, 2]}, "patience: runs from 4 to 2"),
        ({"patience": 0}, "greater than or equal to 1"),
        ({"patience": MAX_TURNS}, "less than or equal to"),
        ({"patience": True}, "patience"),
        ({"met_when": {}}, "met_when: names no condition"),
        ({"met_when": {"contains": []}}, "at least 1 item"),
        ({"met_when": {"contains": [" "]}}, "is empty; write what is said"),
        ({"facts": {"order": {"value": "4711", "say": "I do not know."}}}, "does not hold its value '4711'"),
        ({"goal": ""}, "goal: is empty"),
        ({"mood": "angry"}, "mood: Extra inputs"),
        ({"phrases": {"thank": []}}, "phrases.thank"),
    ],
)
def test_simulated_user__described_wrongly__is_refused_with_place_and_reason(change, complaint):
    with pytest.raises(ConversationError) as refusal:
        validate_conversation(SHOPPER | change, [])

    assert complaint in str(refusal.value)
    assert "constrained" not in str(refusal.value)


@pytest.mark.parametrize(
    ("turns", "complaint"),
    [
        ([], "turns: List should have at least 1"),
        ([{"say": "x"}] * (MAX_TURNS + 1), "at most"),
        ([{"say": "x", "unless": {}}], "turns.0.unless: names no condition"),
        ([{"says": "x"}], "turns.0.say"),
    ],
)
def test_script__described_wrongly__is_refused_with_place_and_reason(turns, complaint):
    with pytest.raises(ConversationError) as refusal:
        validate_conversation({"kind": "scripted", "turns": turns}, OPENED)

    assert complaint in str(refusal.value)


@pytest.mark.parametrize("conversation", [[], "scripted", None, 1])
def test_conversation__that_is_no_object__is_refused(conversation):
    with pytest.raises(ConversationError, match="give an object"):
        validate_conversation(conversation, OPENED)


def test_simulated_user__opens_neither_or_both_ways__is_refused():
    silent = {name: value for name, value in SHOPPER.items() if name != "opening"}

    with pytest.raises(ConversationError, match="Nobody opens"):
        validate_conversation(silent, [])
    with pytest.raises(ConversationError, match="opened twice"):
        validate_conversation(SHOPPER, OPENED)
    validate_conversation(silent, OPENED)
    validate_conversation(SHOPPER, [*OPENED, {"role": "assistant", "content": "Hi."}])


def test_manner__same_ways_and_other_wants__are_one_and_other_ways_another():
    one, other = simulated(), simulated(goal="Something else.", facts={}, opening="Hi there")
    angry = simulated(reactions={"complain": 1.0})
    model = simulated(by="model")

    assert one.manner_digest() == other.manner_digest()
    assert len({one.manner_digest(), angry.manner_digest(), model.manner_digest(), model.manner_digest("m-2")}) == 4


@pytest.mark.parametrize(
    ("condition", "text", "met"),
    [
        ({"contains": "30 days"}, "You have 30\n DAYS.", True),
        ({"contains": ["30 days", "free"]}, "You have 30 days.", False),
        ({"asks_for": "order number"}, "What is your order number?", True),
        ({"asks_for": "order number"}, "Please send me the order number.", True),
        ({"asks_for": "order number"}, "Your order number, please.", True),
        ({"asks_for": "order number"}, "Your order number is 4711. Is that all?", False),
        ({"asks_for": ["order id", "order number"]}, "Which order ID was it?", True),
        ({"asks_for": "id"}, "What did you do?", False),
        ({"handoff": True}, "A colleague takes over.", False),
        ({"handoff": False, "contains": "colleague"}, "A colleague takes over.", True),
        ({"tool_called": "refund"}, "Done.", True),
        ({"tool_called": "cancel"}, "Done.", False),
    ],
)
def test_condition__of_a_reply__is_met_or_not(condition, text, met):
    assert Condition(**condition).is_met(Reply(text, tools=("refund",))) is met


def test_words__of_users__are_read():
    assert complains("This is really not helpful.")
    assert complains("Seriously? That is all?")
    assert asks_for_details("Please describe what happened.")
    assert not asks_for_details("The details are in your account.")
    assert not complains("Is there a helpful page?")
    assert asks_for_person("Can I talk to a real person please?")
    assert not asks_for_person("What a personal touch")
    assert closes("Great, thanks!")
    assert not closes("Thanks, but where is my order? I have been waiting for it for three weeks now, you know.")
    assert specifics("Order 4711-1 of jo@example.org, 2 shoes") == {"47111", "jo@example.org"}
    assert asks_for("订单号是多少？", ["订单号"]) is False  # no blank parts it from what follows
    assert asks_for("What about the (order)?", ["(order)"])


def test_script_from__recorded_turns__says_them_in_order_without_the_farewell():
    said = [
        Turn("user", "Where is it?"), Turn("assistant", "Which order?"), Turn("user", "4711"),
        Turn("assistant", "On its way."), Turn("user", "Thanks!"),
    ]  # fmt: skip

    messages, conversation = script_from(said)

    assert messages == [{"role": "user", "content": "Where is it?"}]
    assert conversation == {"kind": "scripted", "turns": [{"say": "4711"}]}
    assert script_from(said[:1]).conversation == {}


def test_script_from__nothing_or_too_much__is_refused():
    with pytest.raises(ConversationError, match="said nothing"):
        script_from([Turn("assistant", "Hello")])
    with pytest.raises(ConversationError, match=f"spoke {MAX_TURNS + 1} times"):
        script_from([Turn("user", f"turn {number}") for number in range(MAX_TURNS + 1)])


@drawn
@given(
    st.lists(st.text(min_size=1).filter(lambda text: text.strip() and not closes(text)), min_size=1, max_size=MAX_TURNS)
)
def test_script_from__any_turns__says_each_once(texts):
    messages, conversation = script_from([Turn("user", text) for text in texts])

    assert [messages[0]["content"], *(turn["say"] for turn in conversation.get("turns", ()))] == texts
