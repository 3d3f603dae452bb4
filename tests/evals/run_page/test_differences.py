"""Word and step diffs of two trials, and the words for numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.reporting import wording
from evals.reporting.steps import MAX_STEPS, step_diff
from evals.reporting.words import MAX_WORDS, word_diff

TEXTS = st.text(alphabet=st.sampled_from("ab .<\n"), max_size=30)


def call(name: str, arguments: object, came: object = "fine") -> dict[str, object]:
    return {"kind": "tool_call", "name": name, "input": arguments, "output": came, "latency_ms": 3}


def marked(text: str, other: str) -> list[str]:
    return [part.text for part in word_diff(text, other)[0] if part.kind == "own"]


@given(TEXTS, TEXTS)
def test_words__any_texts__are_kept_and_what_is_shared_is_shared_by_both(first: str, second: str) -> None:
    left, right = word_diff(first, second)

    assert "".join(part.text for part in left) == first
    assert "".join(part.text for part in right) == second
    shared = ["".join(part.text for part in side if part.kind == "same") for side in (left, right)]
    assert shared[0] == shared[1]


def test_words__one_word_changed__is_marked_alone() -> None:
    assert marked("It ships in 3 days.", "It ships in 5 days.") == ["3"]
    assert marked("It ships today.", "It ships today.") == []


def test_words__two_words_changed_in_a_row__are_one_passage() -> None:
    assert marked("It ships very soon, sorry.", "It ships not today, sorry.") == ["very soon"]


def test_words__texts_too_long_to_compare__are_shown_whole() -> None:
    long = "word " * MAX_WORDS

    left, right = word_diff(long, long + "more")

    assert [(part.kind, len(part.text)) for part in left] == [("own", len(long))]
    assert [part.kind for part in right] == ["own"]


def test_steps__equal__are_the_same_whatever_they_took() -> None:
    lines = step_diff([call("a", {"x": 1})], [call("a", {"x": 1}) | {"latency_ms": 900}])

    assert [line.difference for line in lines] == ["same"]


def test_steps__other_arguments_and_results__are_told_apart() -> None:
    lines = step_diff([call("a", {"x": 1}), call("b", {}, "ok")], [call("a", {"x": 2}), call("b", {}, "error")])

    assert [(line.name, line.difference) for line in lines] == [("a", "arguments"), ("b", "result")]
    assert (lines[0].baseline_asked, lines[0].candidate_asked) == ('{"x": 1}', '{"x": 2}')


def test_steps__other_order__is_named_as_such_on_both_sides() -> None:
    a, b, c = call("a", {}), call("b", {}), call("c", {})

    lines = step_diff([a, b, c], [b, c, a])

    moved = [line for line in lines if line.difference == "moved"]
    assert [(line.name, line.baseline_place, line.candidate_place) for line in moved] == [
        ("a", 1, None),
        ("a", None, 3),
    ]
    assert moved[0].words == "other order"


def test_steps__left_out_and_added__are_those_of_one_arm() -> None:
    lines = step_diff([call("a", {}), call("b", {})], [call("a", {}), call("c", {})])

    assert {(line.name, line.difference) for line in lines} == {
        ("a", "same"), ("b", "baseline_only"), ("c", "candidate_only"),
    }  # fmt: skip


def test_steps__that_are_none__are_shown_as_text() -> None:
    [line] = step_diff(["<b>odd</b>"], ["<b>odd</b>"])

    assert (line.kind, line.difference, line.baseline_asked) == ("step", "same", "<b>odd</b>")


def test_steps__by_the_thousand__are_cut() -> None:
    assert len(step_diff([call("a", n) for n in range(5_000)], [])) == MAX_STEPS


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (wording.as_points(-0.0001), "+0.0 pp"), (wording.as_points(0.1234), "+12.3 pp"), (wording.as_points(None), "–"),
        (wording.as_bare_points(None), "–"), (wording.as_bare_points(-0.05), "-5.0"), (wording.as_share(0.5), "50.0 %"),
        (wording.as_money(0.0), "$0.00"), (wording.as_money(0.00312), "$0.00312"), (wording.as_money(1234.5), "$1,234.50"),
        (wording.as_duration(None), "–"), (wording.as_duration(59.6), "1 min 0 s"), (wording.as_duration(3_725), "1 h 2 min"),
        (wording.as_metric(812.4, "latency_ms"), "812 ms"), (wording.as_metric(4.96, "latency_ms"), "5.0 ms"),
        (wording.as_metric(None, "latency_ms"), "–"), (wording.as_metric(0.5, "cost_usd"), "$0.5"),
        (wording.as_measure(0.00001, "p"), "below 0.0001"), (wording.as_measure(0.0, "p"), "0.0000"),
        (wording.as_measure(12, "count"), "12"), (wording.as_measure(23.4, "ms"), "+23 ms"),
        (wording.as_measure(0.7, "number"), "0.70"), (wording.as_measure(0.1, "share"), "10.0 %"),
        (wording.as_measure(1.1, "ratio"), "1.100"), (wording.as_measure(None, "p"), "–"),
        (wording.as_change(-0.00001, "p"), "+0.0000"), (wording.as_change(-2, "count"), "-2"),
        (wording.as_change(0.02, "share"), "+2.0 pp"), (wording.as_change(None, "pp"), "–"), (wording.as_change(5, "ms"), "+5 ms"),
        (wording.as_factor(None), "–"), (wording.as_money(None), "–"), (wording.as_share(None), "–"),
    ],
)  # fmt: skip
def test_wording__numbers__carry_sign_and_unit(said: str, expected: str) -> None:
    assert said == expected
