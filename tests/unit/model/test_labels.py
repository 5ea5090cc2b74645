"""How likely each set's texts are bad, by what it says of them; and which of them are left out."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from model.data.contrast import contrast
from model.data.example import Example
from model.data.log_lines import bgl_templates, loghub
from model.data.public_sets import crisislex_t6, crisislex_t26, decisions, sentfin, who_don

DATA = Path(__file__).parents[3].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the public data sets are not on this machine")

Row = tuple[str, ...]


def _targets(
    load: Callable[[Path], Iterator[Example]], folder: Path, name: str, head: Row, rows: Sequence[Row]
) -> dict[str, float]:
    """The target of each text that is kept of a set with these rows."""
    written = io.StringIO()
    csv.writer(written).writerows([head, *rows])
    path, text = folder / name, written.getvalue().encode()
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return {example.text: example.target for example in load(folder)}


def test_decisions_with_an_apostrophe_are_read() -> None:
    assert decisions("{'Bank': 'negative', 'Gold': 'neutral'}") == {"Bank": "negative", "Gold": "neutral"}
    assert decisions("{'Dr Reddy's': 'positive'}") == {"Dr Reddy's": "positive"}


def test_a_headline_is_bad_when_it_hurts_some_entity_and_none_gains(tmp_path: Path) -> None:
    said = {
        "a mill burns": "{'A': 'negative', 'B': 'neutral'}",
        "a mill opens": "{'A': 'positive'}",
        "a mill meets": "{'A': 'neutral'}",
        "a mill buys another": "{'A': 'negative', 'B': 'positive'}",
        "nothing": "{}",
    }
    found = _targets(sentfin, tmp_path, "news/sentfin/SEntFiN.csv", ("Title", "Decisions"), list(said.items()))
    assert found == {"a mill burns": 1.0, "a mill opens": 0.0, "a mill meets": 0.0}


@needs_data
def test_every_headline_has_a_label() -> None:
    found = list(sentfin(DATA))
    assert 10_500 < len(found) < 10_753  # all but those with both positive and negative entities
    assert 0.25 < sum(example.target for example in found) / len(found) < 0.35


def test_a_tweet_on_the_topic_of_a_disaster_is_mostly_bad(tmp_path: Path) -> None:
    rows = [("1", "roof gone", "on-topic"), ("2", "a new song", "off-topic")]
    name = "news/crisislex/t6/2013_Some_Flood-ontopic_offtopic.csv"
    found = _targets(crisislex_t6, tmp_path, name, ("tweet id", " tweet", " label"), rows)
    assert found == {"roof gone": 0.9, "a new song": 0.03}


def test_a_tweet_is_bad_when_it_tells_of_harm(tmp_path: Path) -> None:
    rows = [
        ("nine dead", "Affected individuals", "Related and informative", 0.95),
        ("no power in town", "Infrastructure and utilities", "Related and informative", 0.85),
        ("stay indoors", "Caution and advice", "Related and informative", 0.8),
        ("so sad about the dead", "Affected individuals", "Related - but not informative", None),
        ("thoughts are with you", "Sympathy and support", "Related - but not informative", None),
        ("give blood on Monday", "Donations and volunteering", "Related and informative", None),
        ("a new song", "Not labeled", "Not related", 0.03),
        ("???", "Not labeled", "Not applicable", None),
    ]
    head = ("Tweet ID", " Tweet Text", " Information Source", " Information Type", " Informativeness")
    lines = [("1", text, "Media", kind, informative) for text, kind, informative, _ in rows]
    found = _targets(crisislex_t26, tmp_path, "news/crisislex/t26/2013_Flood-tweets_labeled.csv", head, lines)
    assert found == {text: target for text, _, _, target in rows if target is not None}


def test_a_report_of_an_outbreak_is_bad_unless_it_may_tell_of_an_end(tmp_path: Path) -> None:
    report = "Nine people in two villages of the district fell ill with cholera"
    rows = [
        ("2001-02-03", f"3 February 2001 {report}"),
        ("2001-02-04", f"{report}, and the outbreak is now over"),
        ("2001-02-05", "too short to tell"),
    ]
    found = _targets(who_don, tmp_path, "health/who_don_1996_2015.csv.gz", ("Date", "Description"), rows)
    assert found == {report: 0.97}


@pytest.mark.parametrize(
    ("system", "line", "target"),
    [
        ("Spark", "ERROR Store: write failed", 0.95),
        ("Spark", "WARN Store: connection refused", 0.9),
        ("Spark", "INFO Store: block written", 0.03),
        ("Spark", "INFO Store: write succeeded", 0.03),
        ("Spark", "INFO Store: write failed", None),  # the level and the words disagree
        ("Spark", "ERROR Store: write recovered", None),
        ("Spark", "WARN Store: block written", None),
        ("Linux", "cron: session opened", 0.03),
        ("BGL", "KERNX 1 RAS KERNEL INFO a word of any kind", 0.97),
        ("BGL", "- 1 RAS KERNEL INFO a word of any kind", 0.03),
        ("BGL", "- 1 RAS KERNEL FATAL a fan failed", None),  # no alert, for all its words
        ("Thunderbird", "ECC 1 a word of any kind", 0.97),
        ("Thunderbird", "- 1 a word of any kind", 0.03),
    ],
)
def test_a_log_line_is_bad_by_its_alert_or_by_level_and_words(
    tmp_path: Path, system: str, line: str, target: float | None
) -> None:
    (tmp_path / "logs/loghub").mkdir(parents=True)
    (tmp_path / f"logs/loghub/{system}_2k.log").write_text(line + "\n")
    assert {example.target for example in loghub(tmp_path)} == ({target} if target else set())


def test_a_template_of_bgl_is_bad_by_its_alert_and_left_out_where_it_speaks_of_failure_without_one(
    tmp_path: Path,
) -> None:
    rows = [
        ("2005-06-03 10:00:00", "1", "machine check"),
        ("2005-06-03 10:00:01", "1", "a fan failed"),
        ("2005-06-03 10:00:02", "0", "ciod started"),
        ("2005-06-03 10:00:03", "0", "a disk Failed"),
        ("2005-06-03 10:00:04", "0", "error loading a program"),
    ]
    head = ("ts", "bad", "EventTemplate")
    found = _targets(
        lambda folder: bgl_templates(folder, until="2006"), tmp_path, "logs/bgl_first_day.csv.gz", head, rows
    )
    assert found == {"machine check": 0.97, "a fan failed": 0.97, "ciod started": 0.03}


def test_a_sentence_of_the_project_is_bad_by_its_list_and_a_measure_by_its_sort_and_way() -> None:
    found = {example.text: example.target for example in contrast(subjects=40)}
    bad = ("losses rose", "profit fell", "hospital admissions rose", "blood stocks fell")
    fine = ("losses fell", "profit rose", "hospital admissions fell", "blood stocks rose")
    assert {found[text] for text in (*bad, "huge explosion just now, people are hurt")} == {0.98}
    assert {found[text] for text in (*fine, "totally bombed my chem exam, oh well, pizza time")} == {0.02}
