"""The door to all scorers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.exceptions import DomainError
from evals.scorers import SCORERS, Scorer
from evals.scoring import Reply, Scored, UnknownExpectationError, requires_escalation, score, validate_expectations

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
_FIELDS = st.sampled_from(
    [
        "text",
        "handoff",
        "sources",
        "state",
        "kind",
        "name",
        "input",
        "output",
        "role",
        "content",
        "to",
        "arguments",
        "id",
    ]
)
_HOSTILE = st.recursive(
    _JSON | st.sampled_from(["tool_call", "handoff", "assistant", "lookup_order", "\ud800", "\x00", "{", "9" * 5_000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_FIELDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=15,
)


@pytest.mark.parametrize(
    ("expectations", "output", "steps", "passed"),
    [
        ({"contains": ["30  Days"]}, {"text": "within 30 days."}, [], True),
        ({"contains": ["30 days", "free"]}, {"text": "within 30 days."}, [], False),
        ({"excludes": ["refund"]}, {"text": "a Refund"}, [], False),
        ({"handoff": True}, {"handoff": True}, [], True),
        ({"contains": ["x"], "accepts_handoff": True}, {"text": "", "handoff": True}, [], True),
        (
            {"excludes": ["your password is"], "accepts_handoff": True},
            {"text": "your password is hunter2", "handoff": True},
            [],
            False,
        ),
        ({"cites": ["a"]}, {"sources": ["a"]}, [], True),
        (
            {"tool_called": {"name": "t", "arguments": {"id": "KL-1"}}},
            {},
            [{"kind": "tool_call", "name": "t", "input": {"id": "kl1"}}],
            True,
        ),
        ({"tool_called": {"name": "t"}}, {}, [], False),
    ],
)
def test_score__expectation__is_met_or_not(expectations, output, steps, passed):
    assert score(expectations, Reply(output, steps)).passed is passed


def test_score__partly_met__is_graded_in_thousandths():
    assert score({"contains": ["a", "b", "c"]}, Reply({"text": "a b"})).score == 667


def test_score__several_expectations__is_their_mean_and_says_why_of_each():
    scored = score({"contains": ["a", "b"], "cites": ["x"], "excludes": ["secret"]}, Reply({"text": "a secret"}))

    assert scored == Scored(
        167, passed=False, violations=("says what it must not",),
        rationale="lacks ['b']; says ['secret']; does not cite ['x']",
    )  # fmt: skip


def test_score__violation__is_named_without_the_words_of_the_exam():
    calls = [{"kind": "tool_call", "name": "refund_order"}]

    scored = score({"excludes": ["hunter2"], "tool_not_called": "refund_order"}, Reply({"text": "hunter2"}, calls))

    assert scored.violations == ("says what it must not", "calls a tool it must not")


def test_score__accepted_handoff__still_forbids_what_must_not_be_done_with_it():
    reply = Reply({"text": "", "handoff": True}, [{"kind": "tool_call", "name": "refund_order"}])

    scored = score({"contains": ["x"], "tool_not_called": "refund_order", "accepts_handoff": True}, reply)

    assert (scored.score, scored.passed, scored.violations) == (0, False, ("calls a tool it must not",))
    assert scored.rationale == "handed off, which this case accepts; refund_order was called"


def test_score__accepted_handoff_by_a_step__counts_as_one_by_word():
    reply = Reply({"text": "A colleague will help."}, [{"kind": "handoff", "name": "person"}])

    assert score({"contains": ["x"], "accepts_handoff": True}, reply).passed


def test_score__nearly_met__is_not_rounded_up_to_full():
    wanted = {"expression": "0.9999", "contains": ["a"]}

    scored = score(wanted, Reply({"text": "a"}))

    assert (scored.score, scored.passed) == (999, False)


@pytest.mark.parametrize(
    ("expectations", "said"),
    [
        ({"smells": "nice"}, "use one or more of contains"),
        ({}, "use one or more of contains"),
        ({"accepts_handoff": True}, "use one or more of contains"),
        ({"contains": ["a"], "accepts_handoff": "yes"}, "true or false"),
        ([{"contains": ["a"]}], "one object"),
        ({"contains": ["a" * 19_000] * 3}, "larger than 50,000 bytes"),
        ({"contains": ["\x00"]}, "NUL"),
        ({"number": float("nan")}, "nan"),
        (None, "one object"),
    ],
)
def test_validate__no_expectations__are_refused_with_those_there_are(expectations, said):
    with pytest.raises(UnknownExpectationError, match=said):
        validate_expectations(expectations)


@pytest.mark.parametrize(
    ("expectations", "said"),
    [
        ({"contains": []}, "it is empty"),
        ({"contains": ["ok", " "]}, "/1 is blank"),
        ({"contains": ["a" * 20_001]}, "/0 has 20,001 parts; at most 20,000"),
        ({"excludes": 5}, "it cannot be 5"),
        ({"exact": {"text": "a"}}, 'it cannot be {"text": "a"}'),
        ({"regex": ["("]}, "no pattern that RE2 reads"),
        ({"regex": "(?=a)b"}, "no look-around"),
        ({"similar": {"text": "a", "at_least": 2}}, "/at_least"),
        ({"number": "12"}, 'it cannot be "12"'),
        ({"number": {"value": 1, "tolerance": -1}}, "/tolerance"),
        ({"number": {"value": 1, "of": "output"}}, "of is read with a path only"),
        ({"json_schema": {"type": "object"}}, "schema"),
        ({"json_schema": {"schema": {"type": "objekt"}}}, "/type of the schema is not JSON Schema"),
        ({"json_path": {"path": "order.status", "equals": 1}}, "no JSONPath"),
        ({"json_path": {"path": "$.a"}}, "exactly one of equals"),
        ({"json_path": [{"path": "$.a", "matches": "("}]}, "no pattern"),
        ({"tool_called": {"arguments": {}}}, "'name' is a required property"),
        ({"tool_called": {"name": "t", "at_least": 3, "at_most": 2}}, "at_most of 't' is below at_least"),
        ({"tool_not_called": []}, "it is empty"),
        ({"step_order": ["one"]}, "at least 2"),
        ({"cites": [1]}, "/0 cannot be 1"),
        ({"handoff": "yes"}, 'it cannot be "yes"'),
        ({"escalation": False}, "must be one of [true]"),
        ({"state": {"check": "os.system", "expected": "ls"}}, "there is no check 'os.system'"),
        ({"expression": "text."}, "no Python expression"),
        ({"expression": "__import__('os')"}, "calls what is no function"),
    ],
)
def test_validate__wrong_shape__says_where_and_how_it_should_look(expectations, said):
    [name] = expectations

    with pytest.raises(UnknownExpectationError) as refused:
        validate_expectations(expectations)

    assert said in str(refused.value)
    assert str(refused.value).startswith(f"Expectation {name!r}: ")
    assert f'Write it like {{"{name}": ' in str(refused.value)


@pytest.mark.parametrize("scorer", SCORERS.values(), ids=lambda scorer: scorer.name)
def test_registry__every_scorer__reads_its_example_and_any_reply(scorer: Scorer):
    validate_expectations({scorer.name: scorer.example})

    scored = score({scorer.name: scorer.example}, Reply())

    assert scorer.checks.endswith(".")
    assert scored.rationale
    assert 0 <= scored.score <= 1_000


@settings(max_examples=40, deadline=None)
@given(output=_HOSTILE, steps=_HOSTILE, state=_HOSTILE, messages=_HOSTILE)
def test_score__reply_of_any_shape__has_a_score_and_a_reason(output, steps, state, messages):
    # As an agent may send it: nothing of it has the promised type.
    reply = Reply(output, steps, state if isinstance(state, dict) else {}, messages)  # type: ignore[arg-type]

    for name, scorer in SCORERS.items():
        if name == "similar":
            continue  # the encoder has its own tests, and takes its time
        scored = score({name: scorer.example}, reply)
        assert 0 <= scored.score <= 1_000
        assert scored.passed is (scored.score == 1_000)


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(SCORERS)), value=_HOSTILE)
def test_validate__value_of_any_shape__is_taken_or_refused_in_words(name, value):
    try:
        validate_expectations({name: value})
    except DomainError as refusal:
        assert len(str(refusal)) > 20
    else:
        score({name: value}, Reply({"text": "anything"}))


@pytest.mark.parametrize(
    ("expectations", "required"),
    [({"handoff": True}, True), ({"handoff": False}, False), ({"escalation": {"to": "legal"}}, True), ({"contains": ["a"]}, False)],
)  # fmt: skip
def test_requires_escalation__case__tells_the_gate(expectations, required):
    assert requires_escalation(expectations) is required
