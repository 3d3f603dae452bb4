"""Which split a conversation falls into: by the shares, and the same for equal openings."""

import pytest

from episodes.splits import split_of, unit_hash


def test_split__many_conversations__fall_in_the_shares(subtests: pytest.Subtests) -> None:
    agent_id = "0197d7b0-0000-7000-8000-000000000000"
    found = [
        split_of("secret", agent_id, f"c-{n}", f"I want thing number {chr(97 + n % 26)}{n} of word{n}x")
        for n in range(200)
    ]
    by_id = [split_of("secret", agent_id, f"c-{n}", "hi") for n in range(4_000)]

    assert len(set(found)) <= 3
    for split, share in {"dev": 0.5, "verify": 0.3, "holdout": 0.2}.items():
        with subtests.test(split):
            assert by_id.count(split) / 4_000 == pytest.approx(share, abs=0.03)


def test_split__same_conversation_or_equal_opening__falls_the_same_way() -> None:
    openings = ["Where is order 7, please?", "where is ORDER 93 please", "  Where is order 5 — please!"]

    splits = {split_of("secret", "agent", f"c-{n}", text) for n, text in enumerate(openings * 10)}

    assert len(splits) == 1
    assert len({split_of(f"secret {n}", "agent", "c", "hi") for n in range(40)}) == 3
    assert unit_hash("secret", "audit", "a") != unit_hash("secret", "split", "a")
