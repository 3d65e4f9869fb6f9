"""Command lines, however their octets are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mailboat.smtp.lines import LineBuffer, LineFault

parts = st.lists(st.sampled_from([b"NOOP", b"\r\n", b"\n", b"\r", b" ", b"x" * 40]), max_size=12).map(b"".join)


def lines(raw: bytes, cuts: list[int], limit: int = 60) -> list[bytes | LineFault]:
    buffer, found, start = LineBuffer(), list[bytes | LineFault](), 0
    for cut in [*cuts, len(raw)]:
        buffer.feed(raw[start:cut])
        start = cut
        while (line := buffer.next_line(limit)) is not None:
            found.append(line)
    return found


@given(parts)
def test_cuts_do_not_change_the_lines(raw: bytes) -> None:
    whole = lines(raw, [])
    assert lines(raw, list(range(1, len(raw)))) == whole
    for cut in range(1, len(raw)):
        assert lines(raw, [cut]) == whole


def test_only_crlf_ends_a_command() -> None:
    assert lines(b"NOOP\r\nRSET\nQU\rIT\r\n\r\n", []) == [
        b"NOOP",
        LineFault.BARE_NEWLINE,
        LineFault.BARE_NEWLINE,
        b"",
    ]


def test_a_line_of_a_mebibyte_is_one_fault_and_the_next_line_is_read() -> None:
    raw = b"x" * 2**20 + b"\r\nNOOP\r\n"
    assert lines(raw, list(range(1000, len(raw), 1000)), limit=4096) == [LineFault.TOO_LONG, b"NOOP"]


def test_a_line_without_end_is_not_kept() -> None:
    buffer = LineBuffer()
    buffer.feed(b"x" * 5000)
    assert buffer.next_line(4096) is LineFault.TOO_LONG
    for _ in range(100):
        buffer.feed(b"x" * 5000)
        assert buffer.next_line(4096) is None
        assert len(buffer) == 0


def test_clearing_forgets_commands_that_wait() -> None:
    buffer = LineBuffer()
    buffer.feed(b"MAIL FROM:<a@example.org>\r\n")
    buffer.clear()
    assert buffer.next_line() is None
