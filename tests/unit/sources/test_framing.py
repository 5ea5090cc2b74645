"""Lines out of bytes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sources.framing import BROKEN_BYTES, Framed, Framer, Lines


def items(framer: Framer, blocks: list[bytes]) -> list[tuple[bytes, str]]:
    """(payload, note) of all that the blocks hold."""
    framed: list[Framed] = []
    for block in blocks:
        framed += framer.feed(block)
    framed += framer.finish()
    return [(payload, each.note) for each in framed for payload in each.payloads]


def lines(*blocks: bytes, limit: int = 1000) -> list[bytes]:
    return [payload for payload, _ in items(Lines(max_item_bytes=limit), list(blocks))]


def test_each_line_is_an_item_whatever_its_line_end() -> None:
    assert lines(b"a\nb\r\n\r\n\nc\r\r\n") == [b"a", b"b", b"c"]


def test_the_last_line_needs_no_line_end() -> None:
    assert lines(b"a\nb") == [b"a", b"b"]


def test_a_partial_line_is_held_until_its_end_comes() -> None:
    framer = Lines()
    assert framer.feed(b"a\nb") == [Framed([b"a"], "", 2)]
    assert framer.consumed == 2
    assert framer.feed(b"c") == []
    assert framer.feed(b"d\n") == [Framed([b"bcd"], "", 6)]


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert lines(b"\xef\xbb\xbfa\n\xef\xbb\xbfb") == [b"a", b"\xef\xbb\xbfb"]
    assert lines(b"\xef\xbb", b"\xbfa") == [b"a"]


def test_nul_bytes_stay_in_their_line() -> None:
    assert lines(b"\0\0a\0\nb") == [b"\0\0a\0", b"b"]


def test_an_overlong_line_is_broken_and_reading_goes_on_after_it() -> None:
    long = b"x" * 50_000_000
    block = b"before\n" + long + b"\nafter\n"
    blocks = [block[i : i + 2**18] for i in range(0, len(block), 2**18)]
    framer = Lines(max_item_bytes=2**20)
    found = items(framer, blocks)
    assert [payload[:7] for payload, _ in found] == [b"before", b"xxxxxxx", b"after"]
    assert len(found[1][0]) == BROKEN_BYTES
    assert "1,048,576 bytes" in found[1][1]
    assert framer.consumed == len(block)


@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bcdefg", b"\xef\xbb\xbf", b"\0", b"xxxxxxxxxxxxxxxx"])),
    st.lists(st.integers(0, 60)),
)
@settings(max_examples=200)
def test_where_blocks_are_cut_changes_nothing(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    blocks = [data[a:b] for a, b in pairwise(edges)]
    whole, cut = Lines(max_item_bytes=12), Lines(max_item_bytes=12)
    expected = items(whole, [data])
    assert items(cut, blocks) == expected
    assert cut.consumed == whole.consumed == len(data)
    plain = [line.rstrip(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    assert [payload for payload, note in expected if not note] == [
        line for line, raw in zip(plain, data.split(b"\n"), strict=True) if line and len(raw) <= 12
    ]


@given(st.lists(st.sampled_from([b"\n", b"a", b"bcd", b"xxxxxxxxxxxxxxxx"])), st.data())
@settings(max_examples=200)
def test_reading_can_go_on_where_any_batch_ended(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    framed = Lines(max_item_bytes=12).feed(stream)
    if not framed:
        return
    k = data.draw(st.integers(0, len(framed) - 1))
    assert Lines(max_item_bytes=12, start=framed[k].end).feed(stream[framed[k].end :]) == framed[k + 1 :]
