import pytest

from evals.runners.prompting import HAND_OFF, chat_messages, last_words, system_text, tool_names, tool_schemas
from evals.runners.retrieval import Passage

DOCUMENT = {
    "prompt": {
        "system": "You are the desk.",
        "rules": {
            "late": {"position": 20, "text": "Second."},
            "b": {"position": 10, "text": "First, too."},
            "a": {"position": 10, "text": "First."},
        },
        "examples": {"x": {"position": 1, "user": "Hi", "answer": "Hello"}},
        "preferences": {"tone": "short"},
    },
    "memory": {"rules": {"m": {"text": "Orders start with KL."}}, "user": {"city": {"name": "Bonn"}}},
    "guardrails": {"rules": {"legal": {"when": "lawyer", "then": "escalate"}, "x": {"when": "a", "then": "refuse"}}},
    "tools": {
        "lookup_order": {"description": "Look up.", "parameters": {"type": "object"}},
        "off": {"enabled": False},
        "réfund it": {},
        HAND_OFF: {},
    },
}


def test_system_text__whole_document__is_in_order():
    lines = system_text(DOCUMENT, [Passage("returns", "Returns", "Within 30 days.", 0.9)]).splitlines()

    assert lines[:5] == ["You are the desk.", "", "Rules:", "- First.", "- First, too."]
    assert lines.index("- Second.") > lines.index("- First, too.")
    for line in (
        '- {"answer": "Hello", "user": "Hi"}', "- Orders start with KL.", "- short", '- city: {"name": "Bonn"}',
        f"- When lawyer: call {HAND_OFF}", "- When a: refuse",
    ):  # fmt: skip
        assert line in lines, line
    assert lines[-1] == '{"id": "returns", "title": "Returns", "text": "Within 30 days."}'
    assert "[returns]" in lines[-2]


@pytest.mark.parametrize("document", [{}, {"prompt": {}}, {"prompt": {"rules": {}}, "memory": {}, "guardrails": {}}])
def test_system_text__empty_document__is_empty(document):
    assert system_text(document, []) == ""


def test_tool_schemas__enabled_tools__and_the_hand_off_under_names_the_wire_takes():
    names = tool_names(DOCUMENT)

    assert "off" not in names.values()
    assert names["lookup_order"] == "lookup_order"
    assert names["r_fund_it"] == "réfund it"
    assert HAND_OFF not in names  # the document's own tool of that name has another on the wire
    wire = [schema["function"]["name"] for schema in tool_schemas(DOCUMENT)]
    assert sorted(wire) == sorted([*names, HAND_OFF])
    assert all(schema["function"]["parameters"]["type"] == "object" for schema in tool_schemas(DOCUMENT))


def test_tool_names__alike_on_the_wire__stay_apart():
    names = tool_names({"tools": {"a b": {}, "a.b": {}, "a_b": {}}})

    assert sorted(names.values()) == ["a b", "a.b", "a_b"]


def test_chat_messages__case__is_who_said_what():
    messages = [{"role": "user", "content": "Hi", "at": "now"}, {"role": "tool", "content": "x"}, {"role": "assistant"}]

    assert chat_messages(messages) == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "a"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}], "a"),
        ([{"role": "assistant", "content": "b"}], ""),
        ([], ""),
    ],
)
def test_last_words__messages__are_the_users(messages, words):
    assert last_words(messages) == words
