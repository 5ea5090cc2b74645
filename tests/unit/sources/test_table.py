"""CSV rows as items."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.sources.columns import without_bytes_mark
from pipeline.sources.framing import Framed
from pipeline.sources.table import Rows
from pipeline.sources.weeks import monday

Item = dict[str, object]


def framed(data: bytes, wanted: dict[str, str] | None = None, *dimensions: str, limit: int = 2**20) -> list[Framed]:
    rows = Rows("table.csv", wanted or {}, dimensions, max_item_bytes=limit)
    found = rows.feed(data) + rows.finish()
    assert rows.consumed == len(data)
    return found


def read(data: bytes, wanted: dict[str, str] | None = None, *dimensions: str) -> list[Item]:
    """The items; one that is broken as {"broken": raw, "note": note}."""
    items: list[Item] = []
    for each in framed(data, wanted, *dimensions):
        if each.note:
            items += [{"broken": payload, "note": each.note} for payload in each.payloads]
        else:
            items += [msgspec.json.decode(payload, type=Item) for payload in each.payloads]
    return items


def test_columns_become_fields_by_mapping_or_by_their_own_name() -> None:
    data = b"Date,TEXT,region,other\n2024-06-14,fever,North,x\n"
    expected = [{"time": "2024-06-14", "text": "fever", "region": "North"}]
    assert read(data, {"time": "Date"}, "region") == expected


def test_a_mapped_column_wins_over_one_of_the_same_name() -> None:
    assert read(b"text,title\na,b\n", {"text": "title"}) == [{"text": "b"}]


def test_counts_are_numbers() -> None:
    data = b"time,cases,visits\n2024-06-14,44, 7053.0\n2024-06-15,X,1.5\n"
    assert read(data, {"bad": "cases", "total": "visits"}) == [
        {"time": "2024-06-14", "bad": 44, "total": 7053},
        {"time": "2024-06-15", "bad": "X", "total": "1.5"},
    ]


def test_a_label_named_bad_is_no_count() -> None:
    assert read(b"text,bad\na,1\n") == [{"text": "a"}]
    assert read(b"bad,total\n1,2\n") == [{"bad": 1, "total": 2}]


def test_two_columns_join() -> None:
    data = b"day,hour,title,body\n2024-06-14,12:30,Fire,in town\n2024-06-14,13:00,,Rain\n"
    assert read(data, {"time": "day,hour", "text": "title, body"}) == [
        {"time": "2024-06-14 12:30", "text": "Fire in town"},
        {"time": "2024-06-14 13:00", "text": "Rain"},
    ]


def test_a_year_and_a_week_become_the_monday_of_that_week() -> None:
    data = b"YEAR,WEEK,bad,total\n1997,53,1,2\n1998,1,1,2\n2024,99,1,2\n"
    assert [item["time"] for item in read(data, {"time": "YEAR,WEEK"})] == ["1997-12-29", "1998-01-05", "2024 99"]
    assert [item["time"] for item in read(data, {"time": "iso:YEAR,WEEK"})] == ["1997 53", "1997-12-29", "2024 99"]


def test_the_weeks_of_the_cdc_follow_one_another_without_gaps() -> None:
    mondays = []
    for year in range(1990, 2031):
        for week in range(1, 54):
            try:
                mondays.append(monday(year, week, "cdc"))
            except ValueError:
                assert week == 53
    assert {b - a for a, b in pairwise(mondays)} == {timedelta(weeks=1)}
    # The end of week 17 of 2009, and of week 53 of 2008, by the CDC's own calendar.
    assert monday(2009, 17, "cdc") == date(2009, 4, 27)
    assert monday(2008, 53, "cdc") == date(2008, 12, 29)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found_in_the_header(delimiter: str) -> None:
    data = delimiter.join(["text", '"a,b;c\td"', "id"]) + "\n" + delimiter.join(["x", "y", "z"])
    assert read(data.encode()) == [{"text": "x", "id": "z"}]


def test_a_cell_may_hold_line_ends_quotes_and_delimiters() -> None:
    assert read(b'\xef\xbb\xbf"text",id\r\n"a\r\n\r\nb, ""c""",1\r\n\r\nd,2') == [
        {"text": 'a\r\n\r\nb, "c"', "id": "1"},
        {"text": "d", "id": "2"},
    ]


def test_a_row_that_does_not_fit_is_broken_and_the_next_is_read() -> None:
    assert read(b"text,id\na\nb,2\nc,3,4\nd,5\n") == [
        {"broken": b"a", "note": "a row of 1 columns where the header has 2"},
        {"text": "b", "id": "2"},
        {"broken": b"c,3,4", "note": "a row of 3 columns where the header has 2"},
        {"text": "d", "id": "5"},
    ]


def test_bytes_that_are_not_utf8_break_their_row_only_where_they_are_used() -> None:
    assert read(b"text,more\ncaf\xe9,1\nb,caf\xe9\nc,3\n") == [
        {"broken": b"caf\xe9,1", "note": "a row that is not UTF-8"},
        {"text": "b"},
        {"text": "c"},
    ]


def test_a_quote_that_is_never_closed_breaks_its_line_alone() -> None:
    many = b"".join(b"row %d,1\n" % i for i in range(3000))
    found = read(b'text,id\n"open,1\n' + many)
    assert found[0] == {"broken": b'"open,1', "note": "a quote in this line is never closed"}
    assert len(found) == 3001
    assert read(b'text,id\na,1\n"open,2')[1]["broken"] == b'"open,2'


def test_a_quote_that_is_closed_too_late_is_one_that_is_never_closed() -> None:
    data = b'text,id\n"open,1\n' + b"a,1\n" * 1000 + b'close",2\n'
    whole = Rows("t", {}, ())
    in_blocks = Rows("t", {}, ())
    blocks = [data[i : i + 100] for i in range(0, len(data), 100)]
    found = [each for block in blocks for each in in_blocks.feed(block)] + in_blocks.finish()
    flat = [(payload, each.note) for each in found for payload in each.payloads]
    assert flat == [(payload, each.note) for each in whole.feed(data) + whole.finish() for payload in each.payloads]
    assert flat[0] == (b'"open,1', "a quote in this line is never closed")
    assert len(flat) == 1002


def test_an_overlong_line_is_broken_and_closes_what_was_open() -> None:
    data = b'text,id\n"open\n' + b"x" * 5000 + b"\na,1\n"
    found = framed(data, limit=1000)
    assert [each.payloads[0][:9] for each in found] == [b'"open', b"xxxxxxxxx", b'{"id":"1"']
    assert [each.note[:10] for each in found] == ["a quote in", "a line of ", ""]


def test_a_missing_column_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SourceError, match=r"no column 'Titel' for text; it has 'Title', 'Date'; did you mean 'Title'"):
        read(b"Title,Date\n", {"text": "Titel"})
    with pytest.raises(SourceError, match=r'no column "text"; it has \'a\', \'b\''):
        read(b"a,b\n")


@pytest.mark.parametrize(
    ("header", "wanted", "says"),
    [
        (b"id,text,text\n", {}, r"2 columns in its header that may be the one for text: 'text', 'text'; rename"),
        (b"text,Text\n", {}, "one for text: 'text', 'Text'"),
        (b"text,Text\n", {"text": "text"}, "one for text: 'text', 'Text'"),
        (b"text,id,id\n", {}, "one for id: 'id', 'id'"),
        (b"text,region,Region\n", {}, "one for region: 'region', 'Region'"),
        (b"title,title,body\n", {"text": "title,body"}, "one for text: 'title', 'title'"),
        (b"Title,TITLE\n", {"text": "title"}, "one for text: 'Title', 'TITLE'"),
    ],
)
def test_a_column_that_is_read_and_there_twice_is_refused(header: bytes, wanted: dict[str, str], says: str) -> None:
    with pytest.raises(SourceError, match=says):
        read(header, wanted, "region")


def test_two_columns_of_a_name_that_is_not_read_do_no_harm() -> None:
    assert read(b"x,text,x\na,b,c\n") == [{"text": "b"}]
    assert read(b"text,bad,bad\na,b,c\n") == [{"text": "a"}]


def test_of_two_columns_that_differ_in_capitals_the_one_that_is_chosen_is_read() -> None:
    assert read(b"text,Text\na,b\n", {"text": "Text"}) == [{"text": "b"}]


def test_a_header_that_is_not_utf8_is_refused_only_where_a_column_is_missing() -> None:
    for header in ("t\xe9xt,id\n", "id,date,\xe9\n"):
        with pytest.raises(SourceError, match=r"table\.csv is not UTF-8; make it so first: iconv -f latin1 -t utf-8"):
            read(header.encode("latin-1"))
    assert read("text,\xe9\na,b\n".encode("latin-1")) == [{"text": "a"}]


def test_an_empty_table_has_no_items() -> None:
    assert read(b"") == []
    assert read(b"\n\n") == []
    assert read(b"text\n") == []


def test_text_written_as_python_bytes_is_unwrapped_without_evaluating_it() -> None:
    assert without_bytes_mark("b'plain'") == "plain"
    assert without_bytes_mark('b"it\'s"') == "it's"
    assert without_bytes_mark(r"b'it\'s \\ caf\xc3\xa9'") == "it's \\ café"
    assert without_bytes_mark(r"b'\xff'") == r"\xff"
    assert without_bytes_mark(r"b'\N{BULLET} \u0041'") == r"\N{BULLET} \u0041"
    for other in ("", "b", "b'", "b''x", "both", "'x'", "b'x\""):
        assert without_bytes_mark(other) == other


@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
@settings(max_examples=100)
def test_what_a_writer_of_csv_writes_is_read_back(rows: list[tuple[str, str]]) -> None:
    rows = [tuple(cell.replace("\r", "") for cell in row) for row in rows]  # type: ignore[misc]
    try:
        out = io.StringIO()
        csv.writer(out).writerows([("id", "source"), *rows])
        data = out.getvalue().encode()
    except UnicodeEncodeError:
        return
    wanted = {"text": "source", "id": "id"}
    assert [(item["id"], item["source"]) for item in read(data, wanted)] == rows


@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b",", b'"', b"ab", b"\xff", b"\0", b"x" * 30]), max_size=40),
    st.lists(st.integers(0, 80)),
)
@settings(max_examples=300)
def test_any_bytes_are_rows_or_broken_and_the_blocks_do_not_matter(parts: list[bytes], cuts: list[int]) -> None:
    data = b"text,id\n" + b"".join(parts)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})

    def flat(blocks: list[bytes]) -> list[tuple[bytes, str]]:
        rows = Rows("t", {}, (), max_item_bytes=25)
        found = [each for block in blocks for each in rows.feed(block)] + rows.finish()
        assert rows.consumed == len(data)
        assert [each.end for each in found] == sorted(each.end for each in found)
        return [(payload, each.note) for each in found for payload in each.payloads]

    assert flat([data[a:b] for a, b in pairwise(edges)]) == flat([data])


def test_a_header_whose_lines_end_in_carriage_returns_is_refused_with_the_way_out() -> None:
    with pytest.raises(SourceError, match="carriage return alone"):
        read(b"id,text\r1,a\r")
