"""How users behave: the same one in both arms, bounded, telling what they know when asked."""

from hypothesis import given
from hypothesis import strategies as st

from evals.conversing.driver import converse
from evals.conversing.persona import MAX_PATIENCE
from evals.conversing.reading import talk_of
from evals.conversing.script import MAX_TURNS, Reply
from evals.conversing.transcript import Exchange
from evals.conversing.users import Chance, RuledUser, chance_of
from evals.conversing.words import specifics
from evals.runners import InfrastructureError, Played
from tests.evals.conversing.people import SHOPPER, Agent, Case, drawn, in_turn, personas, simulated, talks

REPLIES = [
    "What is your order number?", "Please give me more details.", "I cannot help.", "You have 30 days.", "Anything else?", "",
]  # fmt: skip
CASE = Case(SHOPPER)


def output(agent, case=CASE, seed=1):
    return converse(agent, {}, case, seed).output


def by_rules(**changes):
    return Case(SHOPPER | {"reactions": {"rephrase": 1.0}} | changes)


@drawn
@given(
    talks().filter(lambda one: one.get("by") != "model"),
    st.integers(0, 2**40),
    st.lists(st.sampled_from(REPLIES), min_size=1, max_size=25),
)
def test_converse__any_talk_any_agent__is_bounded_and_the_same_again(described, seed, replies):
    messages = [{"role": "user", "content": "Hello"}] if described["kind"] == "scripted" else []
    case = Case(described, messages)

    one, two = (output(in_turn(*replies), case, seed) for _ in range(2))

    assert one == two
    assert 1 <= len(one["turns"]) <= MAX_TURNS
    assert one["ended_by"] in {"goal", "patience", "left", "person", "script", "limit"}
    if described["kind"] == "simulated":
        assert len(one["turns"]) <= talk_of(described).patience[1] + 1
        known = {name for turn in one["turns"] for name in turn.get("facts", ())}
        assert known <= set(described.get("facts", {}))


@drawn
@given(personas(), st.integers(0, 2**40), st.lists(st.sampled_from(REPLIES), min_size=1, max_size=20))
def test_ruled_user__any_replies__names_no_particular_it_was_not_given(described, seed, replies):
    persona = talk_of(described | {"by": "rules", "typo_rate": 0.0})
    facts = [text for fact in persona.facts.values() for text in (fact.value, fact.say or "")]
    known = specifics(" \n ".join([persona.opening, *persona.rephrasings, *facts, *persona.facts]))
    user = RuledUser(persona, chance_of(seed, described, [], "c"))

    exchanges = [Exchange(user.open(""), Reply(replies[0]))]
    for reply in replies[1:]:
        move = user.answer(exchanges)
        if move.ended_by:
            break
        assert specifics(move.say) <= known | specifics(" ".join(persona.phrases.again))
        exchanges.append(Exchange(move, Reply(reply)))


def test_facts__asked_for_by_name__are_told_and_others_are_not():
    said = output(in_turn("What is your order number?", "I see."), by_rules(patience=2))["turns"]

    assert said[1]["user"] == "My order number is 4711-1."
    assert said[1]["facts"] == ["order number"]
    assert "Graz" not in str(said)


def test_facts__never_asked_for__are_never_told():
    for seed in range(20):
        assert "4711" not in str(output(in_turn("I cannot help.", "Sorry?"), by_rules(patience=MAX_PATIENCE), seed))


def test_facts__asked_for_details__come_one_by_one():
    said = output(in_turn("Could you give me more details?"), by_rules(patience=4))["turns"]

    assert [turn.get("facts") for turn in said[:3]] == [None, ["order number"], ["city"]]
    assert said[3]["act"] == "rephrase"


def test_goal__met_by_a_reply__is_thanked_for_and_ends_it():
    result = output(in_turn("What do you mean?", "You have 30 days."), by_rules())

    assert result["ended_by"] == "goal"
    assert result["text"] == "You have 30 days."
    assert result["closing"] in simulated().phrases.thank
    assert len(result["turns"]) == 2


def test_patience__used_up__ends_it_by_leaving_or_with_a_person():
    leaving = output(in_turn("No."), by_rules(patience=3))
    asking = output(in_turn("No."), by_rules(patience=3, reactions={"rephrase": 0.5, "ask_person": 0.5}), seed=4)

    assert (leaving["ended_by"], len(leaving["turns"])) == ("patience", 3)
    assert asking["ended_by"] == "person"
    assert asking["turns"][-1]["act"] == "ask_person"


def test_handoff__in_any_turn__ends_it_and_is_kept():
    handed = Played(output={"text": "A colleague takes over.", "handoff": True})

    result = output(in_turn("Hm.", handed), by_rules())

    assert (result["ended_by"], result["handoff"], len(result["turns"])) == ("person", True, 2)


def test_reactions__over_many_seeds__have_their_shares():
    shares = {"rephrase": 0.5, "complain": 0.2, "leave": 0.2, "ask_person": 0.1}
    case, seen = Case(SHOPPER | {"reactions": shares, "patience": 18}), []
    for seed in range(300):
        result = output(in_turn("No."), case, seed)
        seen.append(result["turns"][1]["act"] if len(result["turns"]) > 1 else "leave")

    assert all(abs(seen.count(act) / 300 - share) < 0.08 for act, share in shares.items())


def test_patience__drawn_between_two__takes_every_value():
    drawn = {RuledUser(simulated(patience=[2, 5]), Chance(str(seed))).patience for seed in range(100)}

    assert drawn == {2, 3, 4, 5}


def test_users__of_one_trial__draw_apart_by_case_and_alike_by_arm():
    case = {"kind": "simulated"}

    keys = {chance_of(7, case, [], cluster).share("patience") for cluster in map(str, range(50))}

    assert len(keys) == 50
    assert chance_of(7, case, [], "1") == chance_of(7, dict(case), [], "1")
    assert chance_of(7, case, [], "1") != chance_of(8, case, [], "1")


def test_reaction__to_an_equal_turn__does_not_depend_on_what_was_replied_before():
    case = Case(SHOPPER | {"reactions": {"rephrase": 0.4, "complain": 0.6}, "patience": 9})
    one, two = (output(in_turn(*replies), case)["turns"] for replies in (["No."], ["Your order number?", "No."]))

    assert [turn["act"] for turn in one[2:]] == [turn["act"] for turn in two[2:]]


def test_script__conditions__leave_turns_out():
    script = [
        {"say": "My order is 4711.", "if": {"asks_for": "order"}}, {"say": "Never mind.", "unless": {"contains": "refund"}},
        {"say": "How long?"},
    ]  # fmt: skip
    case = Case({"kind": "scripted", "turns": script}, [{"role": "user", "content": "Refund me"}])

    asked = output(in_turn("Which order?", "We refund it.", "Two days."), case)
    plain = output(in_turn("Hm."), case)

    assert [turn["user"] for turn in asked["turns"]] == ["Refund me", "My order is 4711.", "How long?"]
    assert [turn["user"] for turn in plain["turns"]] == ["Refund me", "Never mind.", "How long?"]
    assert (asked["ended_by"], asked["user"]) == ("script", {"kind": "scripted"})


def test_script__without_an_opening_message__opens_itself():
    agent = in_turn("Hello.")
    case = Case({"kind": "scripted", "turns": [{"say": "First"}, {"say": "Second"}]})

    assert [turn["user"] for turn in output(agent, case)["turns"]] == ["First", "Second"]
    assert agent.asked[0][0] == [{"role": "user", "content": "First"}]


def test_converse__turn_by_turn__messages_grow_and_numbers_add_up():
    call = Played(
        output={"text": "Which one?", "sources": ["a", "b"]}, steps=[{"kind": "tool_call", "name": "look"}],
        latency_ms=30.0, cost_usd=0.25,
    )  # fmt: skip
    last = Played(output={"text": "You have 30 days.", "sources": ["b", "c"]}, latency_ms=12.0, cost_usd=0.5)
    agent = in_turn(call, last)

    played = converse(agent, {}, by_rules(), 5)

    assert [len(messages) for messages, _, _ in agent.asked] == [1, 3]
    assert {(str(state), seed) for _, state, seed in agent.asked} == {("{'tier': 'gold'}", 5)}
    assert (played.latency_ms, played.cost_usd) == (42.0, 0.75)
    assert played.steps == [{"kind": "tool_call", "name": "look", "turn": 1}]
    assert played.output["sources"] == ["a", "b", "c"]
    assert [turn["latency_ms"] for turn in played.output["turns"]] == [30.0, 12.0]


def test_converse__crash_in_a_later_turn__is_the_trials():
    played = converse(in_turn("Hm.", Played(crashed=True, error="500: boom", latency_ms=7.0)), {}, by_rules(), 1)

    assert played.crashed
    assert (played.error, played.latency_ms) == ("turn 2: 500: boom", 17.0)


def test_converse__infrastructure_gives_out__leaves_the_whole_trial():
    def reply(messages):
        if len(messages) > 1:
            raise InfrastructureError("gone")
        return "Hm."

    agent = Agent(reply)
    try:
        converse(agent, {}, by_rules(), 1)
    except InfrastructureError:
        pass
    else:
        raise AssertionError("it ended")
    assert len(agent.asked) == 2


def test_converse__single_turn__is_one_play_of_the_runner():
    agent = in_turn("Hello.")

    played = converse(agent, {}, Case(messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]), 3)

    assert played.output == {"text": "Hello.", "handoff": False, "sources": []}
    assert len(agent.asked) == 1


def test_typos__in_an_opening__change_letters_only():
    case = by_rules(typo_rate=1.0, patience=1)

    said = {output(in_turn("No."), case, seed)["turns"][0]["user"] for seed in range(30)}

    assert len(said) > 3
    assert {"".join(sorted(text)) for text in said} == {"".join(sorted(SHOPPER["opening"]))}


def test_script__longer_than_a_conversation_may_be__ends_at_the_limit():
    turns = [{"say": f"turn {number}"} for number in range(MAX_TURNS)]
    opened = [{"role": "user", "content": "x"}]

    cut = output(in_turn("Hm."), Case({"kind": "scripted", "turns": turns}, opened))
    whole = output(in_turn("Hm."), Case({"kind": "scripted", "turns": turns}))

    assert (len(cut["turns"]), cut["ended_by"]) == (MAX_TURNS, "limit")
    assert (len(whole["turns"]), whole["ended_by"]) == (MAX_TURNS, "script")
