"""Bucketing: stable for ever, monotone over weights, uniform, independent across salts."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from releases.bucketing import Arm, arm, bucket, new_salt

GOLDEN = json.loads((Path(__file__).parent / "golden_hg1.json").read_text())["cases"]
fields = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
weights = st.floats(0, 1)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: f"{case['salt'][:8]}-{case['unit'][:8]}")
def test_bucket__golden_vector__is_the_published_number(case: dict[str, str | float]) -> None:
    found = bucket(str(case["salt"]), str(case["unit"]))

    assert found == case["bucket"]
    assert str(int(found * 2**53)) == case["bucket_times_2_to_53"]
    assert int(str(case["sha256_first_8_bytes"]), 16) >> 11 == int(found * 2**53)


@given(fields, fields)
def test_bucket__any_text__lies_in_the_unit_interval(salt: str, unit: str) -> None:
    assert 0.0 <= bucket(salt, unit) < 1.0


@given(fields, fields, weights, weights)
def test_arm__weight_raised__never_takes_a_user_out_of_the_canary(salt: str, unit: str, one: float, two: float) -> None:
    low, high = sorted((one, two))

    assert not (arm(salt, unit, low) is Arm.CANARY and arm(salt, unit, high) is Arm.CONTROL)


@given(fields, fields)
def test_arm__weight_of_none_or_all__serves_one_arm(salt: str, unit: str) -> None:
    assert arm(salt, unit, 0.0) is Arm.CONTROL
    assert arm(salt, unit, 1.0) is Arm.CANARY


def test_bucket__many_users__is_uniform() -> None:
    found = [bucket("uniformity", f"user-{number}") for number in range(20_000)]

    assert stats.kstest(found, "uniform").pvalue > 0.001


def test_arm__salts_differing_in_one_character__share_early_users_only_by_chance() -> None:
    users = [f"user-{number}" for number in range(20_000)]
    first, second = ([arm(salt, user, 0.05) is Arm.CANARY for user in users] for salt in ("rel-41", "rel-42"))

    table = [[sum(a == x and b == y for a, b in zip(first, second, strict=True)) for y in (0, 1)] for x in (0, 1)]

    assert stats.chi2_contingency(table).pvalue > 0.001


def test_bucket__field_border_moved__is_another_bucket() -> None:
    assert bucket("a", "bc") != bucket("ab", "c")


def test_bucket__two_spellings_of_one_name__are_two_units() -> None:
    assert bucket("s", "\u00fc") != bucket("s", "u\u0308")


@pytest.mark.parametrize(("salt", "unit"), [("", "u"), ("s", ""), ("s\0", "u"), ("s", "u\0v"), ("s", "\ud800")])
def test_bucket__field_that_cannot_be_hashed__is_refused(salt: str, unit: str) -> None:
    with pytest.raises(ValueError, match="Cannot bucket"):
        bucket(salt, unit)


@pytest.mark.parametrize("weight", [-0.01, 1.01, float("nan")])
def test_arm__weight_that_is_no_share__is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="a weight is a share"):
        arm("s", "u", weight)


def test_new_salt__called_twice__differs_and_can_be_used() -> None:
    one, two = new_salt(), new_salt()

    assert one != two
    assert len(one) == 32
    assert 0.0 <= bucket(one, "user") < 1.0
