"""Tables as people have them: any delimiter, any encoding, columns by header or option, broken rows by number."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from episodes.importing.entries import BadLine, Entry, Line, Note, Options
from episodes.importing.tables import read as read_table
from tests.episodes.reading import ends, entry, read, spoken


def table(data: bytes, **options: object) -> list[Entry | BadLine | Note]:
    lines = [Line("t.csv", number, line) for number, line in enumerate(data.splitlines(keepends=True), start=1)]
    return list(read_table(lines, Options(**options)))  # type: ignore[arg-type]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv__any_delimiter_and_header__is_recognized(delimiter: str) -> None:
    header = delimiter.join(["Session ID", "Question", "Answer", "Resolved", "user_id", "Created-At", "Ticket"])
    row = delimiter.join(["s-1", "Where is it?", "Here.", "No", "u-1", "2025-03-01 12:00", "T-9"])

    one = entry("csv", header, row)

    assert (one.item["conversation"], one.item["subject"]) == ("s-1", "u-1")
    assert spoken(one) == [("user", "Where is it?")]
    assert one.item["output"] == {"text": "Here."}
    assert one.item["started_at"] == "2025-03-01T12:00:00+00:00"
    assert ends(one) == [("failed", "customer", 1.0)]
    assert one.item["attributes"]["columns"] == {"Ticket": "T-9"}


def test_csv__columns_outcomes_source_and_time_by_option__are_used() -> None:
    one = entry(
        "csv", "frage,antwort,ende,wann", "Wo ist es?,Hier.,erledigt,01.03.2025 12:00",
        columns={"input": "frage", "output": "antwort", "outcome": "ende", "time": "wann"},
        outcomes={"erledigt": "resolved"}, outcome_source="staff", time_format="%d.%m.%Y %H:%M",
    )  # fmt: skip

    assert ends(one) == [("resolved", "staff", 1.0)]
    assert one.item["started_at"] == "2025-03-01T12:00:00+00:00"


def test_csv__quoted_newlines_quotes_and_mark__are_text() -> None:
    told = table(b'\xef\xbb\xbfinput,output\r\n"first\r\nsecond, ""quoted""",ok\r\nnext,fine\r\n')

    assert [one.number for one in told if isinstance(one, Entry)] == [2, 4]
    assert spoken(told[0])[0][1] == 'first\r\nsecond, "quoted"'  # type: ignore[arg-type]


def test_csv__windows_1252__is_read_and_said() -> None:
    told = table("input;output\nWo ist die Tür?;Dort – links\nHallo;ok\n".encode("cp1252"))

    assert isinstance(told[0], Note)
    assert "Windows-1252" in told[0].sentence
    assert [spoken(one)[0][1] for one in told[1:]] == ["Wo ist die Tür?", "Hallo"]  # type: ignore[arg-type]
    assert told[1].item["output"]["text"] == "Dort – links"  # type: ignore[union-attr]


def test_csv__utf8_with_one_damaged_line__costs_that_line() -> None:
    told = table("input\nTür\n".encode() + b"T\xfcr\n" + "Größe\n".encode())

    assert [(one.number, type(one)) for one in told] == [(2, Entry), (3, BadLine), (4, Entry)]  # type: ignore[union-attr]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_csv__utf16__is_read(encoding: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}[encoding]

    told = table(mark + "input\toutput\nTür Ċ\tja\nzwei\tdrei\n".encode(encoding))

    assert [spoken(one)[0][1] for one in told if isinstance(one, Entry)] == ["Tür Ċ", "zwei"]


def test_csv__headers_missing_or_twice__hide_no_cell() -> None:
    one = entry("csv", "input,note,note,", "Hello there,a,b,c")

    assert one.item["attributes"]["columns"] == {"note": "a", "note (3)": "b", "column (4)": "c"}


def test_csv__announced_delimiter__is_taken() -> None:
    assert spoken(entry("csv", "sep=;", "input;output", "a, b and c;d")) == [("user", "a, b and c")]


@pytest.mark.parametrize(
    ("cell", "name"),
    [("TRUE", "resolved"), ("1", "resolved"), ("0.8", "resolved"), ("0,2", "failed"), ("Handoff", "escalated"), ("blocked", "blocked")],
)  # fmt: skip
def test_csv__outcome_words_and_shares__are_ends(cell: str, name: str) -> None:
    assert ends(entry("csv", "input;outcome", f"Hello there;{cell}"))[0][0] == name


def test_csv__bad_rows__are_told_by_number_and_cost_no_other() -> None:
    told = read(
        "csv", "id,input,output,outcome,time", "1,a,b,resolved,", "2,a,b,whatever,", "3,a,b,,yesterday", "4,,,,",
        "5,a,b,c,d,e,f", '6,"never closed,b,,', "7,a,b,,", '8,"x"y,b,,', "9,a,b,,,,",
    )  # fmt: skip

    assert [one.item["id"] for one in told if isinstance(one, Entry)] == ["1", "7", "9"]
    bad = {one.number: one.reason for one in told if isinstance(one, BadLine)}
    assert sorted(bad) == [3, 4, 5, 6, 7, 9]
    assert "--outcome 'whatever=failed'" in bad[3]
    assert "no time" in bad[4]
    assert "neither an input nor an output" in bad[5]
    assert "7 cells" in bad[6]


def test_csv__no_column_for_the_input__is_said_with_the_columns() -> None:
    (bad,) = read("csv", "a,b", "1,2")

    assert isinstance(bad, BadLine)
    assert "'a', 'b'" in bad.reason
    assert "--column input=HEADER" in bad.reason
    (missing,) = read("csv", "input,b", "1,2", columns={"output": "nope"})
    assert isinstance(missing, BadLine)
    assert "no column 'nope' for the output" in missing.reason


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=6), st.sampled_from(",;\t|"))
def test_csv__whatever_a_program_wrote__is_read_back(rows: list[tuple[str, str]], delimiter: str) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(["input", "output"])
    clean = [
        tuple(cell.encode("utf-8", "ignore").decode().replace("\r", "").replace("\x00", "").strip() for cell in row)
        for row in rows
    ]
    writer.writerows(clean)
    data = out.getvalue().encode()
    pieces = [Line("t", number, line + b"\n") for number, line in enumerate(data.split(b"\n")[:-1], start=1)]

    told = [one for one in read_table(pieces, Options()) if isinstance(one, Entry)]

    expected = [row for row in clean if any(row)]
    assert [(one.item["input"]["messages"], one.item["output"]["text"]) for one in told] == [
        ([{"role": "user", "content": asked}] if asked else [], answer) for asked, answer in expected
    ]
