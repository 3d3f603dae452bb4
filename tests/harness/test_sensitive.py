"""No text makes the rules slow: capture runs them over whatever agents send."""

import time

import pytest

from harness.sensitive import KINDS, find

# What each rule begins with, alone and with what leads it further in, so that it is tried at every place and fails late.
BEGINNINGS = (
    "eyJ-", "eyJ", "eyJ_", "eyJaaaaaaaaaa.", "eyJaaaaaaaaaa.eyJ-", "AKIA", "AKIA-", "ghp_", "ghp_-", "github_pat_", "glpat-",
    "sk-", "sk-a-", "rk_live_", "xoxb-", "AIza", "AIza-", "password", "password=", "api_key: ", "secret-key=", "token",
    "a://", "a://b:", "ab+", "a.b-c+", "https://", "a.", "a-", "1-", "a@", "a@b.", "a@b-c.", "AB12", "AB12 ", "AB12 3456 ",
    "AB-12", "1", "1 ", "1-", "12 -", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----a",
    "-----BEGIN A PRIVATE KEY-----a-----END ", "-----END ",
)  # fmt: skip
PROSE = "The parcel of order KL-48214 from 2026-05-01 has not arrived: 3 of 4 items, says Ann at the desk (a@b). "


SIZE, TIMES = 10_000, 10


def seconds(kind: str, unit: str, length: int) -> float:
    """Return the quickest of three looks for one kind over `length` characters of repeated `unit`."""
    text, taken = (unit * (length // len(unit) + 1))[:length], []
    for _ in range(3):
        started = time.process_time()
        find(text, {kind})
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.mark.parametrize("kind", KINDS)
def test_find__a_rules_own_beginning_over_and_over__costs_no_more_than_its_length(kind: str) -> None:
    worst = max((*BEGINNINGS, PROSE), key=lambda unit: seconds(kind, unit, TIMES * SIZE))

    short, long = seconds(kind, worst, SIZE), seconds(kind, worst, TIMES * SIZE)

    # Cost that grows with the square would be TIMES * TIMES: what lies between is for the noise of a shared machine.
    assert long < TIMES * TIMES / 2 * max(short, 0.001), f"{worst!r}: {short:.4f} s, {TIMES} times as long {long:.4f} s"
