"""The library's own canonical form and digest are the platform's."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import canonical as platform
from whetstone.canonical import canonical_bytes, digest_of

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
numbers = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda n: abs(n) < 2**53),
    st.floats(-1e-3, 1e-3, allow_nan=False),
)
documents = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=30,
)


@given(documents)
@settings(deadline=None)
def test_digest_of__any_document__is_the_platforms(document: Any) -> None:
    clean = platform.clean_json(document)

    assert canonical_bytes(document) == platform.canonical_bytes(clean)
    assert digest_of(document) == platform.digest_of(clean)
    assert digest_of(json.loads(json.dumps(document))) == platform.digest_of(clean)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"), (-0.0, "0"), (1e-6, "0.000001"), (1.5e-7, "1.5e-7"), (-1e-10, "-1e-10"), (0.1, "0.1"),
        (1e15, "1000000000000000"), (5e-324, "5e-324"), ({"\ue000": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ue000":1}'),
        ('\x1f\x7f"\\/', '"\\u001f\x7f\\"\\\\/"'),
    ],
)  # fmt: skip
def test_canonical_bytes__corners__are_as_rfc_8785_says(value: Any, text: str) -> None:
    assert canonical_bytes(value).decode() == text


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, 1e300, 10**400, "\ud800", {1: 2}, {"a": {1}}, object()])
def test_canonical_bytes__no_canonical_form__is_refused_as_the_platform_does(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical_bytes(value)
    with pytest.raises(platform.DocumentError):
        platform.clean_json(value)
