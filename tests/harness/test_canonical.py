import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.canonical import (
    MAX_INTEGER,
    DocumentError,
    canonical_bytes,
    clean_json,
    digest_of,
    is_same,
    parse_json,
    pointer,
)
from tests.harness.json_values import UNHURRIED, VALUES


def shuffled(value, randomness):
    if isinstance(value, dict):
        members = [(name, shuffled(item, randomness)) for name, item in value.items()]
        randomness.shuffle(members)
        return dict(members)
    if isinstance(value, list):
        return [shuffled(item, randomness) for item in value]
    return value


@UNHURRIED
@given(VALUES, st.randoms(use_true_random=False))
def test_canonical_bytes__names_in_another_order__stay_the_same(value, randomness):
    assert canonical_bytes(shuffled(value, randomness)) == canonical_bytes(value)


@UNHURRIED
@given(VALUES)
def test_canonical_bytes__read_back__give_the_same_value_and_bytes(value):
    read = parse_json(canonical_bytes(value))

    assert is_same(read, value)
    assert canonical_bytes(read) == canonical_bytes(value)


def test_canonical_bytes__rfc_8785_example__match_the_standard():
    value = parse_json(
        r'{"numbers": [333333333.33333329, 4.50, 2e-3, 0.000000000000000000000000001],'
        r'"string": "\u20ac$\u000F\u000aA\u0027\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}'
    )

    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_bytes(value).decode() == expected


def test_digest_of__empty_document__is_sha256_of_its_two_bytes():
    assert digest_of({}) == hashlib.sha256(b"{}").hexdigest()


def test_clean_json__integral_float__becomes_the_integer_it_is_written_as():
    assert canonical_bytes(clean_json([1.0, -0.0])) == b"[1,0]"
    assert clean_json({"a": 2.0}) == {"a": 2}
    assert isinstance(clean_json(2.0), int)


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        ({"a": ["x\x00"]}, "nul", "/a/0"),
        ({"a\x00": 1}, "nul", ""),
        ({"a/b": "\ud800"}, "lone_surrogate", "/a~1b"),
        ({"a": 2**53}, "big_integer", "/a"),
        ({"a": -(2**53)}, "big_integer", "/a"),
        ({"a": 1e17}, "big_integer", "/a"),
        ({"a": 10**6000}, "big_integer", "/a"),
        ({"a": float("nan")}, "not_finite", "/a"),
        ({"a": float("-inf")}, "not_finite", "/a"),
        ({1: "a"}, "not_json", ""),
        ({"a": {1, 2}}, "not_json", "/a"),
        ({"a": b"bytes"}, "not_json", "/a"),
    ],
)
def test_clean_json__what_has_no_canonical_form__is_refused_by_rule_and_path(value, code, path):
    with pytest.raises(DocumentError) as refused:
        clean_json(value)

    assert (refused.value.code, refused.value.path) == (code, path)


def test_clean_json__greatest_exact_integer__passes():
    assert clean_json([MAX_INTEGER, -MAX_INTEGER]) == [MAX_INTEGER, -MAX_INTEGER]
    assert clean_json(2**60, allow_big_integers=True) == 2**60


def test_clean_json__too_deep__is_refused_before_the_stack_is():
    deep = []
    for _ in range(5000):
        deep = [deep]

    with pytest.raises(DocumentError) as refused:
        clean_json(deep)

    assert refused.value.code == "too_deep"
    assert clean_json([[[1]]], max_depth=3) == [[[1]]]
    with pytest.raises(DocumentError):
        clean_json([[[1]]], max_depth=2)


def test_clean_json__too_large__is_refused():
    with pytest.raises(DocumentError) as refused:
        clean_json(["x" * 60, "y" * 60], max_bytes=100)

    assert refused.value.code == "too_large"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('{"a": 1, "a": 2}', "repeated_name"),
        ("{", "not_json"),
        (b"\xff\xfe\xff", "not_json"),
        ("[NaN]", "not_finite"),
        ('"\\ud800"', "lone_surrogate"),
        ("[" * 200_000, "too_deep"),
        ("9" * 5000, "not_json"),
        ("[1e400]", "not_finite"),
    ],
)
def test_parse_json__bad_text__is_refused_with_its_rule(text, code):
    with pytest.raises(DocumentError) as refused:
        parse_json(text)

    assert refused.value.code == code


def test_parse_json__text_longer_than_allowed__is_refused_unread():
    with pytest.raises(DocumentError) as refused:
        parse_json("[" + " " * 100 + "]", max_bytes=50)

    assert refused.value.code == "too_large"


def test_is_same__true_and_one__differ():
    assert not is_same({"a": True}, {"a": 1})
    assert is_same({"a": 1, "b": 2}, {"b": 2, "a": 1})


def test_pointer__special_characters__are_escaped():
    assert pointer(["a/b", "m~n", ""]) == "/a~1b/m~0n/"
    assert pointer([]) == ""


def test_clean_json__random_large_document__is_returned_equal():
    randomness = random.Random(7)
    document = {str(index): {"text": "x" * randomness.randrange(200)} for index in range(2000)}

    assert clean_json(document) == json.loads(json.dumps(document))
