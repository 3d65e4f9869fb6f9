"""The limit on lines of a message counts octets of one line, however the client's octets are cut into pieces."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from mailboat.smtp.data import DataFault, DataReceiver

LIMIT = 20
LENGTHS = st.lists(st.integers(0, 2 * LIMIT), max_size=12)


def fault_of(lengths: list[int], cuts: list[int]) -> DataFault | None:
    """The fault that is found in lines of these lengths (line end not counted), in pieces of these sizes."""
    octets = b"".join(b"x" * length + b"\r\n" for length in lengths) + b".\r\n"
    receiver = DataReceiver(LIMIT)
    rest: bytes | None = None
    for size in [*cuts, len(octets)]:
        piece, octets = octets[:size], octets[size:]
        if piece:
            assert rest is None
            _, rest = receiver.feed(piece)
    assert rest == b""
    return receiver.fault


@given(lengths=LENGTHS, cuts=st.lists(st.integers(1, 4 * LIMIT), max_size=12))
@example(lengths=[5, 15, 15, 5], cuts=[26])
def test_lines_within_the_limit_are_no_fault_in_any_pieces(lengths: list[int], cuts: list[int]) -> None:
    assert fault_of([min(length, LIMIT - 2) for length in lengths], cuts) is None


@given(before=LENGTHS, after=LENGTHS, cuts=st.lists(st.integers(1, 4 * LIMIT), max_size=12))
def test_a_line_over_the_limit_is_found_in_any_pieces(before: list[int], after: list[int], cuts: list[int]) -> None:
    assert fault_of([*before, LIMIT + 1, *after], cuts) is DataFault.LINE_TOO_LONG
