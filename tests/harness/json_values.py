"""Hypothesis strategies for documents and patches."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from harness.canonical import MAX_INTEGER, Json, JsonObject
from harness.documents import LAYERS

# A busy machine says nothing about a pure function, so no example is timed.
UNHURRIED = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",)), max_size=12)
NAMES = st.one_of(st.sampled_from(["a", "b", "rules", "a/b", "m~n", "~1", "0", ""]), TEXTS)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-MAX_INTEGER, MAX_INTEGER),
    st.floats(-1e6, 1e6).map(lambda number: int(number) if number.is_integer() else number),
    TEXTS,
    st.text("ab \n", min_size=90, max_size=260),
)
VALUES: st.SearchStrategy[Json] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=8,
)
DOCUMENTS: st.SearchStrategy[JsonObject] = st.dictionaries(
    st.sampled_from(LAYERS), st.dictionaries(NAMES, VALUES, max_size=4), max_size=4
)
