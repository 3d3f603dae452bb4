"""The quick looks agree with the slow ones they stand in for."""

import json

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from harness.canonical import (
    MAX_DEPTH,
    DocumentError,
    UnsureError,
    canonical_bytes,
    clean_json,
    parse_json,
    plain_each,
    plain_json,
)
from harness.sensitive import KINDS, find, json_may_hold, may_hold
from tests.harness.json_values import VALUES

SECRETS = (
    "AKIAABCDEFGHIJKLMNOP", "ghp_" + "a1" * 20, "github_pat_" + "a" * 44, "glpat-" + "x1" * 12, "sk-" + "k9" * 12,
    "rk_live_" + "a1" * 10, "xoxb-" + "1234567890", "AIza" + "b" * 35, "eyJ" + "a" * 12 + ".eyJ" + "b" * 12 + "." + "c" * 12,
    "-----BEGIN PRIVATE KEY-----", "api_key = abcdefgh12345", "PASSWORD: 'hunter2hunter2'", "auth-token=abcdef123456789",
    "accesstoken:a1b2c3d4e5f6g7", "postgres://ann:secret1@db/x", "ann.smith@gmail.com", "DE89 3704 0044 0532 0130 00",
    "4111 1111 1111 1111", "4111-1111-1111-1111", "\u0664\u0661\u0661\u0661 1111 1111 1111",
    "ap\u0131_key = abcdefgh12345", "ap\u0130key = abcdefgh12345", "DE\u0668\u0669 3704 0044 0532 0130 00",
)  # fmt: skip


@given(VALUES)
def test_canonical_bytes__any_clean_value__are_those_of_rfc8785(value: object) -> None:
    clean = clean_json(value)

    assert canonical_bytes(clean) == rfc8785.dumps(clean)


@pytest.mark.parametrize("number", [0, -0.0, 1.0, 1e21, 1.5e-7, 1e-5, 0.1, -3, 123456789012345.6, 5e-324, 2**53 - 1])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: [n], lambda n: {"a": n, "b": n}, lambda n: [1, n, 2]])
def test_canonical_bytes__numbers__are_those_of_rfc8785(number, wrap) -> None:
    assert canonical_bytes(wrap(number)) == rfc8785.dumps(wrap(number))


def test_canonical_bytes__names_beyond_the_basic_plane__are_ordered_by_utf16() -> None:
    value = {"\ue000": 1, "\U0001f600": 2}

    assert canonical_bytes(value) == rfc8785.dumps(value) != orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@given(VALUES)
def test_plain_json__where_it_is_sure__agrees_with_the_strict_reader(value: object) -> None:
    text = json.dumps(value).encode()
    try:
        quick = plain_json(text)
    except UnsureError:
        return

    assert canonical_bytes(quick) == canonical_bytes(parse_json(text))


@pytest.mark.parametrize(
    "text",
    [
        b'{"a": 1, "a": 2}', b'{"a":{"b":1,"b":2}}', b'{"a" :1,"b":1,"b":2}', b'{"a"\n:1,"a":2}', b'{"a\\\\":1,"a\\\\":2}',
        b'{"a":1,"\\u0061":2}', b"[1e300]", b"[-1.5E+22]", b"[9.1e15]", b"[9007199254740992.0]", b'["\\u0000"]', b'["\\ud800"]', b"[1e400]", b"[NaN]",
        b'{"a\\\\" :1,"b":1,"b":2}', b'{"x":"\\u0022:","b":1,"b":2}', b'{"x":"\\"\\u003a","b":1,"b":2}', b"[100000000000000e9]",
        b"[9007199254740993]", b"[12345678901234567890]", b"{", b'"\xff"', b"[" * 70 + b"]" * 70, b"[" * 5000 + b"]" * 5000,
    ],
)  # fmt: skip
def test_plain_json__what_the_strict_reader_must_see__is_unsure(text: bytes) -> None:
    with pytest.raises(UnsureError):
        plain_json(text)


@pytest.mark.parametrize("depth", range(MAX_DEPTH - 6, MAX_DEPTH + 6))
@pytest.mark.parametrize("core", ["", "1", '{"a":[]}'])
def test_plain_json__nesting__is_never_sure_where_the_strict_reader_refuses(depth: int, core: str) -> None:
    text = ("[" * depth + core + "]" * depth).encode()
    try:
        parse_json(text)
    except DocumentError:
        with pytest.raises(UnsureError):
            plain_json(text)


def test_plain_json__an_ordinary_document__is_sure() -> None:
    text = b'{"id": "e-1", "said": "a \\"quoted\\": word", "steps": [{"kind": "check", "ok": true, "ms": 1.5}]}'

    assert plain_json(text) == json.loads(text)


@given(st.lists(VALUES, max_size=4))
def test_plain_each__where_it_is_sure__agrees_with_the_strict_reader_on_each(values: list[object]) -> None:
    texts = [json.dumps(value).encode() for value in values]
    try:
        quick = plain_each(texts)
    except UnsureError:
        return

    assert [canonical_bytes(value) for value in quick] == [canonical_bytes(parse_json(text)) for text in texts]


@given(st.lists(st.text('[]{}",:1 ab', max_size=8), min_size=1, max_size=3))
def test_plain_each__texts_that_make_sense_only_together__are_not_sure(texts: list[str]) -> None:
    lines = [text.encode() for text in texts]
    try:
        quick = plain_each(lines)
    except UnsureError:
        return

    assert quick == [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "texts",
    [[b"1,2"], [b"1", b""], [b""], [b"1],[2"], [b'{"a":[1', b"2]}"], [b'{"a":1', b'"b":2}'], [b'"a', b'b"'],
     [b'{"a":[{"b":1}', b'{"c":2}]},{"d":3}'], [b'{"a":[{"b":1}', b'{"c":2}]},0,{"d":3}'], [b"1", b"2,3,4", b"[5", b"6]"]],
)  # fmt: skip
def test_plain_each__a_text_that_is_no_value__is_unsure(texts: list[bytes]) -> None:
    with pytest.raises(UnsureError):
        plain_each(texts)


@pytest.mark.parametrize("texts", [[], [b"1"], [b'{"a": 1}\r', b" [2]", b'"x"']])
def test_plain_each__ordinary_texts__are_read_each(texts: list[bytes]) -> None:
    assert plain_each(texts) == [json.loads(text) for text in texts]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "please use {} now", "x\n{}\ny", "caf\u00e9 {} \U0001f600", "({})"])
def test_may_hold__text_with_a_finding__asks_for_a_look(secret: str, around: str) -> None:
    text = around.format(secret)

    assert find(text)
    assert may_hold(text, KINDS)
    assert json_may_hold(orjson.dumps({"said": [text]}), KINDS)


@given(
    st.text()
    | st.lists(st.sampled_from([*SECRETS, "PA\u017f\u017fWD: abcdefgh1234", " ", ":", "=", "1", "Z"])).map("".join)
)
def test_may_hold__says_no__there_is_nothing(text: str) -> None:
    if not may_hold(text, KINDS):
        assert not find(text)
    if not json_may_hold(orjson.dumps([text]), KINDS):
        assert not find(text)


def test_may_hold__ordinary_words__need_no_look() -> None:
    assert not may_hold("The parcel of order KL-48214 from 2026-05-01 has not arrived: 3 of 4 items.", KINDS)
    assert not may_hold("anything with ann.smith@gmail.com", ())
