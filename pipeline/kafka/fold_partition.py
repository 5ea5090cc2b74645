"""What bucket and judge partitions share: the folds that read one partition, and from where each goes on. Pure.

Every fold has a position: all records before it are in the fold. It is saved with the fold's state in one row, so any
mixture of older and newer rows is a valid state; that is what a process leaves that died while it saved, or one that
was taken for dead and saved what it had. Reading goes on at the smallest position; what a fold has is skipped.

Delivery: a record says after which position it is the next one. One that skips something is not taken
(`jumped`); where a fold misses a record it is held at its position, while the others go on (`gap`). Either way the
host reads again from `position`. Ordering: as in the log. Idempotence: a record that was taken is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pipeline.errors import LogLost, RangeGap
from pipeline.records import FoldRow, decode, encode

#: A fold at rest is saved again when its saved position is so many offsets behind, that it hold nobody back.
REFRESH_OFFSETS = 5_000


class Fold(Protocol):
    """A fold of one generation of a stream."""

    def to_bytes(self) -> bytes: ...


F = TypeVar("F", bound=Fold)


@dataclass(slots=True)
class Hosted(Generic[F]):
    """A fold and how far it is. `state` is that of a fold for which nothing has come yet; a fold that is `held` misses
    the record at `since`, any other is as far as the partition. `saved` is its position in its row, None without."""

    since: int
    state: bytes = b""
    fold: F | None = None
    over: bool = False
    changed: bool = False
    held: bool = False
    saved: int | None = None


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A row to write. Those that are `first` must be safe before any other is written: a row of one fold tells that
    all folds that had begun before its position have rows."""

    name: tuple[str, str]
    key: bytes
    value: bytes
    position: int
    first: bool


class FoldPartition(Generic[F]):
    """The folds that read partition `number` of a topic."""

    def __init__(self, number: int, topic_id: str, rows: Iterable[bytes] = ()) -> None:
        """`rows` are those saved. Raises LogLost where one counts in another topic, UnknownRecord."""
        self.number = number
        self._topic_id = topic_id
        self._folds: dict[tuple[str, str], Hosted[F]] = {}
        for value in rows:
            row = decode(value, FoldRow)
            if row.topic_id != topic_id:
                raise LogLost(
                    f"the state of stream {row.stream} counts in a topic that is gone (id {row.topic_id}; partition "
                    f"{number} of the topic that is there now has id {topic_id}): what lay between them is lost; "
                    "replay the stream into a new deployment (another TOCSIN_KAFKA_PREFIX)"
                )
            hosted: Hosted[F] = Hosted(row.position, row.state, over=row.over, saved=row.position)
            self._folds[row.stream, row.generation] = hosted
        #: The position after the last record that was taken.
        self.next = min((hosted.since for hosted in self._folds.values()), default=0)
        #: A record came that left some out.
        self.jumped = False
        #: What a fold misses.
        self.gap: RangeGap | None = None
        self._from_start = False

    @property
    def position(self) -> int:
        """From where the partition must be read so that no fold misses anything."""
        return min((self._position(hosted) for hosted in self._folds.values()), default=self.next)

    @property
    def saved_position(self) -> int:
        """Where the saved rows go on."""
        saved = [hosted.saved for hosted in self._folds.values() if hosted.saved is not None]
        return min(saved, default=0)

    def rewind(self) -> int:
        """Expect the record at the returned position next."""
        for hosted in self._folds.values():
            hosted.since = self._position(hosted)
            hosted.held = False
        self.next = min((hosted.since for hosted in self._folds.values()), default=self.next)
        self.jumped, self.gap = False, None
        return self.next

    def rewind_to_start(self) -> bool:
        """Give the folds that are held all that the topic holds; False when that was done before."""
        if self._from_start:
            return False
        self._from_start = True
        for hosted in self._folds.values():
            if hosted.held:
                hosted.since = 0
        return True

    def unsaved(self, *, everything: bool = False) -> list[Unsaved]:
        """The rows that have changed, those first that have none yet; with `everything` also those at rest whose
        position has moved. What they say is as of now."""
        rows = []
        for name, hosted in self._folds.items():
            position = self._position(hosted)
            behind = 0 if hosted.saved is None else position - hosted.saved
            if not (hosted.changed or behind > (0 if everything else REFRESH_OFFSETS)):
                continue
            hosted.changed = False
            if hosted.fold is not None:
                hosted_state = hosted.fold.to_bytes()
            else:
                hosted_state = hosted.state
            value = encode(FoldRow(*name, self._topic_id, position, hosted.over, hosted_state))
            rows.append(Unsaved(name, self._key(name), value, position, hosted.saved is None))
        return sorted(rows, key=lambda row: not row.first)

    def saved(self, rows: Iterable[Unsaved]) -> None:
        """These rows are safe."""
        for row in rows:
            self._folds[row.name].saved = row.position

    def _key(self, name: tuple[str, str]) -> bytes:
        return f"{name[0]}/{name[1]}/{self.number}".encode()

    def _position(self, hosted: Hosted[F]) -> int:
        return hosted.since if hosted.held else max(hosted.since, self.next)

    def _is_next(self, after: int, offset: int) -> bool:
        """Whether a record, the only one in [after, offset], is to be taken."""
        if after > self.next:
            self.jumped = True
            return False
        self.jumped = False
        return offset >= self.next

    def _of(self, name: tuple[str, str], offset: int) -> Hosted[F] | None:
        """The fold that the record at `offset` is for, None when it has it already."""
        hosted = self._folds.get(name)
        if hosted is None:
            # Read without a gap up to here, and every fold that had begun before was saved: it begins now.
            hosted = self._folds[name] = Hosted(self.next)
        if hosted.over or (not hosted.held and hosted.since > offset):
            return None
        return hosted

    def _hold(self, hosted: Hosted[F], gap: RangeGap) -> None:
        """The fold misses a record before this one: it stays where it is until the partition is read again."""
        self.gap = gap
        if not hosted.held:
            hosted.since = self._position(hosted)
            hosted.held = True
            if hosted.saved is None and not hosted.changed:
                hosted.since = 0  # it had begun before, and its row is gone

    def _taken(self, offset: int) -> None:
        self.next = offset + 1
