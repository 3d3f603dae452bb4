"""Objects are found in lines, lists and pages, in bounded memory, and whatever is broken is told by its line."""

import json
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.importing.entries import BadLine, Line
from episodes.importing.framing import MAX_RECORD_BYTES, Record, records
from tests.episodes.reading import lines

OBJECTS = st.lists(
    st.dictionaries(
        st.text(max_size=5).filter(lambda name: name != "data"),
        st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5),
        max_size=4,
    ),
    max_size=5,
)


def found(text: str | bytes, size: int = 1_000_000) -> list[tuple[int, object]]:
    data = text if isinstance(text, bytes) else text.encode()
    told = records(pieces(data, size), lists=("data", "simulations"))
    return [(one.number, one.value if isinstance(one, Record) else one.reason) for one in told]


def pieces(data: bytes, size: int) -> Iterator[Line]:
    number = 1
    for line in data.splitlines(keepends=True):
        for start in range(0, len(line), size):
            yield Line("f", number, line[start : start + size])
        number += 1


@given(OBJECTS, st.sampled_from([None, 0, 2]), st.integers(1, 40))
def test_records__one_list_however_written_and_cut__is_its_objects(
    objects: list[object], indent: int | None, size: int
) -> None:
    text = json.dumps(objects, indent=indent)
    wrapped = json.dumps({"object": "list", "data": objects, "has_more": False}, indent=indent)
    after = json.dumps({"info": {"data": 1}, "simulations": objects, "tail": [{"a": 1}]}, indent=indent or 1)

    for written in (text, wrapped, after):
        assert [value for _, value in found(written, size)] == objects


@given(OBJECTS, st.integers(1, 40))
def test_records__lines__are_their_objects_by_number(objects: list[object], size: int) -> None:
    text = "\n".join(json.dumps(one) for one in objects)

    assert found(text, size) == list(enumerate(objects, start=1))


def test_records__objects_over_many_lines__are_told_by_their_first() -> None:
    assert found('\n[\n  {\n    "a": 1\n  },\n\n  {"b": "}]"}\n]\n') == [(3, {"a": 1}), (7, {"b": "}]"})]


def test_records__broken_line__costs_only_itself() -> None:
    told = found('{"a": 1}\n{"a": \nnull\n[1]\n"x"\n\xff\n{"a": 2}\n'.encode("latin-1"))

    assert [number for number, _ in told] == [1, 2, 3, 4, 5, 6, 7]
    assert "not JSON" in str(told[1][1])
    assert "no JSON object" in str(told[3][1])
    assert "not UTF-8" in str(told[5][1])
    assert told[6] == (7, {"a": 2})


def test_records__invalid_element_of_a_list__costs_only_itself() -> None:
    told = found('[{"a": 1},\n {"a": nope},\n {"a": 3}, 7,\n {"a": 4}]')

    assert [number for number, value in told if isinstance(value, dict)] == [1, 3, 4]
    assert [number for number, value in told if isinstance(value, str)] == [2, 3]


@pytest.mark.parametrize(
    ("text", "number"), [('[{"a": 1},\n{"a": [}]', 2), ('[{"a": 1},\n{"a": "x\n"}]', 2), ('[{"a": 1},\n{"b": ', 2)]
)
def test_records__broken_brackets__say_from_where_nothing_is_read(text: str, number: int) -> None:
    told = found(text)

    assert told[0] == (1, {"a": 1})
    assert told[1][0] == number
    assert "nothing from here on can be read" in str(told[1][1])


def test_records__page_of_an_api_on_one_line__is_its_objects_with_the_page_as_head() -> None:
    page = {"object": "list", "data": [{"id": 1}, 5], "last_id": "x"}

    told = list(records(lines(page, {"id": 2, "data": [{"no": "page"}]})))

    assert [one.value for one in told if isinstance(one, Record)] == [{"id": 1}, {"id": 2, "data": [{"no": "page"}]}]
    assert isinstance(told[0], Record)
    assert told[0].head == {"object": "list", "last_id": "x"}
    assert isinstance(told[1], BadLine)


def test_records__mark_of_utf8_and_empty_file__are_nothing() -> None:
    assert found(b'\xef\xbb\xbf{"a": 1}\n') == [(1, {"a": 1})]
    assert found(b"") == found(b"\n\n") == found(b"[]") == []


def test_records__line_beyond_the_limit__is_told_and_the_next_is_read() -> None:
    long = '"' + "x" * (MAX_RECORD_BYTES + 10) + '"'

    told = found('{"a": 1}\n{"a": ' + long + '}\n{"a": 2}\n')

    assert [number for number, _ in told] == [1, 2, 3]
    assert "longer than" in str(told[1][1])


def test_records__list_larger_than_memory_should_be__is_read_in_little() -> None:
    element = json.dumps({"text": "x" * 2_000}).encode()

    def stream() -> Iterator[Line]:
        yield Line("f", 1, b"[")
        for _ in range(4_000):
            yield Line("f", 1, element + b",")
        yield Line("f", 1, element + b"]")

    tracemalloc.start()
    count = sum(1 for one in records(stream()) if isinstance(one, Record))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 4_001
    assert peak < 1_000_000


def test_records__nesting_without_end__is_a_bad_line() -> None:
    assert "nested" in str(found('{"a": ' + "[" * 200_000 + "]" * 200_000 + "}")[0][1])
