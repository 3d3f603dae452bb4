"""Pins: what was signed comes back, and nothing else does."""

import base64
import hashlib
import hmac
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from releases.bucketing import Arm
from releases.pins import Pin, PinRefusal, Refused, read, sign

KEY = b"0123456789abcdef0123456789abcdef"
PIN = Pin(
    agent="support", conversation="c-1", version=7, digest="ab" * 32, issued_at=1_700_000_000,
    release="r-1", arm=Arm.CANARY, weight=0.25, stage=1,
)  # fmt: skip
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def refusal(found: Pin | PinRefusal) -> Refused:
    assert isinstance(found, PinRefusal)
    return found.code


@given(text, text, st.integers(1, 10**6), st.floats(0, 1), st.sampled_from([None, *Arm]))
def test_read__signed_pin__comes_back_equal(
    agent: str, conversation: str, version: int, weight: float, arm: Arm | None
) -> None:
    pin = Pin(agent=agent, conversation=conversation, version=version, digest="d", issued_at=1, arm=arm, weight=weight)

    assert read(sign(pin, KEY), KEY) == pin


def test_sign__any_pin__is_safe_in_urls_and_headers() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", sign(PIN, KEY))


def test_read__any_single_character_changed__is_refused() -> None:
    token = sign(PIN, KEY)

    for index, old in enumerate(token):
        for new in {"A", "B", "-", "."} - {old}:
            assert isinstance(read(token[:index] + new + token[index + 1 :], KEY), PinRefusal)


@pytest.mark.parametrize("tail", ["=", "A", " ", "\n", ".x"])
def test_read__token_with_a_tail__is_refused(tail: str) -> None:
    assert isinstance(read(sign(PIN, KEY) + tail, KEY), PinRefusal)


def test_read__last_character_respelled_to_equal_bytes__is_refused() -> None:
    # 32 bytes leave two unused bits in the last base64 character: four spellings decode alike, one is honored.
    token = sign(PIN, KEY)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    honored = [last for last in alphabet if isinstance(read(token[:-1] + last, KEY), Pin)]

    assert honored == [token[-1]]


def test_read__another_key__is_refused() -> None:
    assert refusal(read(sign(PIN, KEY), b"another-key-of-enough-bytes")) is Refused.SIGNATURE


@pytest.mark.parametrize("token", ["", "abc", "é.x", "a." + "b" * 3000])
def test_read__no_token__is_malformed(token: str) -> None:
    assert refusal(read(token, KEY)) is Refused.MALFORMED


@pytest.mark.parametrize(
    "content", ["not json", "[]", '{"agent": "a"}', '{"agent": "a", "arm": null}', '{"arm": "blue"}', '"text"']
)
def test_read__signed_in_another_layout__is_malformed(content: str) -> None:
    payload = base64.urlsafe_b64encode(content.encode()).rstrip(b"=").decode()
    seal = hmac.new(KEY, b"whetstone.pin.1\0" + payload.encode(), hashlib.sha256).digest()
    token = f"{payload}.{base64.urlsafe_b64encode(seal).rstrip(b'=').decode()}"

    assert refusal(read(token, KEY)) is Refused.MALFORMED


def test_read__another_conversation_or_agent__is_foreign() -> None:
    token = sign(PIN, KEY)

    assert refusal(read(token, KEY, conversation="c-2")) is Refused.FOREIGN
    assert refusal(read(token, KEY, agent="sales")) is Refused.FOREIGN
    assert read(token, KEY, agent="support", conversation="c-1") == PIN


def test_read__older_than_allowed__has_expired() -> None:
    token = sign(PIN, KEY)

    assert read(token, KEY, now=PIN.issued_at + 60, max_age_s=60) == PIN
    assert refusal(read(token, KEY, now=PIN.issued_at + 61, max_age_s=60)) is Refused.EXPIRED


def test_sign__short_key__is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        sign(PIN, b"short")
