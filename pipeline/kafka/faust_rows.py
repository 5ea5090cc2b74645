"""The rows of a Faust table, in memory, by partition.

Faust's own store in memory does not say up to where of the changelog it is, so that every change of the group would
read all of it again, and forgets what it held for a standby. This one keeps both for as long as the partition stays
with the process, active or standby.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from faust.stores import base
from faust.types import TP


class RowStore(base.Store):  # type: ignore[type-arg]
    """What the changelog says under each key. A partition that left has no rows: read it again from its start."""

    def __post_init__(self) -> None:
        self._rows: dict[int, dict[bytes, bytes]] = {}
        self._reached: dict[int, int] = {}

    @property
    def _changelog(self) -> str:
        return self.table.changelog_topic.get_topic_name()

    def rows(self, partition: int) -> list[bytes]:
        """Every row of a partition."""
        return list(self._rows.get(partition, {}).values())

    def put(self, partition: int, key: bytes, value: bytes) -> None:
        """A row that the changelog has by now."""
        if partition in self._rows:
            self._rows[partition][key] = value

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        for event in batch:
            message = event.message
            # Faust may hand over an event of a partition that has left, or of another table.
            if message.topic != self._changelog or message.partition not in self._rows or message.key is None:
                continue
            if message.value is None:
                self._rows[message.partition].pop(message.key, None)
            else:
                self._rows[message.partition][message.key] = message.value
            self._reached[message.partition] = message.offset

    def persisted_offset(self, tp: TP) -> int | None:
        return self._reached.get(tp.partition)

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        if tp.partition in self._rows:
            self._reached[tp.partition] = max(offset, self._reached.get(tp.partition, -1))

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        here = {tp.partition for tp in assigned if tp.topic == self._changelog}
        for partition in self._rows.keys() - here:
            del self._rows[partition]
            self._reached.pop(partition, None)
        for partition in here:
            self._rows.setdefault(partition, {})

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Nothing: its base in memory drops the rows of standbys here."""

    def reset_state(self) -> None:
        """Nothing is on disk."""

    async def backup_partition(self, tp: TP | int, flush: bool = True, purge: bool = False, keep: int = 1) -> None:
        """Nothing: the changelog is the copy."""

    def restore_backup(self, tp: TP | int, latest: bool = True, backup_id: int = 0) -> None:
        """Nothing: the changelog is the copy."""
