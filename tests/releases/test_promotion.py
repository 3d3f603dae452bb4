"""Promotion needs proof of harmlessness; the aftermath needs proof of the claim."""

import itertools
import json
import random
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from releases.bucketing import Arm
from releases.guard import GuardStatus, Observation, tick
from releases.plan import Freeze, PlanError, Step, profile
from releases.promotion import Aftermath, Decision, StepReading, Stratum, difference_interval, read_aftermath, read_step

PLAN = replace(
    profile("default"), steps=(Step(0.1, 5, 60), Step(0.5, 100, 600)), margin=0.10, max_duration_s=3600,
    aftermath_users=50, aftermath_s=1000,
)  # fmt: skip


def seen_in(stage: int, users: int, *, canary: float, control: float, seed: int = 1) -> list[Observation]:
    rng = random.Random(seed)
    weight = PLAN.weight_at(stage)
    seen = []
    for user in range(users):
        arm = Arm.CANARY if rng.random() < weight else Arm.CONTROL
        failed = rng.random() < (canary if arm is Arm.CANARY else control)
        seen.append(Observation(f"s{stage}-{user}", stage, arm, weight, failed, float(user), "", "refund"))
    return seen


def reading_of(seen: list[Observation], *, stage: int = 1, baked_s: float = 600, elapsed_s: float = 700) -> StepReading:
    guard = tick(seen, PLAN, stage=stage)
    return read_step(seen, PLAN, stage=stage, guard=guard, baked_s=baked_s, elapsed_s=elapsed_s)


def test_read_step__harmless_and_everything_met__promotes() -> None:
    reading = reading_of(seen_in(1, 900, canary=0.1, control=0.1))

    assert reading.decision is Decision.PROMOTE
    assert (reading.unmet, reading.users_needed, reading.seconds_needed) == ((), 0, 0.0)
    assert reading.evidence["bounds"]["upper"] < PLAN.margin
    json.dumps(dict(reading.evidence), allow_nan=False)


def test_read_step__earlier_step_met__advances_without_non_inferiority() -> None:
    reading = reading_of(seen_in(0, 120, canary=0.1, control=0.1), stage=0)

    assert reading.decision is Decision.ADVANCE
    assert "advance to 50 %" in reading.sentence


def test_read_step__too_few_users_to_exclude_harm__waits_with_the_number() -> None:
    reading = reading_of(seen_in(1, 220, canary=0.15, control=0.12))

    assert reading.decision is Decision.WAIT
    assert reading.users_needed > 0
    assert f"about {reading.users_needed} more users" in reading.sentence


def test_read_step__promised_users_arrive_at_the_same_rates__would_settle_it() -> None:
    pattern = [(arm, failed) for arm in Arm for failed in (True, *(False,) * 9)]

    def grown(users: int) -> list[Observation]:
        return [
            Observation(f"u{user}", 1, arm, 0.5, failed, float(user))
            for user, (arm, failed) in enumerate(itertools.islice(itertools.cycle(pattern), users))
        ]

    first = reading_of(grown(220))
    enough = -(-first.users_needed // 20) * 20

    assert reading_of(grown(220 + enough)).decision is Decision.PROMOTE
    assert reading_of(grown(220 + enough // 2 // 20 * 20)).decision is Decision.WAIT


def test_read_step__difference_beyond_the_margin__says_numbers_will_not_help() -> None:
    reading = reading_of(seen_in(1, 240, canary=0.6, control=0.3))

    assert reading.decision is Decision.WAIT
    assert "no number of users" in reading.sentence


def test_read_step__not_baked__waits_for_the_seconds() -> None:
    reading = reading_of(seen_in(1, 900, canary=0.1, control=0.1), baked_s=480.0)

    assert (reading.decision, reading.seconds_needed) == (Decision.WAIT, 120.0)


@pytest.mark.parametrize("status", [GuardStatus.ALARM, GuardStatus.PAUSE, GuardStatus.HOLD])
def test_read_step__guard_not_ok__waits(status: GuardStatus) -> None:
    seen = seen_in(1, 900, canary=0.1, control=0.1)
    guard = replace(tick(seen, PLAN), status=status)

    reading = read_step(seen, PLAN, stage=1, guard=guard, baked_s=600, elapsed_s=700)

    assert reading.decision is Decision.WAIT
    assert f"the guard says {status.value}" in reading.sentence


def test_read_step__no_outcome_ever_arrived__waits_with_that_sentence() -> None:
    reading = reading_of([one._replace(failed=True, known=False) for one in seen_in(1, 900, canary=0.1, control=0.1)])

    assert reading.decision is Decision.WAIT
    assert "Outcomes do not arrive" in reading.sentence


def test_read_step__frozen__waits_and_says_until_when() -> None:
    seen = seen_in(1, 900, canary=0.1, control=0.1)
    freeze = Freeze(datetime(2026, 12, 20, tzinfo=UTC), datetime(2027, 1, 2, tzinfo=UTC), "year's end")

    reading = read_step(seen, PLAN, stage=1, guard=tick(seen, PLAN), baked_s=600, elapsed_s=700, freeze=freeze)

    assert reading.decision is Decision.WAIT
    assert "2027-01-02" in reading.sentence


def test_read_step__maximum_duration_over__is_inconclusive_unless_everything_is_met() -> None:
    unsettled = reading_of(seen_in(1, 220, canary=0.15, control=0.12), elapsed_s=3600.0)
    settled = reading_of(seen_in(1, 900, canary=0.1, control=0.1), elapsed_s=3600.0)

    assert unsettled.decision is Decision.INCONCLUSIVE
    assert "a person has to decide" in unsettled.sentence
    assert settled.decision is Decision.PROMOTE


def test_read_step__no_observation__waits() -> None:
    reading = reading_of([])

    assert reading.decision is Decision.WAIT
    assert reading.evidence["bounds"] is None


def test_read_step__aftermath_stage__is_refused() -> None:
    seen = seen_in(1, 50, canary=0.1, control=0.1)

    with pytest.raises(PlanError, match="no step"):
        read_step(seen, PLAN, stage=2, guard=tick(seen, PLAN), baked_s=0, elapsed_s=0)


def test_read_step__harm_at_the_margin__is_rarely_promoted_though_read_all_the_time() -> None:
    promoted = 0
    for seed in range(60):
        seen = seen_in(1, 700, canary=0.2, control=0.1, seed=seed)
        guard = replace(tick(seen[:100], PLAN), status=GuardStatus.OK)
        promoted += any(
            read_step(seen[:size], PLAN, stage=1, guard=guard, baked_s=600, elapsed_s=0).decision is Decision.PROMOTE
            for size in range(200, 701, 50)
        )

    # 9 of 60 at a true rate of .05 has a chance of about .003.
    assert promoted <= 8


counts = st.integers(1, 80).flatmap(lambda users: st.tuples(st.integers(0, users), st.just(users)))


@given(counts, counts)
def test_difference_interval__one_stratum__is_newcombe(one: tuple[int, int], two: tuple[int, int]) -> None:
    found = difference_interval([Stratum(*one, *two)])

    low, high = confint_proportions_2indep(*one, *two, method="newcomb", compare="diff")

    assert (found.lower, found.upper) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(
    ("stratum", "low", "high"),
    # Newcombe 1998, table II, method 10: examples (a), (b), (e), (g).
    [((56, 70, 48, 80), 0.0524, 0.3339), ((9, 10, 3, 10), 0.1705, 0.8090), ((5, 56, 0, 29), -0.0381, 0.1926),
     ((0, 10, 0, 10), -0.2775, 0.2775)],
)  # fmt: skip
def test_difference_interval__published_examples__are_met(
    stratum: tuple[int, int, int, int], low: float, high: float
) -> None:
    found = difference_interval([Stratum(*stratum)])

    assert (round(found.lower, 4), round(found.upper, 4)) == (low, high)


def test_difference_interval__strata_with_different_bases__covers_where_pooling_would_not() -> None:
    rng = np.random.default_rng(2)
    covered = pooled = 0
    for _ in range(400):
        # Mostly control at 60 % failures first, mostly canary at 20 % later; the true difference is 0.
        sizes, rates = ((40, 10), (10, 60)), (0.6, 0.2)
        strata = [
            Stratum(int(rng.binomial(n1, rate)), n1, int(rng.binomial(n2, rate)), n2)
            for (n1, n2), rate in zip(sizes, rates, strict=True)
        ]
        found = difference_interval(strata)
        covered += found.lower <= 0 <= found.upper
        sums = difference_interval([Stratum(*(sum(column) for column in zip(*strata, strict=True)))])
        pooled += sums.lower <= 0 <= sums.upper

    assert covered >= stats.binom.ppf(0.001, 400, 0.95)
    assert pooled < 200


@pytest.mark.parametrize("strata", [[], [Stratum(1, 0, 0, 5)], [Stratum(3, 2, 0, 5)], [Stratum(0, 0, 0, 5)]])
def test_difference_interval__nothing_to_compare__is_refused(strata: list[Stratum]) -> None:
    with pytest.raises(ValueError, match="Cannot compare"):
        difference_interval(strata)


TARGETED = replace(PLAN, target_intents=("refund",))


def aftermath_of(canary: float, control: float) -> list[Observation]:
    return seen_in(1, 160, canary=canary, control=control) + [
        one._replace(matured_at=one.matured_at + 1000) for one in seen_in(2, 60, canary=canary, control=control)
    ]


def test_read_aftermath__target_improved__is_verified() -> None:
    reading = read_aftermath(aftermath_of(0.1, 0.7), TARGETED, elapsed_s=10)

    assert reading.outcome is Aftermath.VERIFIED
    assert reading.evidence["interval"]["lower"] > 0
    assert "fell by" in reading.sentence
    json.dumps(dict(reading.evidence), allow_nan=False)


@pytest.mark.parametrize("control", [0.3, 0.05])
def test_read_aftermath__no_clear_improvement__is_not_fixed(control: float) -> None:
    assert read_aftermath(aftermath_of(0.3, control), TARGETED, elapsed_s=10).outcome is Aftermath.NOT_FIXED


def test_read_aftermath__not_over__watches_on() -> None:
    seen = [one for one in aftermath_of(0.1, 0.7) if one.stage == 1]

    assert read_aftermath(seen, TARGETED, elapsed_s=999).outcome is Aftermath.WATCHING
    assert read_aftermath(seen, TARGETED, elapsed_s=1000).outcome is Aftermath.VERIFIED


def test_read_aftermath__overlapping_change__is_confounded() -> None:
    reading = read_aftermath(aftermath_of(0.1, 0.7), TARGETED, elapsed_s=10, confounded_by="release r-9")

    assert reading.outcome is Aftermath.CONFOUNDED
    assert "r-9" in reading.sentence


def test_read_aftermath__target_hardly_met__is_confounded_not_guessed() -> None:
    assert read_aftermath(aftermath_of(0.1, 0.7), PLAN, elapsed_s=10).outcome is Aftermath.CONFOUNDED


def test_read_aftermath__outcomes_of_the_target_mostly_unknown__is_confounded_not_not_fixed() -> None:
    silent = [one._replace(failed=True, known=False) for one in aftermath_of(0.1, 0.7)]

    reading = read_aftermath(silent, TARGETED, elapsed_s=10)

    assert reading.outcome is Aftermath.CONFOUNDED
    assert "were known" in reading.sentence


def test_read_aftermath__many_episodes_of_one_user__count_once() -> None:
    seen = aftermath_of(0.1, 0.7)
    repeated = seen + [
        seen[0]._replace(matured_at=5000.0 + number, conversation="x", failed=True) for number in range(500)
    ]

    one, two = (read_aftermath(record, TARGETED, elapsed_s=10) for record in (seen, repeated))

    assert one.evidence == two.evidence
