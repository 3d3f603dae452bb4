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


SIZE = 50_000


def seconds(kind: str, unit: str, length: int) -> float:
    """Return the quickest of three looks for one kind over `length` characters of repeated `unit`."""
    text, taken = (unit * (length // len(unit) + 1))[:length], []
    for _ in range(3):
        started = time.process_time()
        find(text, {kind})
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.mark.parametrize("kind", KINDS)
def test_find__a_rules_own_beginning_over_and_over__costs_little_more_than_prose(kind: str) -> None:
    prose = max(seconds(kind, PROSE, SIZE), 0.001)

    worst = max(BEGINNINGS, key=lambda unit: seconds(kind, unit, SIZE))
    once, twice = seconds(kind, worst, SIZE), seconds(kind, worst, 2 * SIZE)

    assert once < 16 * prose, f"{worst!r} costs {once / prose:.0f} times what prose of this length costs"
    assert twice < 3 * once + 0.005
