"""Forms read off what a verb needs, differences of texts, points of charts."""

from typing import Literal

import pytest
from pydantic import BaseModel, Field

from audit.drawing import bars, curve, level
from audit.forms import verb_form
from audit.trail import text_difference


class Needs(BaseModel):
    weight: float = Field(gt=0, le=1)
    users: int = 5
    arm: Literal["canary", "control"] = "canary"
    is_urgent: bool = False
    note: str = Field(default="", max_length=20)
    plan: dict[str, int] = Field(default_factory=dict)


def filled(**data: str) -> dict[str, str]:
    return {"weight": "0.5", "arm": "control", "plan": '{"a": 1}', "reason": "because", **data}


def test_verb_form__valid_data__gives_the_verbs_arguments() -> None:
    form = verb_form(Needs, needs_reason=True)(filled(is_urgent="on"))

    assert form.is_valid(), form.errors
    assert form.arguments == {
        "weight": 0.5, "users": 5, "arm": "control", "is_urgent": True, "note": "", "plan": {"a": 1}
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"weight": "2"}, "weight"),
        ({"plan": '{"a": "x"}'}, "plan"),
        ({"arm": "both"}, "arm"),
        ({"reason": ""}, "reason"),
    ],
)
def test_verb_form__data_the_verb_cannot_take__names_the_field(wrong: dict[str, str], field: str) -> None:
    form = verb_form(Needs, needs_reason=True)(filled(**wrong))

    assert not form.is_valid()
    assert field in form.errors


def test_verb_form__no_needs__asks_for_the_reason_only() -> None:
    form = verb_form(None, needs_reason=False)({})

    assert form.is_valid()
    assert (list(form.fields), form.arguments) == (["reason"], {})


def test_text_difference__one_line_changed__shows_it_with_its_surroundings() -> None:
    before = "\n".join(f"line {n}" for n in range(20))

    lines = list(text_difference(before, before.replace("line 9", "line nine")))

    assert [line.text for line in lines if line.kind == "removed"] == ["line 9"]
    assert [line.text for line in lines if line.kind == "added"] == ["line nine"]
    assert len(lines) == 6


def test_level__values__fall_from_top_to_bottom_and_are_clipped() -> None:
    levels = [level(value, low=0, high=1, height=100) for value in (1, 0.5, 0, 7, -3, float("inf"))]

    assert levels == [0, 50, 100, 0, 100, 100]


def test_curve__values__are_spread_from_left_to_right() -> None:
    assert curve([0, 1], low=0, high=1, width=100, height=10) == "0.0,10.0 100.0,0.0"
    assert curve([], low=0, high=1, width=100, height=10) == ""


def test_bars__columns__keep_the_share_of_their_part() -> None:
    first, second = bars([("a", 10, 5), ("b", 5, 0)], width=100, height=10)

    assert (first.height, first.inner_height) == (10, 5)
    assert (second.height, second.inner_height) == (5, 0)
    assert bars([("a", 0, 0)], width=10, height=10)[0].height == 0
