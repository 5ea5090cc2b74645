"""The state of ingest on Kafka: what fits into the metadata of a committed offset. Pure.

It is committed in the transaction that commits the offset and the slices, so the three cannot part. The definition in
force stands there by its number; the registry holds it. The memory for ids is not there: `ids_from` says from which
offset of `signals` on it is read back.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from pipeline import streams
from pipeline.errors import UnknownRecord
from pipeline.ingest.state import IngestState
from pipeline.records import LEFT_US, decode, encode
from pipeline.streams import Turn

#: What Kafka takes as metadata by default (`offset.metadata.max.bytes`).
MAX_METADATA = 4096
#: `ids_from` where no item has brought an id yet.
NO_IDS = -1


class KeptState(msgspec.Struct, array_like=True, frozen=True):
    """The fold's state without its definitions: the number of the one in force is `turn`, of the one that follows
    `pending` (0: none). `topic_id` is that of the raw topic."""

    topic_id: str
    turn: int
    ids_from: int
    state: IngestState
    pending: int = 0

    @property
    def watermark_us(self) -> int | None:
        """The clock's watermark: `LEFT_US` when the partition has left, None before the first event time."""
        return LEFT_US if self.state.left else self.state.watermark_us

    def fold_state(self, turn: Turn, pending: Turn | None) -> bytes:
        """The state as the fold saved it, given the turns that `turn` and `pending` are the numbers of."""
        following = streams.to_note(pending) if pending is not None else ""
        return encode(msgspec.structs.replace(self.state, turn=streams.to_note(turn), pending=following))


def encode_state(state: bytes, *, topic_id: str, ids_from: int) -> str:
    """A saved state of the ingest fold as metadata. Raises UnknownRecord when it is longer than Kafka takes."""
    saved = decode(state, IngestState)
    turn = streams.from_note(saved.turn).number
    pending = streams.from_note(saved.pending).number if saved.pending else 0
    kept = KeptState(topic_id, turn, ids_from, msgspec.structs.replace(saved, turn="", pending=""), pending)
    text = base64.b64encode(encode(kept)).decode()
    if len(text) > MAX_METADATA:
        raise UnknownRecord(f"the state of {saved.partition} takes {len(text)} bytes, more than {MAX_METADATA}")
    return text


def decode_state(metadata: str) -> KeptState:
    """What `encode_state` made. Raises UnknownRecord for anything else."""
    if not metadata:
        raise UnknownRecord(
            "the committed offset has no state with it: someone has set it with a tool of Kafka. Restore the group's "
            "offsets, or begin a new deployment (another TOCSIN_KAFKA_PREFIX)"
        )
    try:
        data = base64.b64decode(metadata, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnknownRecord(f"the metadata of a committed offset is none of Tocsin's: {error}") from None
    return decode(data, KeptState)
