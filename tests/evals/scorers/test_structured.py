"""What the reply says as data, and the state it leaves."""

import json
import re

import pytest
from django.core.checks import Error
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from evals.checks import state_checks_can_be_called
from evals.scorers import SCORERS, Reply, problem_of
from evals.scorers.paths import PathExhaustedError, find
from evals.scorers.schemas import SchemaExhaustedError, errors_of, problem_of_schema
from evals.scorers.states import resolve_check, use_checks

ORDER = {"order": {"status": "shipped", "total": 19.99, "items": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}]}}


def part(name, wanted, reply):
    return SCORERS[name].score(wanted, reply)


def said(text):
    return Reply({"text": text if isinstance(text, str) else json.dumps(text)})


SCHEMA = {
    "type": "object", "required": ["status", "total"], "additionalProperties": False,
    "properties": {"status": {"enum": ["open", "closed"]}, "total": {"type": "number"}, "note": {"type": "string", "pattern": "^a"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ({"status": "open", "total": 3}, 1), ('```json\n{"status": "open", "total": 3}\n```', 1), ({"status": "lost", "total": 3}, 2 / 3),
        ({"status": "open"}, 2 / 3), ({"note": "b"}, 0), ({"status": "open", "total": 3, "more": 1}, 0), ([1], 0), ("not JSON", 0),
        ('{"status": "open", "status": "closed"}', 0), ("[" * 100_000, 0),
    ],
)  # fmt: skip
def test_json_schema__answer__scores_its_right_members(text, share):
    assert part("json_schema", {"schema": SCHEMA}, said(text)).share == pytest.approx(share)


@pytest.mark.parametrize(
    ("of", "reply"),
    [
        ("output", Reply({"status": "open", "total": 1})), ("state", Reply(state={"status": "open", "total": 1})),
        ("state", Reply({"state": {"status": "open", "total": 1}})), ("text", said({"status": "open", "total": 1})),
    ],
)  # fmt: skip
def test_json_schema__part_of_the_reply__is_the_one_named(of, reply):
    assert part("json_schema", {"schema": SCHEMA, "of": of}, reply).share == 1


def test_json_schema__steps_and_messages__are_lists_of_objects():
    reply = Reply(steps=[{"kind": "tool_call"}, "junk"], messages=[{"role": "user"}])  # type: ignore[list-item]  # as it may come
    one = {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "object"}}

    assert [part("json_schema", {"schema": one, "of": of}, reply).share for of in ("steps", "messages")] == [1, 1]


def doubling(number):
    """A schema of `number` definitions, each asking the next one twice."""
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(number)}
    return {"$defs": {**definitions, f"d{number}": {}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "objekt"}, "is not JSON Schema"), ({"pattern": "(?=a)"}, "no pattern that RE2 reads"), ({"$ref": "http://x/y"}, "refers to"),
        ({"$ref": "other.json"}, "refers to"), ({"$ref": "#/$defs/lost"}, "there is no schema"), ({"$ref": "#"}, "without end"),
        ({"anyOf": [{"$ref": "#"}]}, "without end"), (doubling(30), "too many steps"), ({"$dynamicRef": "#a"}, "not supported"),
        ({"properties": {"a": {"patternProperties": {"x": {}}}}}, "not supported"), ({"unevaluatedProperties": False}, "not supported"),
        ({"items": {"$id": "http://x"}}, "not supported"), ({"minLength": -1}, "is not JSON Schema"),
    ],
)  # fmt: skip
def test_schema__that_has_no_end_or_fetches__is_refused(schema, why):
    assert why in problem_of_schema(schema)


def test_schema__members_named_like_keywords__are_members():
    schema = {
        "properties": {"$ref": {"type": "string"}, "pattern": {"enum": [{"$id": "x"}]}, "$id": {"const": {"$ref": 1}}}
    }

    assert problem_of_schema(schema) == ""
    assert errors_of({"$ref": "x"}, schema) == []


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"uniqueItems": True, "items": {"enum": [[0] * 50] * 50}}, [[0] * 50 + [n] for n in range(900)]),
        ({"items": {"items": {"anyOf": [*[{"type": "string"}] * 90, {}]}}}, [[0] * 400] * 9),
        (doubling(8) | {"items": doubling(8), "$ref": "#/$defs/d8"}, [0] * 900),
    ],
)  # fmt: skip
def test_errors__more_work_than_one_check_may_take__end(schema, instance):
    with pytest.raises(SchemaExhaustedError):
        errors_of(instance, schema)
    told = part("json_schema", {"schema": schema}, said(instance))
    assert (told.share, "too large" in told.rationale) == (0, True)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "ab", "b1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3),
    max_leaves=8,
)
_SCHEMAS = st.recursive(
    st.sampled_from([
        {}, True, False, {"type": "string"}, {"type": ["integer", "null"]}, {"enum": [1, "a", [1], True]}, {"const": {"a": 1}},
        {"minimum": 1}, {"pattern": "^a|1$"}, {"minLength": 1}, {"uniqueItems": True}, {"required": ["a"]}, {"maxItems": 1},
    ]),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2)}),
        st.fixed_dictionaries({"items": inner}), st.fixed_dictionaries({"contains": inner}), st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)}),
        st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"additionalProperties": inner, "if": inner, "then": inner}),
    ),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(schema=_SCHEMAS.filter(lambda one: isinstance(one, dict)), value=_VALUES)
def test_errors__any_schema_and_value__agree_with_the_library(schema, value):
    assert (errors_of(value, schema) == []) is Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("wish", "share"),
    [
        ({"path": "$.order.status", "equals": "shipped"}, 1), ({"path": "$.order.status", "equals": "open"}, 0),
        ({"path": "$.order.status", "one_of": ["open", "shipped"]}, 1), ({"path": "$.order.status", "matches": "^ship"}, 1),
        ({"path": "$.order.gone", "exists": False}, 1), ({"path": "$.order.gone", "exists": True}, 0), ({"path": "$.order.gone", "equals": None}, 0),
        ({"path": "$..sku", "equals": "b"}, 1), ({"path": "$.order.items[-1].n", "equals": 2.0}, 1), ({"path": "$.order.items[0].n", "equals": True}, 0),
        ({"path": "$.order.items[?@.n > 1].sku", "equals": "b"}, 1), ({"path": "$.order.items[0]", "equals": {"n": 1, "sku": "a"}}, 1),
        ([{"path": "$.order.total", "equals": 19.99}, {"path": "$.order.status", "equals": "x"}], 0.5),
    ],
)  # fmt: skip
def test_json_path__values__are_as_wanted(wish, share):
    assert part("json_path", wish, said(ORDER)).share == share
    of_output = [{**one, "of": "output"} for one in (wish if isinstance(wish, list) else [wish])]
    assert part("json_path", of_output, Reply(ORDER)).share == share


@pytest.mark.parametrize(
    "path",
    ["order", "$.", "$[", "$.a[?match(@.b, '(a+)+$')]", "$.a[?search(@, 'x')]", "$" + ".a" * 300, "$[" + "(" * 200],
)
def test_json_path__what_is_no_path_or_uses_the_librarys_patterns__is_refused(path):
    assert "Write it like" in problem_of("json_path", {"path": path, "exists": True})


@pytest.mark.parametrize(
    "path",
    ["$..*..*..*", "$..[?@..*]", "$" + "[*,*,*,*]" * 20, "$" + "['a','a','a','a']" * 14 + ".z", "$[?$..b == 1]", "$..[?$.a == $.c]",
     "$.a[?@ == $.c]", "$" + "..a" * 40],
)  # fmt: skip
def test_json_path__query_without_end__is_ended(path):
    nested = []
    for _ in range(40):
        nested = {"a": nested, "b": [nested]} if len(json.dumps(nested)) < 4_000 else {"a": nested}
    value = {"a": [nested] * 12, "c": nested}

    try:
        found = find(path, value)
    except PathExhaustedError:
        return
    assert len(found) <= 1_000


@pytest.mark.parametrize(
    ("wanted", "text", "share"),
    [
        (42, "It is 42.", 1), (42, "It is 43.", 0), (42, "none", 0), ({"value": 19.99, "tolerance": 0.01}, "about $20.00", 1),
        ({"value": 19.99, "tolerance": 0.001}, "about $20.00", 0), ({"value": 100, "relative": 0.05}, "104.9 grams", 1), (1299.5, "€1,299.50", 1),
        (1299.5, "1.299,50 €", 1), (19.5, "19,50 Euro", 1), (-3, "at −3 degrees", 1), (1_000_000, "1,000,000", 1), (0.3, str(0.1 + 0.2), 1),
        (1500, "1.5e3", 1), (2041, "order KL-2041", 0), (2, "version 1.2.3", 0), (20, "10-20 days", 1), (7, "x7", 0), (12, "it's 12,", 1),
        (10, "9" * 200_000, 0), (1, "1," * 100_000, 0),
    ],
)  # fmt: skip
def test_number__said__is_near_enough(wanted, text, share):
    found = part("number", wanted, Reply({"text": text}))

    assert found.share == share, found.rationale


def test_number__at_a_path__is_read_there():
    wanted = {"value": 20, "tolerance": 0.5, "path": "$.order.total"}

    assert part("number", wanted, said(ORDER)).share == 1
    assert part("number", {**wanted, "path": "$.order.status"}, said(ORDER)).rationale == "gives no number"
    assert part("number", {**wanted, "of": "state"}, Reply(state={"order": {"total": "20.4 EUR"}})).share == 1


STATE = {"orders": {"KL-1": {"status": "refunded", "total": 5}, "KL-2": {"status": "open"}}, "log": [1, 2]}


@pytest.mark.parametrize(
    ("wanted", "share"),
    [
        ({"expected": {"orders": {"KL-1": {"status": "refunded"}}}}, 1), ({"expected": {"orders": {"KL-1": {"status": "open", "total": 5.0}}}}, 0.5),
        ({"expected": {"log": [1]}}, 0), ({"expected": {"gone": None}}, 0), ({"check": "equals", "expected": STATE}, 1),
        ({"check": "equals", "expected": {"log": [1, 2]}}, 0.5), ({"check": "equals", "expected": {"log": [2]}}, 0),
        ({"expected": {"orders": {"KL-1": {"total": True}}}}, 0),
    ],
)  # fmt: skip
def test_state__final__holds_what_was_expected(wanted, share):
    assert part("state", wanted, Reply(state=STATE)).share == share
    assert part("state", wanted, Reply({"state": STATE})).share == share


def balances(final, expected):
    return final["in"] - final["out"] == expected


def half(final, expected):
    return 0.5, f"half of {expected}"


def far_too_much(final, expected):
    return 7


@pytest.fixture
def _own_checks():
    own = {name: f"{__name__}.{name}" for name in ("balances", "half", "far_too_much")}
    use_checks(own | {"gone": "tests.nowhere.gone", "words": f"{__name__}.STATE"})
    yield
    use_checks({})


@pytest.mark.usefixtures("_own_checks")
def test_state__check_of_the_installation__is_called_by_its_name():
    def told(check, state):
        return part("state", {"check": check, "expected": 3}, Reply(state=state))

    assert told("balances", {"in": 5, "out": 2}).share == 1
    assert told("balances", {"in": 5, "out": 1}).share == 0
    assert "could not read the state: KeyError: 'out'" in told("balances", {"in": 5}).rationale
    assert (told("half", {}).share, told("half", {}).rationale) == (0.5, "half of 3")
    assert "no score from 0 to 1" in told("far_too_much", {}).rationale


@pytest.mark.usefixtures("_own_checks")
@pytest.mark.parametrize("name", ["gone", "words", "os.system", "evals.scorers.states.equals", ""])
def test_state__check_that_is_not_there__is_refused(name):
    assert problem_of("state", {"check": name, "expected": 1})


def test_checks__setting_that_leads_nowhere__is_an_error(settings):
    settings.STATE_CHECKS = {"fine": f"{__name__}.balances", "lost": "nowhere.at.all", "bare": "balances"}

    found = state_checks_can_be_called(None)

    assert [(one.id, isinstance(one, Error), re.search(r"\['(\w+)'\]", one.msg)[1]) for one in found] == [
        ("evals.E001", True, "lost"), ("evals.E001", True, "bare"),
    ]  # fmt: skip
    assert resolve_check(f"{__name__}.balances") is balances
