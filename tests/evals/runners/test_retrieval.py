from datetime import date

import pytest

from evals.runners.retrieval import Library

TODAY = date(2027, 1, 31)
DOCUMENTS = {
    "returns": {"title": "Returns", "text": "Goods can be sent back within 30 days.", "tags": ["give it back"]},
    "shipping": {"title": "Shipping cost", "text": "Delivery is free from 50 euros."},
    "old": {"title": "Returns", "text": "Goods can be sent back within 14 days.", "valid_until": "2026-12-31"},
}


@pytest.fixture(scope="module")
def library():
    return Library()


def found(library, query, **changes):
    options = {"top_k": 3, "min_score": 0.0, "today": TODAY, **changes}
    return library.find(DOCUMENTS, query, **options)


def test_find__question__is_met_by_the_text_about_it(library):
    passages = found(library, "Can I return my shoes?")

    assert [one.doc_id for one in passages] == ["returns", "shipping"]
    assert passages[0].text == "Goods can be sent back within 30 days."
    assert 1 >= passages[0].score > passages[1].score


def test_find__tag__is_met_word_by_word(library):
    assert found(library, "give it back")[0].score == pytest.approx(1.0, abs=1e-3)


def test_find__limits__hold(library):
    assert len(found(library, "Can I return my shoes?", top_k=1)) == 1
    assert found(library, "Can I return my shoes?", top_k=0) == []
    assert found(library, "Can I return my shoes?", min_score=0.99) == []


def test_find__valid_until_its_day__is_found_on_it(library):
    on_the_day = found(library, "Can I return my shoes?", today=date(2026, 12, 31))

    assert "old" in {one.doc_id for one in on_the_day}


@pytest.mark.parametrize("query", ["", "   "])
def test_find__nothing_asked__finds_nothing(library, query):
    assert found(library, query) == []


def test_find__no_documents__finds_nothing(library):
    assert library.find({}, "x", top_k=3, min_score=0.0, today=TODAY) == []
