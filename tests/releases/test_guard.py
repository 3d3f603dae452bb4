"""The guard's verdicts: replayable, latched, mirrored, and silent when nothing is known."""

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from releases.bucketing import Arm
from releases.guard import Exposure, Guard, GuardReading, GuardStatus, Observation, forecast, tick
from releases.guard.ratio import ArmShare, SampleRatio
from releases.plan import MetricWeights, Plan, Step, Tripwire, profile
from tests.bench.guard import BASE, RAMP, World, play

PLAN = replace(profile("default"), steps=(Step(0.25, 20, 0), Step(0.5, 50, 0)))
ONE_METRIC = replace(PLAN, metrics=MetricWeights(1.0, 0.0, 0.0))


def record(
    users: int,
    fails: Callable[[random.Random, bool, int], bool],
    *,
    seed: int = 1,
    visits: int = 2,
    intents: int = 3,
) -> list[Observation]:
    """Return a two-stage record: users drawn once by bucket, each visiting in both stages."""
    rng = random.Random(seed)
    buckets = [rng.random() for _ in range(users)]
    seen: list[Observation] = []
    for stage, weight in enumerate((0.25, 0.5)):
        for visit in range(visits):
            for user, place in enumerate(buckets):
                canary = place < weight
                intent = rng.randrange(intents)
                at = float(len(seen))
                seen.append(
                    Observation(
                        f"u{user}", stage, Arm.CANARY if canary else Arm.CONTROL, weight,
                        fails(rng, canary, intent), at, f"e{stage}-{visit}-{user}", f"intent-{intent}",
                        signals=(("slow", rng.random() < 0.2),),
                    )
                )  # fmt: skip
    return seen


def even(rng: random.Random, _canary: bool, _intent: int) -> bool:
    return rng.random() < 0.1


def worse(rng: random.Random, canary: bool, _intent: int) -> bool:
    return rng.random() < (0.6 if canary else 0.1)


def swapped(seen: list[Observation]) -> list[Observation]:
    """Return the record with arms exchanged; a single stage, whose weight is one half."""
    other = {Arm.CANARY.value: Arm.CONTROL, Arm.CONTROL.value: Arm.CANARY}
    return [one._replace(arm=other[one.arm], weight=1 - one.weight) for one in seen]


def numbers(reading: GuardReading) -> str:
    return json.dumps(reading.to_mapping(), allow_nan=False)


@given(st.integers(0, 10**6), st.integers(1, 60))
@settings(max_examples=40, deadline=None)
def test_tick__record_shuffled__is_the_same_to_the_last_digit(seed: int, users: int) -> None:
    seen = record(users, even, seed=seed)
    mixed = random.Random(seed).sample(seen, len(seen))

    assert numbers(tick(mixed, PLAN)) == numbers(tick(seen, PLAN))


@pytest.mark.parametrize("fails", [even, worse])
@pytest.mark.parametrize("seed", range(5))
def test_guard__fed_one_by_one__equals_the_reading_from_scratch_at_every_episode(
    fails: Callable[[random.Random, bool, int], bool], seed: int
) -> None:
    plan = replace(PLAN, intents=("intent-0", "intent-1"), target_intents=("intent-0",))
    seen = record(40, fails, seed=seed)
    guard = Guard(plan)

    for index, one in enumerate(seen, start=1):
        guard.add(one)
        if index % 17 == 0 or index == len(seen):
            fresh = tick(seen[:index], plan, stage=1)
            assert numbers(guard.reading(stage=1, ratio=SampleRatio())) == numbers(fresh)


def test_tick__intents_mean__is_the_plain_mean_of_the_listed_ones() -> None:
    plan = replace(PLAN, intents=("intent-0", "intent-1", "never met"))
    reading = tick(record(60, even), plan)
    values = reading.evidence["intents"]["e_values"]

    assert values["never met"] == 1.0
    assert reading.evidence["intents"]["e_value"] == pytest.approx(math.fsum(values.values()) / 3)


def test_tick__harmful_canary__alarms_with_its_numbers() -> None:
    reading = tick(record(150, worse), PLAN)

    assert reading.status is GuardStatus.ALARM
    assert reading.code.startswith("overall.")
    assert "canary fails more" in reading.sentence
    assert reading.evidence["plan_digest"] == PLAN.digest
    assert reading.evidence["observed"] < 600


def test_tick__harmless_canary__says_what_it_can_exclude() -> None:
    reading = tick(record(150, even), PLAN)

    assert reading.status is GuardStatus.OK
    assert "No harm seen" in reading.sentence


def test_tick__alarm_seen_once__keeps_the_numbers_of_its_moment() -> None:
    harmful = record(150, worse)
    later = [
        Observation(f"v{user}", 1, arm, 0.5, arm is Arm.CONTROL, 10_000.0 + user)
        for user, arm in enumerate([*Arm] * 500)
    ]

    alone, after = tick(harmful, PLAN), tick(harmful + later, PLAN)

    assert after.status is GuardStatus.ALARM
    assert after.sentence == alone.sentence
    assert after.evidence["overall"] == alone.evidence["overall"]
    assert after.evidence["watermark"] == alone.evidence["watermark"]


def test_tick__previous_alarm__latches_whatever_comes() -> None:
    alarm = GuardReading.from_mapping(json.loads(numbers(tick(record(150, worse), PLAN))))

    again = tick([], PLAN, previous=alarm)

    assert again == replace(alarm, latched=True)


def test_tick__previous_pause__does_not_latch() -> None:
    paused = replace(tick(record(150, even), PLAN), status=GuardStatus.PAUSE)

    assert tick(record(150, even), PLAN, previous=paused).status is GuardStatus.OK


@pytest.mark.parametrize("seed", range(6))
def test_tick__labels_swapped__mirrors_the_verdict(seed: int) -> None:
    plan = replace(ONE_METRIC, steps=(Step(0.5, 50, 0),))
    rng = random.Random(seed)
    seen = [
        Observation(f"u{user}", 0, arm, 0.5, rng.random() < (0.5 if arm is Arm.CANARY else 0.1), float(user))
        for user, arm in enumerate(rng.choices([*Arm], k=300))
    ]

    assert tick(seen, plan).status is GuardStatus.ALARM
    assert tick(swapped(seen), plan).status is GuardStatus.OK


def test_tick__collapse_in_one_intent__names_it() -> None:
    plan = replace(PLAN, intents=tuple(f"intent-{number}" for number in range(10)))

    reading = tick(
        record(900, lambda rng, canary, intent: rng.random() < (0.9 if canary and intent == 7 else 0.1), intents=10),
        plan,
    )

    assert reading.status is GuardStatus.ALARM
    if reading.code == "intents.betting":
        assert "intent-7" in reading.sentence
    assert reading.evidence["intents"]["largest"] == "intent-7"


def test_tick__collapse_too_small_to_show_overall__is_seen_by_its_intent() -> None:
    names = tuple(f"intent-{number}" for number in range(30))
    plan = replace(PLAN, intents=names, metrics=MetricWeights(0.05, 0.95, 0.0))
    rng = random.Random(3)
    seen = []
    for user in range(2500):
        arm, intent = rng.choice([*Arm]), rng.choice(names)
        rate = 0.9 if arm is Arm.CANARY and intent == names[4] else 0.1
        seen.append(Observation(f"u{user}", 1, arm, 0.5, rng.random() < rate, float(user), "", intent))

    reading = tick(seen, plan)

    assert (reading.status, reading.code) == (GuardStatus.ALARM, "intents.betting")
    assert names[4] in reading.sentence


def test_tick__target_intents_harmed__alarm_on_the_target() -> None:
    plan = replace(PLAN, target_intents=("rare",), metrics=MetricWeights(0.01, 0.0, 0.99))
    rng = random.Random(1)
    seen = [
        Observation(
            f"u{user}", 1, arm, 0.5, rng.random() < (0.9 if arm is Arm.CANARY else 0.1), float(user), "", "rare"
        )
        for user, arm in enumerate(rng.choices([*Arm], k=300))
    ]

    assert tick(seen, plan).code == "target.betting"


def test_tick__later_visits_of_a_user__bet_nothing() -> None:
    once = record(80, even, visits=1)
    again = [
        one._replace(matured_at=one.matured_at + 0.5, conversation=one.conversation + "b", failed=True) for one in once
    ]

    alone, both = tick(once, ONE_METRIC), tick(sorted(once + again, key=lambda one: one.matured_at), ONE_METRIC)

    assert both.evidence["overall"]["wealth"] == alone.evidence["overall"]["wealth"]
    assert both.evidence["overall"]["units"] == alone.evidence["overall"]["units"]


def test_tick__former_canary_and_known_control__bet_nothing() -> None:
    first = Observation("u", 0, Arm.CANARY, 0.25, failed=False, matured_at=1.0)
    seen = [
        first,
        first._replace(stage=1, weight=0.5, matured_at=2.0),
        Observation("v", 1, Arm.CONTROL, 0.5, failed=False, matured_at=3.0, canary_before=True),
        Observation("w", 1, Arm.CONTROL, 0.5, failed=False, matured_at=4.0, control_before=0.5),
        Observation("x", 1, Arm.CONTROL, 1.0, failed=False, matured_at=5.0),
    ]

    overall = tick(seen, PLAN).evidence["overall"]

    assert (overall["units"], overall["bets"]) == (5, 1)


def test_tick__broken_assignment__pauses() -> None:
    shown = [Exposure(f"u{user}", 1, Arm.CANARY, 0.5, float(user), reports=1) for user in range(40)]

    reading = tick(record(150, even), PLAN, exposures=shown)

    assert (reading.status, reading.code) == (GuardStatus.PAUSE, "sample_ratio")


def test_tick__canary_that_never_reports__pauses() -> None:
    shown = [
        Exposure(f"u{user}", 1, arm, 0.5, float(user), reports=int(arm is Arm.CONTROL))
        for user, arm in enumerate(random.Random(1).choices([*Arm], k=200))
    ]

    reading = tick(record(150, even), PLAN, exposures=shown)

    assert (reading.status, reading.code) == (GuardStatus.PAUSE, "silence")


def test_tick__canary_that_dies_at_most_attempts__pauses_though_every_user_reports() -> None:
    shown = [
        Exposure(f"u{user}", 1, arm, 0.5, float(user), reports=1 if arm is Arm.CANARY else 4)
        for user, arm in enumerate(random.Random(1).choices([*Arm], k=200))
    ]

    reading = tick(record(150, even), PLAN, exposures=shown)

    assert (reading.status, reading.code) == (GuardStatus.PAUSE, "silence")
    assert {arm: one["reported"] for arm, one in reading.evidence["sample_ratio"]["silence"]["arms"].items()} == {
        arm.value: sum(one.arm is arm for one in shown) for arm in Arm
    }


def test_tick__arms_report_alike__is_no_silence() -> None:
    rng = random.Random(1)
    shown = [
        Exposure(f"u{user}", 1, rng.choice([*Arm]), 0.5, float(user), reports=rng.choice([0, 1, 1, 4]))
        for user in range(400)
    ]

    assert tick(record(150, even), PLAN, exposures=shown).status is GuardStatus.OK


def test_tick__exposures_still_maturing__are_no_silence() -> None:
    shown = [
        Exposure(f"u{user}", 1, arm, 0.5, float(user))
        for user, arm in enumerate(random.Random(1).choices([*Arm], k=200))
    ]

    assert tick(record(150, even), PLAN, exposures=shown).status is GuardStatus.OK


def test_tick__signal_raised_in_the_canary__pauses_and_never_alarms() -> None:
    seen = [one._replace(signals=(("slow", one.arm == Arm.CANARY),)) for one in record(200, even)]

    reading = tick(seen, PLAN)

    assert (reading.status, reading.code) == (GuardStatus.PAUSE, "signals.slow")


def test_tick__pause_that_a_person_acknowledged__goes_on_and_other_causes_still_pause() -> None:
    slow = [one._replace(signals=(("slow", one.arm == Arm.CANARY),)) for one in record(200, even)]
    both = [one._replace(signals=(*one.signals, ("costly", one.arm == Arm.CANARY))) for one in slow]

    assert tick(slow, PLAN, acknowledged=["signals.slow"]).status is GuardStatus.OK
    assert tick(both, PLAN, acknowledged=["signals.slow"]).code == "signals.costly"


def test_tick__no_outcome_ever_arrives__holds_though_both_arms_fail_alike() -> None:
    silent = [one._replace(failed=True, known=False) for one in record(150, even)]

    reading = tick(silent, PLAN)

    assert (reading.status, reading.code) == (GuardStatus.HOLD, "outcomes_missing")
    assert "0 % in canary, 0 % in control" in reading.sentence


@pytest.mark.parametrize(("known", "code"), [(2, "outcomes_missing"), (4, "no_harm_seen")])
def test_tick__outcomes_of_control_arrive_rarely__holds_below_the_plans_share(known: int, code: str) -> None:
    few = record(24, lambda *_: True, visits=4)
    seen = [one._replace(known=one.arm == Arm.CANARY or index % 5 < known) for index, one in enumerate(few)]

    assert tick(seen, PLAN).code == code


def test_tick__outcomes_of_control_arrive_clearly_less__pauses() -> None:
    seen = [one._replace(known=one.arm == Arm.CANARY or index % 3 > 0) for index, one in enumerate(record(400, even))]

    reading = tick(seen, PLAN)

    assert (reading.status, reading.code) == (GuardStatus.PAUSE, "outcomes_differ")
    assert tick(seen, PLAN, acknowledged=["outcomes_differ"]).status is GuardStatus.OK


def test_tick__outcomes_missing_in_both_arms_alike__does_not_pause() -> None:
    rng = random.Random(5)
    seen = [one._replace(known=rng.random() < 0.7) for one in record(400, even)]

    assert tick(seen, PLAN).status is GuardStatus.OK


def test_tick__canary_often_given_up_for_another_version__pauses_with_its_compliance() -> None:
    seen = [
        one._replace(as_drawn=one.arm == Arm.CONTROL or index % 3 > 0) for index, one in enumerate(record(400, even))
    ]

    reading = tick(seen, PLAN)

    assert (reading.status, reading.code) == (GuardStatus.PAUSE, "compliance")
    compliance = {(one["stage"], one["arm"]): one["compliance"] for one in reading.evidence["arrivals"]["stages"]}
    assert compliance[1, "control"] == 1.0
    assert 0.5 < compliance[1, "canary"] < 0.8
    numbers(reading)


def test_tick__nobody_ran_what_was_drawn__holds() -> None:
    assert tick([one._replace(as_drawn=False) for one in record(150, even)], PLAN).code == "not_as_drawn"


def test_arm_share__fact_that_has_nothing_to_do_with_the_arm__rarely_differs() -> None:
    peaks = []
    for seed in range(200):
        rng, share = random.Random(seed), ArmShare()
        for _ in range(300):
            share.add(0.25, canary=rng.random() < 0.25)
        peaks.append(share.peak)

    assert sum(peak >= 20 for peak in peaks) <= 18  # ever above 20 has a chance of at most .05


def test_tick__signal_the_plan_does_not_name__is_ignored() -> None:
    seen = [one._replace(signals=(("unheard of", one.arm == Arm.CANARY),)) for one in record(200, even)]

    assert tick(seen, PLAN).status is GuardStatus.OK


def test_tick__tripwire_exceeded__alarms_at_once() -> None:
    plan = replace(PLAN, tripwires=(Tripwire("policy", 1),))

    assert tick([], plan, tripwires={"policy": 2}).code == "tripwire.policy"
    assert tick(record(150, even), plan, tripwires={"policy": 1}).status is GuardStatus.OK


def test_tick__tripwire_without_a_count__holds() -> None:
    plan = replace(PLAN, tripwires=(Tripwire("policy"),))

    assert tick(record(150, even), plan).code == "tripwires_missing"


def test_tick__nothing_observed__holds_and_says_how_many_users_are_wanted() -> None:
    reading = tick([], PLAN)

    assert (reading.status, reading.code, reading.users_needed) == (GuardStatus.HOLD, "too_few_users", 80)
    assert "about 80 more users" in reading.sentence
    numbers(reading)


def test_tick__step_just_begun__holds_until_it_was_observed() -> None:
    seen = [one for one in record(150, even) if one.stage == 0]

    assert tick(seen, PLAN).status is GuardStatus.OK
    assert tick(seen, PLAN, stage=1).code == "too_few_users"


def test_tick__nobody_left_in_control__is_blind() -> None:
    plan = replace(PLAN, reverse_holdout=0.0)

    assert tick(record(150, even), plan, stage=2).code == "blind"


def test_tick__watched_intents_never_met__holds() -> None:
    assert tick(record(150, even), replace(PLAN, intents=("other",))).code == "intents_missing"
    assert tick(record(150, even), replace(PLAN, target_intents=("other",))).code == "target_missing"


def test_tick__harm_seen_while_data_is_missing__still_alarms() -> None:
    plan = replace(PLAN, tripwires=(Tripwire("policy"),))

    assert tick(record(150, worse), plan).status is GuardStatus.ALARM


@pytest.mark.parametrize("change", [{"arm": "blue"}, {"weight": 1.5}, {"weight": float("nan")}])
def test_tick__observation_that_cannot_be__is_refused(change: dict[str, str | float]) -> None:
    with pytest.raises(ValueError, match="Cannot read"):
        tick([record(1, even)[0]._replace(**change)], PLAN)  # type: ignore[arg-type]  # the refused case


def test_guard__observation_from_the_past__is_refused() -> None:
    guard = Guard(PLAN)
    first, second, *_ = record(3, even)
    guard.add(second)

    with pytest.raises(ValueError, match="matured_at"):
        guard.add(first)


@pytest.mark.parametrize(
    "world",
    [
        World("t-cluster", "few heavy users", 300, 0.15),
        World("t-drift", "drift within a ramp", 300, 0.15, RAMP, drift_to=0.25, base=0.05),
    ],
    ids=lambda world: world.name,
)
def test_guard__no_harm_under_sticky_users_and_drift__rarely_alarms(world: World) -> None:
    alarms = sum(play(world, run).test is not None for run in range(60))

    # More than 8 of 60 at a true rate of .05 have a chance of about .003; pooled tests alarm 12 to 52 times here.
    assert alarms <= 8


def test_guard__ten_points_of_harm__is_seen_by_most_runs() -> None:
    world = World("t-harm", "one visit in ten fails more", 1500, 0.15, harm=0.10)

    assert sum(play(world, run).test is not None for run in range(20)) >= 16


def test_forecast__default_plan__states_users_and_days() -> None:
    said = forecast(profile("default"), BASE, users_per_day=300)

    assert said.promotion is not None
    assert f"about {said.promotion} users (about {said.promotion / 300:.1f} days)" in said.sentence
    assert [harm for harm, _ in said.detection] == [0.05, 0.10, 0.20]
    assert forecast(profile("demo"), 0.01).promotion == 520


def test_forecast__margin_too_narrow__does_not_name_a_number() -> None:
    said = forecast(replace(profile("default"), margin=0.0001), 0.4)

    assert said.promotion is None
    assert "more users than can be counted on" in said.sentence


def test_plan__made_for_the_tests__is_a_plan() -> None:
    assert Plan.from_mapping(PLAN.to_mapping()) == PLAN
