"""How far a file was read, and by what it is known again after a restart, a rotation or a copy."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec.structs import replace

from pipeline.sources.files import OpenFile, as_text

#: Bytes of content that a file is known by: at its beginning, and before the place where reading stopped.
PRINT_BYTES = 512
#: A file is taken for a copy or a later version of another one when it repeats at least so much of it; less will
#: do when its name says that a rotation put it aside and the other one is gone.
ENOUGH_BYTES = 256


class Progress(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """What the mark of a file holds. `offset` counts bytes of unpacked content that are in the journal.

    `head` and `tail` are fingerprints of what was read: its first 512 bytes, and the last 512 before `offset`
    that are not among them (`tail` "": not known, for packed files). `name` is the file's last name, `seen_us`
    when it was last read, `packed_bytes` the size at which a packed file was read to its end (0: it was not).
    """

    name: str
    offset: int = 0
    head: str = ""
    tail: str = ""
    seen_us: int = 0
    packed_bytes: int = 0

    def to_mark(self) -> str:
        return msgspec.json.encode(replace(self, name=as_text(self.name))).decode()


def from_mark(value: str) -> Progress:
    """The progress in a mark. Raises msgspec.MsgspecError when it is none."""
    return msgspec.json.decode(value, type=Progress)


def fingerprint(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def prints_of(file: OpenFile, offset: int, packed_head: bytes) -> tuple[str, str]:
    """`head` and `tail` of a file that was read to `offset`; `packed_head` is how a packed one begins."""
    if file.packed:
        return fingerprint(packed_head[:offset]), ""
    size = _tail_bytes(offset)
    head = file.peek(min(PRINT_BYTES, offset), 0)
    return fingerprint(head), fingerprint(file.peek(size, offset - size))


def goes_on(file: OpenFile, progress: Progress) -> bool:
    """Whether a file begins with all that was read of the one in `progress`, as far as the fingerprints tell.

    Leaves the file at an arbitrary place.
    """
    if not progress.offset:
        return True
    file.go_to(0)
    if fingerprint(file.read_exactly(min(PRINT_BYTES, progress.offset))) != progress.head:
        return False
    size = _tail_bytes(progress.offset)
    if progress.tail:
        file.go_to(progress.offset - size)
        return fingerprint(file.read_exactly(size)) == progress.tail
    return True


def _tail_bytes(offset: int) -> int:
    return min(PRINT_BYTES, max(0, offset - PRINT_BYTES))
