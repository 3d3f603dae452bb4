"""Rubrics: what can be graded by, what a grade means, and what makes two rubrics one."""

import pytest

from evals.judges.rubric import BadRubricError, Rubric, read_rubric

ORDINAL = {
    "text": "How well is the refund explained?", "scale": "ordinal", "top": 4, "pass_mark": 3,
    "anchors": {"0": "not at all", "4": "so that nothing is left to ask"},
}  # fmt: skip


def test_binary__default__passes_at_one():
    rubric = read_rubric({"text": "It is polite."})

    assert [rubric.passes(grade) for grade in rubric.grades] == [False, True]
    assert [rubric.score(grade) for grade in rubric.grades] == [0, 1000]
    assert (rubric.word(0), rubric.word(1)) == ("fail", "pass")
    assert "does not do" in rubric.meaning(0)


def test_ordinal__grades__become_thousandths_and_pass_from_the_mark():
    rubric = read_rubric(ORDINAL)

    assert [rubric.score(grade) for grade in rubric.grades] == [0, 250, 500, 750, 1000]
    assert [rubric.passes(grade) for grade in rubric.grades] == [False, False, False, True, True]
    assert (rubric.meaning(4), rubric.meaning(2), rubric.word(2)) == ("so that nothing is left to ask", "", "2")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "rubric"),
        ("be kind", "rubric"),
        ([], "rubric"),
        ({}, "text"),
        ({"text": "  "}, "text"),
        ({"text": "x", "mood": 1}, "mood"),
        ({"text": "x", "top": 3}, "binary scale"),
        ({"text": "x", "scale": "ordinal", "top": 3}, "pass_mark"),
        ({**ORDINAL, "pass_mark": 5}, "above the top"),
        ({**ORDINAL, "top": 11}, "top"),
        ({**ORDINAL, "anchors": {"0": "bad"}}, "no anchor"),
        ({**ORDINAL, "anchors": {"0": "bad", "4": "good", "7": "?"}}, "anchors name the grades"),
        ({**ORDINAL, "pass_mark": "3"}, "pass_mark"),
        ({"text": "x" * 8_001}, "text"),
    ],
)
def test_read__what_nobody_could_grade_by__is_refused_in_words(given, words):
    with pytest.raises(BadRubricError, match=words):
        read_rubric(given)


def test_digest__follows_every_word_but_the_name():
    plain = read_rubric({"text": "It is polite."})

    assert read_rubric({"text": "It is polite.", "name": "tone"}).digest == plain.digest
    assert read_rubric({"text": "It is polite!"}).digest != plain.digest
    assert read_rubric(ORDINAL).digest != read_rubric({**ORDINAL, "pass_mark": 2}).digest


@pytest.mark.parametrize(
    ("value", "grade"),
    [(True, 1), (False, 0), ("pass", 1), (" FAIL ", 0), (1, 1), (0.0, 0), ("1", 1)],
)
def test_grade_of__words_of_a_binary_scale__are_understood(value, grade):
    assert Rubric(text="x").grade_of(value) == grade


@pytest.mark.parametrize("value", ["maybe", 2, -1, 0.5, None, [], {}, "٣", "9" * 400, float("nan")])
def test_grade_of__anything_else__is_refused(value):
    with pytest.raises(BadRubricError, match="allowed are fail, pass"):
        Rubric(text="x").grade_of(value)


def test_grade_of__ordinal__takes_its_numbers_only():
    rubric = read_rubric(ORDINAL)

    assert [rubric.grade_of(value) for value in (0, "3", 4.0)] == [0, 3, 4]
    for value in (True, "pass", 5):
        with pytest.raises(BadRubricError, match="0, 1, 2, 3, 4"):
            rubric.grade_of(value)
