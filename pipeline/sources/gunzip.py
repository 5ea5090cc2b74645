"""Gzip, unpacked piece by piece in constant memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable

_PACKED_BYTES = 16 * 1024

#: What gzip begins with.
MAGIC = b"\x1f\x8b"


class Gunzip:
    """Unpacks what `read` gives: one member or several, padded with zeros or not (RFC 1952 section 2.2, tar).

    What is cut or damaged ends early: what could be unpacked is read, then `damage` says what happened.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._packed = read
        self._inflater = zlib.decompressobj(wbits=31)
        self._between_members = False
        self.damage = ""

    def read(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        while not self.damage:
            left = self._inflater.unconsumed_tail
            if self._inflater.eof:
                left = self._inflater.unused_data
                self._inflater = zlib.decompressobj(wbits=31)
                self._between_members = True
            packed = left or self._packed(_PACKED_BYTES)
            if self._between_members:
                while not (packed := packed.lstrip(b"\0")):
                    if not (packed := self._packed(_PACKED_BYTES)):
                        return b""
            try:
                unpacked = self._inflater.decompress(packed, size)
            except zlib.error as error:
                self.damage = f"the gzip data is damaged ({error})"
                return b""
            self._between_members = False
            if unpacked:
                return unpacked
            if not packed and not self._inflater.eof:
                self.damage = "the gzip file is cut off in the middle"
        return b""
