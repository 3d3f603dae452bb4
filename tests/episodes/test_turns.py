"""What users said, read out of messages: openings and their normal form."""

import hashlib
import re

from hypothesis import given
from hypothesis import strategies as st

from episodes.turns import Turn, fingerprint, opening_of, turns_of


def test_opening__greeting_first__is_the_first_text_that_says_something() -> None:
    turns = [
        Turn("assistant", "How can I help?"),
        Turn("user", "Hi!"),
        Turn("assistant", "Yes?"),
        Turn("user", "I lost my parcel"),
    ]

    assert opening_of(turns) == "I lost my parcel"
    assert opening_of(turns[:2]) == "Hi!"
    assert opening_of([]) == ""
    assert fingerprint("Order 12, please") == fingerprint("order 7 PLEASE")


@given(st.text(st.characters(max_codepoint=127), max_size=40))
def test_fingerprint__of_plain_letters__is_that_of_the_general_rule(text: str) -> None:
    general = re.sub(r"[\W_]+", " ", re.sub(r"\d+", "0", text.casefold())).strip()

    assert fingerprint(text) == hashlib.sha256(general.encode()).hexdigest()


def test_turns__malformed_messages__are_passed_over() -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a b"}, 5]},
        "x",
        {"role": "tool", "content": "t"},
        {"role": "user"},
    ]

    assert turns_of(messages) == [Turn("user", "a b")]
    assert turns_of("none") == []
