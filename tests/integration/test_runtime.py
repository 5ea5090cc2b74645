"""The local runtime on a real Postgres: changed stream files, restarts, and what stops it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from live import FATES, Live, until
from structlog.testing import capture_logs

from alerts import tables
from alerts.routing import LIVE_RUN
from alerts.store import create_engine
from pipeline.detect.digest import digest
from pipeline.errors import DataFolderLocked, StateMismatch
from pipeline.runtime.checkpoint import CheckpointStore
from pipeline.runtime.partitions import Partitions
from pipeline.runtime.recorded import replay_recorded
from pipeline.scoring.null_engine import NullEngine
from pipeline.stream_file import parse

START = datetime(2024, 5, 6, tzinfo=UTC)
STREAM = '[streams.logs]\nkind = "logs"\ntick = "1m"\nlateness = "1m"\nclock = "data"\ngroup = ["source"]\n'
PUSH = '[[streams.logs.sources]]\nkind = "push"\n'
OTHER = '[[streams.logs.sources]]\nname = "other"\nkind = "push"\n'
ONE = STREAM + PUSH
TWO = STREAM + PUSH + OTHER


@pytest.fixture
def live(tmp_path: Path, database_url: str) -> Live:
    return Live(tmp_path, database_url, ONE)


def texts() -> tuple[str, str]:
    """A text that the null engine calls bad, and one that it does not."""
    engine = NullEngine()
    words = [f"word {chr(97 + n)}" for n in range(26)]
    scores = {word: engine.score(engine.encode([word], "logs"))[0].probability for word in words}
    return max(words, key=lambda w: scores[w]), min(words, key=lambda w: scores[w])


def minutes(first: int, end: int, *burst: int) -> list[bytes]:
    """Lines of some minutes, with a burst in some of them."""
    bad, good = texts()
    return [
        json.dumps(
            {
                "id": f"{minute}/{i}",
                "time": (START + timedelta(minutes=minute, seconds=i)).isoformat(),
                "text": bad if minute in burst or (minute + i) % 9 == 0 else good,
                "source": "web",
            }
        ).encode()
        for minute in range(first, end)
        for i in range(40 if minute in burst else 5)
    ]


def push(live: Live, items: list[bytes], into: str | None = None) -> int:
    where = f"&into={into}" if into else ""
    answer = live.post(f"/v1/items?stream=logs{where}", b"\n".join(items))
    assert answer.status_code == 202, answer.text
    return int(answer.json()["accepted"])


def replay_digest(live: Live) -> str:
    """The digest of a replay of what is recorded."""
    engine = create_engine(live.database_url, pool_size=1)
    positions, _ = CheckpointStore(engine, LIVE_RUN).load()
    engine.dispose()
    data = live.folder / "data"
    return digest(list(replay_recorded(data / "journal", data / "scores", positions, run=LIVE_RUN, buckets=1)))


CHANGES = {
    "another tick": ONE.replace('"1m"\nlateness', '"2m"\nlateness'),
    "a source added": TWO,
    "another name": STREAM + PUSH.replace('kind = "push"', 'name = "renamed"\nkind = "push"'),
    "nothing of it": '[streams.news]\nkind = "news"\ntick = "1h"\n' + PUSH.replace("logs", "news"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_stream_file_loses_and_repeats_nothing(live: Live, change: str) -> None:
    """Under one definition, another, and the first again; a surge is open when it changes."""
    accepted = 0
    with live.up():
        accepted += push(live, minutes(0, 50, 44, 45, 46, 47, 48, 49))
        live.folded()
    assert [t.state for t in live.transitions()][:1] == ["opened"]
    live.streams = CHANGES[change]
    with live.up():
        if change != "nothing of it":
            into = "renamed" if change == "another name" else "push"
            accepted += push(live, minutes(50, 60, 50), into)
            if change == "a source added":
                accepted += push(live, minutes(50, 60), "other")
        live.folded()
    live.streams = ONE
    with live.up():
        accepted += push(live, minutes(60, 70))
        live.heartbeat((START + timedelta(minutes=80)).isoformat())
        live.folded()
    counts = live.counts()
    assert counts["accepted"] == accepted == sum(counts[fate] for fate in FATES)
    assert counts["counted"] == accepted  # each source has its own memory for ids, and nothing is late
    found = live.transitions()
    assert len({(t.id, t.sequence) for t in found}) == len(found)
    assert digest(found) == replay_digest(live)


def test_a_change_of_which_nothing_was_folded_and_its_return_hold_nothing_up(live: Live) -> None:
    with live.up():
        accepted = push(live, minutes(0, 5))
        live.folded()
    for text in (TWO, CHANGES["another tick"]):  # two starts that died before they folded anything
        Partitions(live.folder / "data" / "journal", parse(text, "").streams, now_us=1).close()
    with live.up():
        accepted += push(live, minutes(5, 10))
        live.folded()
    assert live.counts()["counted"] == accepted
    assert {row.position for row in live.rows(tables.positions)} == {accepted + 4, 3}  # with its definitions


def test_a_restart_goes_on_where_it_was(live: Live) -> None:
    items = minutes(0, 60, 40, 41, 42)
    for start in range(0, len(items), 97):
        with live.up():
            push(live, items[start : start + 97])
            if start % 2:
                live.folded()
    with live.up():
        push(live, items[:50])  # known ids
        live.heartbeat((START + timedelta(minutes=70)).isoformat())
        live.folded()
    counts = live.counts()
    assert (counts["counted"], counts["duplicates"]) == (len(items), 50)
    assert {t.state for t in live.transitions()} >= {"opened", "resolved"}
    assert digest(live.transitions()) == replay_digest(live)


def test_a_data_folder_has_one_pipeline(live: Live) -> None:
    other = Live(live.folder, live.database_url, ONE)
    with live.up(), pytest.raises(DataFolderLocked, match="stop it, or set TOCSIN_DATA"), other.up():
        pass


def test_another_number_of_buckets_stops_with_what_to_do(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    with live.up():
        push(live, minutes(0, 3))
        live.folded()
    monkeypatch.setenv("TOCSIN_BUCKETS", "3")
    with capture_logs(), live.up():
        runtime = live.runtime
        assert runtime is not None
        until(lambda: runtime.error is not None)
    assert isinstance(runtime.error, StateMismatch)
    assert "set TOCSIN_BUCKETS=1" in str(runtime.error)
