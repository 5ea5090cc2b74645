"""A person's labelled texts: what is read, and that what cannot be used is named with its line."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

import model.data.labelled_file
from model.data.labelled_file import Columns, labelled
from pipeline.errors import SourceError


def _written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def _targets(path: Path, columns: Columns | None = None) -> dict[str, float]:
    return {example.text: example.target for example in labelled([path], columns or Columns())}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"text": "fire", "label": "bad"}\n\n{"text": "sun", "label": "ok"}\n'),
        ("a.jsonl.gz", '{"text": "fire", "label": 1}\n{"text": "sun", "label": 0}\n'),
        ("a.csv", "text,label\nfire,yes\nsun,no\n"),
        ("a.csv.gz", "label,text\nTRUE,fire\nFalse,sun\n"),
        ("a.tsv", "text\tlabel\nfire\tbad\nsun\tok\n"),
        ("a.csv", b"\xef\xbb\xbftext,label\r\nfire,1.0\r\nsun,0\r\n"),
        ("a.TSV", "text\tlabel\nfire\tbad\nsun\tok\n"),
        ("a.csv", "text;label\nfire;bad\nsun;ok\n"),
    ],
)
def test_json_lines_and_tables_are_read_plain_and_packed(tmp_path: Path, name: str, content: str | bytes) -> None:
    assert _targets(_written(tmp_path, name, content)) == {"fire": 1.0, "sun": 0.0}


def test_a_label_may_be_a_probability(tmp_path: Path) -> None:
    assert _targets(_written(tmp_path, "a.csv", "text,label\nrain,0.3\n")) == {"rain": 0.3}


def test_labels_that_mean_bad_can_be_named(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", "text,label\nfire,Outage\nleak,fault\nsun,praise\n")
    assert _targets(path, Columns(bad=frozenset(("outage", "fault")))) == {"fire": 1.0, "leak": 1.0, "sun": 0.0}


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.jsonl", '{"text": "fire", "label": "bad"}\n{"text": "su', "line 2 is no JSON"),
        ("a.jsonl", '["fire", "bad"]\n', "line 1 is no object"),
        ("a.jsonl", '{"text": "fire \\ud83d", "label": "bad"}\n', "line 1: the text holds half a character"),
        ("a.csv", "text,label\n", "no texts in"),
        ("a.jsonl", "\n", "no texts in"),
        ("a.jsonl", '{"text": "  ", "label": "bad"}\n', "line 1 has no text"),
        ("a.jsonl", '{"text": 5, "label": "bad"}\n', "line 1 has no text"),
        ("a.jsonl", '{"text": "fire"}\n', "line 1: the label None"),
        ("a.jsonl", '\n{"text": "fire", "label": "awful"}\n', "line 2: the label 'awful'"),
        ("a.csv", "text,label\nfire,bad\nsun,1.5\n", "line 3: the label '1.5'"),
        ("a.csv", "text,label\nfire,nan\n", "line 2: the label 'nan'"),
        ("a.csv", "text,label\nfire\n", "line 2: the label None"),
        ("a.csv", "label,text\nbad\n", "line 2 has no text"),
        ("a.csv", 'text,label\n"fire,bad\n', "line 2 is no CSV"),
    ],
)
def test_a_row_that_cannot_be_used_is_named_with_its_line(tmp_path: Path, name: str, content: str, where: str) -> None:
    path = _written(tmp_path, name, content)
    with pytest.raises(SourceError) as caught:
        labelled([path], Columns())
    assert str(path) in str(caught.value)
    assert where in str(caught.value)


@pytest.mark.parametrize(("mark", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv")])
def test_a_row_with_more_cells_than_the_header_is_refused_and_not_cut(tmp_path: Path, mark: str, name: str) -> None:
    path = _written(tmp_path, name, f"text{mark}label\nsun{mark}ok\nFire{mark} in plant 4{mark}outage\n")
    with pytest.raises(SourceError) as caught:
        labelled([path], Columns(bad=frozenset(("outage",))))
    assert f"{path}, line 3 has more cells than the header" in str(caught.value)
    assert f"a {mark!r} in a text without quotes" in str(caught.value)


def test_a_row_without_a_cell_for_its_group_is_refused_and_one_for_a_column_that_nobody_asks_for_is_not(
    tmp_path: Path,
) -> None:
    path = _written(tmp_path, "a.csv", "text,label,event\nfire,bad\n")
    assert _targets(path) == {"fire": 1.0}
    with pytest.raises(SourceError, match="line 2 has fewer cells than the header, none for 'event'"):
        labelled([path], Columns(group="event"))


@pytest.mark.parametrize("columns", [Columns(text="body"), Columns(label="verdict"), Columns(group="event")])
def test_a_table_without_the_column_says_which_it_has(tmp_path: Path, columns: Columns) -> None:
    path = _written(tmp_path, "a.csv", "text,label\nfire,bad\n")
    with pytest.raises(SourceError, match="it has text, label: name yours with --text-column"):
        labelled([path], columns)


@pytest.mark.parametrize(
    ("name", "first", "other", "broken"),
    [
        ("a.csv", b"text,label\n", b"fire,bad\n", b"f\xe4ule,bad\n"),
        ("a.jsonl", b"\n", b'{"text": "fire", "label": "bad"}\n', b'{"text": "f\xe4ule"}\n'),
    ],
)
def test_a_file_that_is_not_utf8_says_so(tmp_path: Path, name: str, first: bytes, other: bytes, broken: bytes) -> None:
    path = _written(tmp_path, name, first + other * 9999 + broken + other)
    with pytest.raises(SourceError, match=f"{name}, line 10001 is not UTF-8; make it so: iconv"):
        labelled([path], Columns())


def test_capitals_in_a_header_do_not_matter_where_one_column_alone_can_be_meant(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", " Text,LABEL\nfire,bad\n")
    assert [(one.text, one.target) for one in labelled([path], Columns())] == [("fire", 1.0)]
    path = _written(tmp_path, "b.csv", "text,Text,label\nfire,flood,bad\n")
    assert [one.text for one in labelled([path], Columns())] == ["fire"]
    path = _written(tmp_path, "c.csv", "TEXT,Text,label\nfire,flood,bad\n")
    with pytest.raises(SourceError, match="no column 'text', it has TEXT, Text, label"):
        labelled([path], Columns())


def test_a_file_that_is_not_there_or_not_whole_says_so(tmp_path: Path) -> None:
    torn = tmp_path / "b.jsonl.gz"
    torn.write_bytes(gzip.compress(b'{"text": "fire", "label": "bad"}\n' * 50)[:-9])
    for path in (tmp_path / "none.csv", torn):
        with pytest.raises(SourceError, match="cannot be read"):
            labelled([path], Columns())


def test_a_label_without_bad_labels_given_is_never_silently_ok(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", "text,label\nfire,outage\n")
    with pytest.raises(SourceError, match="--bad-label"):
        labelled([path], Columns())


def test_an_empty_label_is_refused_also_where_bad_labels_are_given(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", "text,label\nfire,\n")
    with pytest.raises(SourceError, match="line 2"):
        labelled([path], Columns(bad=frozenset(("outage",))))


def test_a_text_is_kept_once_and_texts_that_differ_in_digits_are_one_group(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", "text,label\nat -18,ok\nat -9,bad\nat  -9,ok\nelsewhere,ok\n")
    found = labelled([path, path], Columns())
    assert [(example.text, example.target) for example in found] == [("at -18", 0), ("at -9", 1), ("elsewhere", 0)]
    assert found[0].group == found[1].group != found[2].group


def test_lines_of_a_log_are_kept_once_by_their_template(tmp_path: Path) -> None:
    rows = "".join(f"May 14 10:00:0{n} host app[{n}]: disk {n} failed,bad\n" for n in range(3))
    assert len(labelled([_written(tmp_path, "a.csv", "text,label\n" + rows)], Columns())) == 1


def test_texts_that_are_labelled_both_bad_and_ok_are_told(tmp_path: Path) -> None:
    file = tmp_path / "notes.csv"
    said: list[str] = []
    file.write_text("text,label\nbank fails,bad\nall well,ok\nbank fails,bad\n")
    labelled([file], Columns(), said.append)
    assert said == []
    file.write_text("text,label\nbank fails,bad\nall well,ok\nbank fails,ok\n")
    assert [example.target for example in labelled([file], Columns(), said.append)] == [1, 0]
    (told,) = said
    assert "1 of 2 texts" in told
    assert "'bank fails'" in told


def test_the_group_column_says_what_belongs_together(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.csv", "text,label,event\nfire,bad,x\nsmoke,bad,x\nsun,ok,\n")
    groups = [example.group for example in labelled([path], Columns(group="event"))]
    assert groups == ["x", "x", "sun"]


def test_a_group_of_zero_or_false_is_a_group(tmp_path: Path) -> None:
    written = {"fire": "0", "smoke": "0", "leak": "false", "sun": '""', "rain": "null"}
    rows = (f'{{"text": "{text}", "label": "bad", "event": {event}}}\n' for text, event in written.items())
    path = _written(tmp_path, "a.jsonl", "".join(rows))
    groups = [example.group for example in labelled([path], Columns(group="event"))]
    assert groups == ["0", "0", "False", "sun", "rain"]


def test_a_group_with_half_a_character_is_named_with_its_line(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.jsonl", '{"text": "fire", "label": "bad", "event": "x \\ud83d"}\n')
    with pytest.raises(SourceError, match="line 1: the group holds half a character"):
        labelled([path], Columns(group="event"))


def test_a_packed_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = _written(tmp_path, "a.jsonl.gz", '{"text": "fire", "label": "bad"}\n' * 2000)
    data = bytearray(path.read_bytes())
    data[30:60] = b"\xff" * 30
    path.write_bytes(data)
    with pytest.raises(SourceError, match="cannot be read"):
        labelled([path], Columns())


def test_a_header_that_no_table_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.data.labelled_file, "_CELL", 10)
    path = _written(tmp_path, "a.csv", "text,label,a_column_longer_than_any\nfire,bad,1\n")
    before = csv.field_size_limit()
    try:
        with pytest.raises(SourceError, match="line 1 is no header of a table"):
            labelled([path], Columns())
    finally:
        csv.field_size_limit(before)  # one for the whole process
