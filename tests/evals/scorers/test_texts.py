"""What is said, what it means, what it rests on."""

import pytest

from evals.scorers import SCORERS, Reply

TALK = [
    {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Returns are free.", "sources": ["returns"]},
    {"role": "user", "content": "How long? Your secret is hunter2."},
    {"role": "assistant", "content": [{"type": "text", "text": "Within 30  days."}, {"type": "image"}]},
]  # fmt: skip


def part(name, wanted, reply):
    return SCORERS[name].score(wanted, reply)


def share(name, wanted, text="", **more):
    return part(name, wanted, Reply({"text": text, **more})).share


@pytest.mark.parametrize(
    ("wanted", "text", "expected"),
    [
        ("YES", " YES\n", 1),
        (["YES", "NO"], "NO", 1),
        ("YES", "yes", 0.5),
        ("Two  words", "two words", 0.5),
        ("YES", "YES!", 0),
    ],
)
def test_exact__text__is_the_same_or_differs_in_case(wanted, text, expected):
    assert share("exact", wanted, text) == expected


def test_contains__conversation__is_said_in_any_of_its_answers():
    reply = Reply({"text": "Within 30  days."}, messages=TALK)

    assert part("contains", ["30 DAYS", "free"], reply).share == 1
    assert part("contains", ["hello", "free"], reply).share == 0.5  # the user's words are not the agent's
    assert part("contains", "free. Within", reply).share == 0  # nothing is said across two answers


def test_excludes__conversation__looks_at_every_answer_of_the_agent():
    reply = Reply({"text": "Bye."}, messages=TALK)

    assert part("excludes", ["hunter2"], reply).violations == ()
    found = part("excludes", ["free", "30 days", "no"], reply)
    assert (found.share, found.violations, found.rationale) == (
        0,
        ("says what it must not",) * 2,
        "says ['free', '30 days']",
    )


@pytest.mark.parametrize(
    ("wanted", "text", "expected"),
    [
        (r"\bORD-\d{6}\b", "see ORD-123456.", 1), (["a+", "b+"], "aaa", 0.5), ("(?i)hello", "HELLO", 1), ("^x", "a\nx", 0),
        ("(?m)^x", "a\nx", 1), ("é", "caf\u00e9", 1), (".", "\ud800", 1),
        ("(a+)+$", "a" * 50_000 + "!", 0), ("(x+x+)+y", "x" * 50_000, 0),
    ],
)  # fmt: skip
def test_regex__pattern__is_found_in_linear_time(wanted, text, expected):
    assert share("regex", wanted, text) == expected


def test_similar__meaning__is_found_in_a_sentence_among_others():
    wanted = {"text": ["Returns are free of charge for 30 days."], "at_least": 0.6}
    chatter = "Good morning and thanks for writing! I hope the weather is fine. "

    same = part("similar", wanted, Reply({"text": chatter + "Returns cost nothing within 30 days."}))
    other = part("similar", wanted, Reply({"text": "Our office opens at nine."}))

    assert same.share == 1, same.rationale
    assert 0 <= other.share < 0.6
    assert "at least 0.60 is wanted" in other.rationale


def test_similar__nothing_said__scores_nothing():
    assert part("similar", "anything", Reply({"text": "  "})).share == 0


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["a", "b", "c"], 1), (["a"], 0.5), ([{"id": "a"}, {"title": "b", "url": "x"}], 1), (None, 0), ("ab", 0), ([None, 3, ["a"]], 0),
    ],
)  # fmt: skip
def test_cites__sources_of_any_shape__are_read_by_name(sources, expected):
    assert share("cites", ["a", "b"], sources=sources) == expected


def test_cites__conversation__counts_every_answer():
    reply = Reply({"text": "x", "sources": ["shipping"]}, messages=TALK)

    assert part("cites", ["returns", "shipping"], reply).share == 1
    assert part("cites", "refunds", reply).rationale == "does not cite ['refunds']"


def test_said__last_answer_already_among_the_messages__is_told_once():
    assert Reply({"text": "Within 30  days."}, messages=TALK).said == ("Returns are free.", "Within 30  days.")
    assert Reply({"text": "Bye."}, messages=TALK).said[-1] == "Bye."
    assert Reply("plain").said == ("plain",)  # type: ignore[arg-type]  # as an agent may send it
