"""Plans: refused when they cannot be run, equal after a round trip, named by their digest."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from releases.plan import PROFILES, Freeze, MetricWeights, Plan, PlanError, Step, Tripwire, profile

PLAN = Plan(
    steps=(Step(0.05, 10, 60), Step(0.5, 50, 60.5)), margin=0.05, max_duration_s=3600, maturity_s=30,
    aftermath_users=100, aftermath_s=600, intents=("refund", "größe"), target_intents=("refund",),
    tripwires=(Tripwire("policy"), Tripwire("spend", 3)), signals=("slow",),
    freezes=(Freeze(datetime(2026, 12, 20, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC), "year's end"),),
)  # fmt: skip


@pytest.mark.parametrize("plan", [PLAN, *PROFILES.values()])
def test_from_mapping__own_mapping_through_json__is_the_equal_plan(plan: Plan) -> None:
    back = Plan.from_mapping(json.loads(json.dumps(plan.to_mapping())))

    assert back == plan
    assert back.digest == plan.digest
    assert hash(back) == hash(plan)


def test_digest__canonical_json__is_its_sha256() -> None:
    plain = json.dumps(
        replace(PLAN, steps=(Step(0.5, 50, 60.5),)).to_mapping(),
        sort_keys=True, separators=(",", ":"), ensure_ascii=False,
    )  # fmt: skip

    assert replace(PLAN, steps=(Step(0.5, 50, 60.5),)).digest == hashlib.sha256(plain.encode()).hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"margin": 0.06}, {"alpha": 0.04}, {"metrics": MetricWeights(0.5, 0.3, 0.2)}, {"max_duration_s": 3601},
        {"maturity_s": 31}, {"aftermath_users": 101}, {"reverse_holdout": 0.04}, {"guard_horizon": 501},
        {"promotion_horizon": 1001}, {"intents": ("refund",)}, {"target_intents": ()}, {"tripwires": ()},
        {"freezes": ()}, {"signals": ()}, {"min_known": 0.4}, {"truth_sources": ("staff",)}, {"steps": (Step(0.05, 11, 60), Step(0.5, 50, 60.5))},
    ],
)  # fmt: skip
def test_digest__any_number_changed__is_another(changes: dict[str, Any]) -> None:
    assert replace(PLAN, **changes).digest != PLAN.digest


def test_digest__whole_number_as_float_or_another_time_zone__is_the_same() -> None:
    east = timezone(timedelta(hours=2))
    moved = tuple(
        Freeze(one.starts_at.astimezone(east), one.ends_at.astimezone(east), one.reason) for one in PLAN.freezes
    )

    assert replace(PLAN, maturity_s=30.0, freezes=moved).digest == PLAN.digest


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": ()}, "no steps"),
        ({"steps": (Step(0.5, 50, 0), Step(0.25, 50, 0))}, "rise strictly"),
        ({"steps": (Step(1.0, 50, 0),)}, "rise strictly"),
        ({"steps": (Step(0.97, 50, 0),)}, "no room for a hold-out"),
        ({"steps": (Step(0.5, 49, 0),)}, "min_users of 50"),
        ({"steps": (Step(0.5, 50, -1),)}, "bake_s"),
        ({"margin": 0.0}, "margin"),
        ({"alpha": 0.5}, "alpha"),
        ({"metrics": MetricWeights(0.8, 0.4, 0.2)}, "metric weights"),
        ({"metrics": MetricWeights(0.0, 0.4, 0.2)}, "metric weights"),
        ({"reverse_holdout": 1.0}, "reverse_holdout"),
        ({"max_duration_s": 100}, "shorter than the steps"),
        ({"max_duration_s": float("inf")}, "max_duration_s"),
        ({"maturity_s": -1}, "maturity_s"),
        ({"aftermath_users": 0}, "aftermath_users"),
        ({"intents": ("a", "a")}, "distinct"),
        ({"min_known": 1.0}, "min_known"),
        ({"truth_sources": ()}, "truth_sources"),
        ({"truth_sources": ("customer", "agent")}, "never the agent"),
        ({"tripwires": (Tripwire("x", -1),)}, "tripwire"),
        ({"freezes": (Freeze(datetime(2027, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), "x"),)}, "freeze"),
        ({"freezes": (Freeze(datetime(2026, 1, 1), datetime(2027, 1, 1), "x"),)}, "time zone"),  # noqa: DTZ001 - the refused case
    ],
)  # fmt: skip
def test_plan__that_cannot_be_run__is_refused_with_the_number(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        replace(PLAN, **changes)


def test_plan__several_faults__are_all_named() -> None:
    with pytest.raises(PlanError, match=r"margin.*alpha"):
        replace(PLAN, margin=0.9, alpha=0.9)


@pytest.mark.parametrize("plain", [{}, {"steps": 3}, PLAN.to_mapping() | {"colour": "red"}])
def test_from_mapping__unknown_shape__is_refused(plain: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="not a release plan"):
        Plan.from_mapping(plain)


def test_weight_at__aftermath__leaves_the_reverse_holdout() -> None:
    assert [PLAN.weight_at(stage) for stage in range(3)] == [0.05, 0.5, 0.95]
    with pytest.raises(PlanError, match="Stage 3"):
        PLAN.weight_at(3)


@given(st.datetimes(datetime(2026, 12, 1), datetime(2027, 1, 30), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis wants naive limits
def test_freeze_at__any_instant__is_inside_exactly_its_window(now: datetime) -> None:
    (freeze,) = PLAN.freezes

    assert (PLAN.freeze_at(now) is freeze) == (freeze.starts_at <= now < freeze.ends_at)


def test_profile__demo__differs_only_in_clocks_and_shipped_sizes() -> None:
    default, demo = profile("default"), profile("demo")

    assert (demo.margin, demo.steps[-1].min_users) == (0.10, 260)
    assert (demo.alpha, demo.metrics, demo.reverse_holdout) == (default.alpha, default.metrics, default.reverse_holdout)
    assert demo.margin == profile("small").margin


def test_profile__unknown_name__says_which_there_are() -> None:
    with pytest.raises(PlanError, match="default, small, demo"):
        profile("huge")
