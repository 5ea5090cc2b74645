"""The archive: each signal once, whoever is killed when; slices come back as they were; what is lost is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from deployed import wait_until
from score_history import START_US, STREAMS, History, make_history, write_history, write_scores

from pipeline.archive import files
from pipeline.archive.archive import Archive
from pipeline.archive.chunks import only_writer
from pipeline.detect.digest import digest
from pipeline.errors import ArchiveError, ConfigurationError, LogLost
from pipeline.instants import DAY_US, from_datetime
from pipeline.kafka import archive as archiving
from pipeline.kafka.archive import Archiver
from pipeline.kafka.client import producer_config
from pipeline.kafka.names import Names
from pipeline.kafka.past import Past
from pipeline.kafka.registry import Registry
from pipeline.kafka.score_topic import ScoreTopic
from pipeline.records import ScoreSlice, encode
from pipeline.scored_flow import ScoredFlow
from pipeline.settings import Settings
from pipeline.stream_file import StreamFile
from pipeline.streams import Turn

MakeTopics = Callable[[str], StreamFile]


@pytest.fixture
def history(kafka_settings: Settings, make_topics: MakeTopics) -> History:
    """A history that the score log holds."""
    return write_history(kafka_settings, make_topics(STREAMS).streams["logs"])


def archive_all(settings: Settings, *, accept_hole: bool = False, registry: Registry | None = None) -> Archive:
    archive = Archive(settings.archive_folder)
    archiver = Archiver(archive, ScoreTopic(settings), registry or Registry(settings))
    for _ in archiver.run(accept_hole=accept_hole):
        pass
    return archive


def signals_in(folder: Path) -> list[tuple[str, int]]:
    """The place of every signal that a tool finds in the archive's files, sorted."""
    found = []
    for path in folder.glob("signals/stream=*/day=*/*.parquet"):
        table = pq.ParquetFile(path).read()
        found += zip(table.column("clock").to_pylist(), table.column("position").to_pylist(), strict=True)
    return sorted(found)


def by_clock(slices: list[ScoreSlice]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for one in slices:
        found.setdefault(one.slice.partition, []).append(encode(one))
    return found


def delete_before(settings: Settings, partition: int, offset: int) -> None:
    admin = AdminClient({"bootstrap.servers": str(settings.kafka)})
    place = TopicPartition(Names.of(settings).scores, partition, offset)
    for future in admin.delete_records([place]).values():
        future.result()


def environment_of(settings: Settings) -> dict[str, str]:
    return os.environ | {
        "TOCSIN_KAFKA": str(settings.kafka),
        "TOCSIN_KAFKA_PREFIX": settings.kafka_prefix,
        "TOCSIN_KAFKA_SIGNAL_PARTITIONS": "2",
        "TOCSIN_ARCHIVE": str(settings.archive_folder),
    }


def test_what_is_archived_comes_back_bit_for_bit(kafka_settings: Settings, history: History) -> None:
    archive = archive_all(kafka_settings)
    assert archive.streams() == ["logs"]
    slices = list(archive.slices("logs"))
    assert by_clock([one.scored for one in slices]) == by_clock(history.slices)
    places = [(one.partition, one.offset) for one in slices]
    assert len(set(places)) == len(places) == len(history.slices)
    assert signals_in(kafka_settings.archive_folder) == history.signals
    assert [turn.definition for turn in archive.turns("logs")] == [history.definition]


def test_a_signal_lies_under_the_day_of_its_event_time(kafka_settings: Settings, history: History) -> None:
    archive_all(kafka_settings)
    days = set()
    for path in kafka_settings.archive_folder.glob("signals/stream=logs/day=*/*.parquet"):
        day = path.parent.name.removeprefix("day=")
        days.add(day)
        table = pq.ParquetFile(path).read()
        assert {time.date().isoformat() for time in table.column("time").to_pylist()} == {day}
    assert len(days) == 3
    late = [s for one in history.slices for s in one.slice.signals if s.late and s.text]
    assert {s.time_us // DAY_US for s in late} >= {20_000, 20_001}  # older days than those in which they came


def test_rows_say_what_a_tool_asks_for(kafka_settings: Settings, history: History) -> None:
    archive_all(kafka_settings)
    rows = [
        row
        for path in kafka_settings.archive_folder.glob("signals/*/*/*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]
    by_place = {(row["clock"], row["position"]): row for row in rows}
    for one in history.slices:
        for s, probability in zip(one.slice.signals, one.probabilities, strict=True):
            row = by_place[one.slice.partition, s.position]
            assert (row["text"], row["late"], row["probability"], row["model"]) == (
                s.text,
                s.late,
                probability,
                "null-1",
            )
            assert from_datetime(row["time"]) == s.time_us
            if s.counted:
                assert (row["bad"], row["counted_bad"], row["counted_total"]) == (None, 1, 3)
            else:
                assert row["bad"] == (probability >= 0.5)


def test_archiving_again_adds_what_is_new_and_nothing_else(kafka_settings: Settings, make_topics: MakeTopics) -> None:
    history = make_history(Names.of(kafka_settings), make_topics(STREAMS).streams["logs"])
    registry = Registry(kafka_settings)
    registry.write_turn(Turn(1, history.definition))
    for n, first in enumerate(range(0, len(history.slices), 50), 1):
        write_scores(kafka_settings, history.slices[first : first + 50])
        for _ in range(2):
            assert archive_all(kafka_settings, registry=registry).last == n
    assert signals_in(kafka_settings.archive_folder) == history.signals
    assert by_clock([s.scored for s in Archive(kafka_settings.archive_folder).slices("logs")]) == by_clock(
        history.slices
    )


def test_states_are_kept_one_a_day_and_give_the_rest_of_the_history(
    kafka_settings: Settings, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "MOST_SIGNALS", 40)
    archive = archive_all(kafka_settings)
    assert archive.last > 20
    states = sorted(kafka_settings.archive_folder.glob("states/stream=logs/day=*/*.parquet"))
    assert len({path.parent for path in states}) == 3
    assert len(states) <= 6  # the first of each day, and the newest
    firsts = [t for t in history.transitions if t.tick_us >= history.transitions[4].tick_us]
    found = archive.state("logs", firsts[0].tick_us)
    assert found is not None
    number, state = found
    assert number > 5
    flow = ScoredFlow.from_bytes("logs", lambda _: history.definition, state, run="live")
    rest = [t for one in archive.slices("logs", number) for t in flow.apply(one.scored)]
    assert digest(t for t in rest if t.tick_us >= firsts[0].tick_us) == digest(firsts)


class Killed(BaseException):
    """The process is gone."""


def test_an_archiver_that_dies_at_any_step_is_finished_by_the_next(
    kafka_settings: Settings, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies before the first rename, or right after one: of a plan, a table, a state, a commit."""
    monkeypatch.setattr(archiving, "MOST_SIGNALS", 900)
    replace, died, registry = os.replace, 0, Registry(kafka_settings)
    for when in range(1000):
        settings = kafka_settings.model_copy(update={"archive": kafka_settings.data / f"archive-{when}"})

        def dying(old: Path, new: Path, *, left: list[int] = [when]) -> None:  # noqa: B006
            if left[0] > 0:
                replace(old, new)
            left[0] -= 1
            if left[0] <= 0:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "replace", dying)
            try:
                archive_all(settings, registry=registry)
            except Killed:
                died += 1
        found = signals_in(settings.archive_folder)
        assert len(set(found)) == len(found)  # not even then is one there twice
        archive = archive_all(settings, registry=registry)
        assert signals_in(settings.archive_folder) == history.signals
        assert by_clock([one.scored for one in archive.slices("logs")]) == by_clock(history.slices)
        assert archive.chunks.planned() is None
        state = archive.state("logs")
        assert state is not None
        assert state[0] == archive.last == 2
        if died <= when:
            break
    assert died > 10


def test_an_archiver_that_follows_takes_in_what_comes_and_ends_when_it_is_told(
    kafka_settings: Settings, make_topics: MakeTopics
) -> None:
    history = make_history(Names.of(kafka_settings), make_topics(STREAMS).streams["logs"])
    Registry(kafka_settings).write_turn(Turn(1, history.definition))
    folder, half = kafka_settings.archive_folder, len(history.slices) // 2
    following = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "archive", "--follow", "--every", "200ms"],
        env=environment_of(kafka_settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for first, end in ((0, half), (half, len(history.slices))):
            write_scores(kafka_settings, history.slices[first:end])
            expected = sum(len(one.slice.signals) for one in history.slices[:end])
            wait_until(lambda n=expected: len(signals_in(folder)) == n, "the signals")  # type: ignore[misc]
        following.send_signal(signal.SIGTERM)
        _, said = following.communicate(timeout=60)
    finally:
        following.kill()
    assert following.returncode == 0, said
    assert f"archived {len(history.signals):,} signals" in said
    assert signals_in(folder) == history.signals


def test_a_transaction_that_is_open_is_waited_for(kafka_settings: Settings, history: History) -> None:
    """What it has written is archived when it commits, and nothing before: not even what lies behind it."""
    names = Names.of(kafka_settings)
    clock = history.slices[0].slice.partition
    last = [one for one in history.slices if one.slice.partition == clock][-1]
    more = msgspec.structs.replace(
        last, slice=msgspec.structs.replace(last.slice, start=last.slice.end, end=last.slice.end + 1)
    )
    transactional = {"transactional.id": f"{names.prefix}.slow", "delivery.timeout.ms": 9_000}
    producer = Producer(producer_config(kafka_settings) | transactional)
    producer.init_transactions(10)
    producer.begin_transaction()
    producer.produce(names.scores, encode(more), partition=names.signal_partition(clock))
    producer.flush(10)
    archived = ThreadPoolExecutor(1).submit(archive_all, kafka_settings)
    with pytest.raises(TimeoutError):
        archived.result(1.0)
    producer.commit_transaction(10)
    slices = [one.scored for one in archived.result(60).slices("logs")]
    assert by_clock(slices) == by_clock([*history.slices, more])


_KILLED = """
import os, signal, sys
from pipeline.archive import files
from pipeline.kafka import archive as archiving
archiving.MOST_SIGNALS = 100
replace, left = os.replace, [int(sys.argv[1])]
def dying(old, new):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(old, new)
files.os.replace = dying
sys.argv = ["tocsin", "archive"]
from pipeline.cli.main import main
main()
"""


def test_a_command_that_is_killed_again_and_again_archives_each_signal_once(
    kafka_settings: Settings, history: History
) -> None:
    environment, codes = environment_of(kafka_settings), []
    for steps in (1, 6, 40, 100_000):
        done = subprocess.run([sys.executable, "-c", _KILLED, str(steps)], env=environment, capture_output=True)
        codes.append(done.returncode)
        found = signals_in(kafka_settings.archive_folder)
        assert len(set(found)) == len(found)
    assert codes == [-signal.SIGKILL] * 3 + [0], done.stderr
    assert signals_in(kafka_settings.archive_folder) == history.signals


def test_a_state_that_a_restored_backup_lacks_is_made_again(
    kafka_settings: Settings, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "MOST_SIGNALS", 300)
    folder = kafka_settings.archive_folder
    archiver = Archiver(Archive(folder), ScoreTopic(kafka_settings), Registry(kafka_settings))
    for _ in zip(range(3), archiver.run(), strict=False):
        pass
    for path in folder.glob("states/*/*/*.parquet"):
        if path.stem != "00000001":
            path.unlink()
    archive = archive_all(kafka_settings)
    state = archive.state("logs")
    assert state is not None
    assert state[0] == archive.last > 3
    flow = ScoredFlow("logs", lambda _: history.definition, run="live")
    for one in archive.slices("logs"):
        flow.apply(one.scored)
    assert state[1] == flow.to_bytes()


def test_what_is_forgotten_leaves_later_ranges_whole(
    kafka_settings: Settings, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "MOST_SIGNALS", 100)
    archive = archive_all(kafka_settings)
    last_us = history.transitions[-1].tick_us
    before = Past(kafka_settings).replay(["logs"], last_us, last_us + DAY_US)
    assert digest(t for step in before.steps() for t in step.transitions) == digest(history.transitions[-2:])
    assert archive.forget("logs", last_us) > 10
    assert archive.forget("logs", last_us) == 0
    assert 0 < len(signals_in(kafka_settings.archive_folder)) < len(history.signals) / 2
    after = Past(kafka_settings).replay(["logs"], last_us, last_us + DAY_US)
    assert digest(t for step in after.steps() for t in step.transitions) == digest(history.transitions[-2:])
    with pytest.raises(LogLost, match="neither in"):
        list(Past(kafka_settings).replay(["logs"], START_US, last_us).steps())
    assert archive_all(kafka_settings).last == archive.last


def test_only_one_process_writes_an_archive(tmp_path: Path) -> None:
    refused = pytest.raises(ArchiveError, match=f"process {os.getpid()}")
    with only_writer(tmp_path / "a"), refused, only_writer(tmp_path / "a"):
        pass
    with only_writer(tmp_path / "a"):
        pass


@pytest.fixture
def half_archived(kafka_settings: Settings, history: History) -> None:
    """The archive holds the first chunk, and the log has lost what lies behind it."""
    archiver = Archiver(Archive(kafka_settings.archive_folder), ScoreTopic(kafka_settings), Registry(kafka_settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archiving, "MOST_SIGNALS", 200)
        next(archiver.run())
    head = Archive(kafka_settings.archive_folder).head
    assert head is not None
    for n, position in head.positions.items():
        delete_before(kafka_settings, n, position + 40)


@pytest.mark.usefixtures("half_archived")
def test_what_retention_removed_before_it_was_archived_is_an_error(kafka_settings: Settings, history: History) -> None:
    with pytest.raises(LogLost, match=r"past its retention.*Nothing was skipped.*--from-log-start"):
        archive_all(kafka_settings)
    archive = archive_all(kafka_settings, accept_hole=True)
    found = signals_in(kafka_settings.archive_folder)
    assert set(found) < set(history.signals)
    assert history.signals[-1] in found
    assert archive.last > 1
    assert archive_all(kafka_settings).last == archive.last  # the hole is behind it
    state = archive.state("logs")
    assert state is not None
    assert state[0] == 1  # nothing behind the hole can be folded


def test_a_chunk_whose_log_is_gone_is_not_finished_in_half(
    kafka_settings: Settings, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between its tables; before the next call retention removes a part of what it covers."""
    replace, renamed = os.replace, []

    def dying(old: Path, new: Path) -> None:
        replace(old, new)
        renamed.append(new)
        if "signals" in str(new):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", dying)
        with pytest.raises(Killed):
            archive_all(kafka_settings)
    assert renamed[-1].exists()
    delete_before(kafka_settings, 0, 40)
    with pytest.raises(LogLost, match=r"chunk 1 .* was begun and not finished.*--from-log-start"):
        archive_all(kafka_settings)
    archive_all(kafka_settings, accept_hole=True)
    found = signals_in(kafka_settings.archive_folder)
    assert len(set(found)) == len(found)
    assert set(found) < set(history.signals)


def test_a_topic_that_was_made_anew_is_not_archived_into_the_same_folder(
    kafka_settings: Settings, make_topics: MakeTopics, history: History
) -> None:
    archive_all(kafka_settings)
    name = Names.of(kafka_settings).scores
    admin = AdminClient({"bootstrap.servers": str(kafka_settings.kafka)})
    admin.delete_topics([name])[name].result()
    make_topics(STREAMS)
    with pytest.raises(ConfigurationError, match="deleted since"):
        archive_all(kafka_settings)
