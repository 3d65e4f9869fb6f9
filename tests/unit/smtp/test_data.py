"""End of data, dot-stuffing and bare newlines, however the octets are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.smtp.data import DataFault, DataReceiver, stuff

LIMIT = 65_536

pieces = st.sampled_from([b".", b"..", b"a", b"\r\n", b"\r\n.", b"\r\n..", b"text", b"\x00", b"\xff"])
bodies = st.lists(pieces, max_size=14).map(b"".join).map(lambda b: b if not b or b.endswith(b"\r\n") else b + b"\r\n")
hostile = st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a", b"\r\n.\r"]), max_size=14).map(b"".join)


def receive(
    raw: bytes, cuts: list[int], *, normalize: bool = False, limit: int = LIMIT
) -> tuple[bytes, bytes | None, DataFault | None]:
    receiver = DataReceiver(limit, normalize=normalize)
    message, start = b"", 0
    for cut in [*cuts, len(raw)]:
        octets, rest = receiver.feed(raw[start:cut])
        message, start = message + octets, cut
        if rest is not None:
            return message, rest + raw[start:], receiver.fault
    return message, None, receiver.fault


def every_way(raw: bytes) -> list[list[int]]:
    """Whole, octet by octet, and cut once at every place."""
    return [[], list(range(1, len(raw))), *([place] for place in range(1, len(raw)))]


@given(bodies, st.sampled_from([b"", b"QUIT\r\n", b".\r\n"]))
def test_a_stuffed_body_comes_back_octet_for_octet_and_the_tail_is_left(body: bytes, tail: bytes) -> None:
    raw = stuff(body) + b".\r\n" + tail
    for cuts in every_way(raw):
        assert receive(raw, cuts) == (body, tail, None)


@given(hostile)
def test_how_octets_are_cut_never_changes_what_is_received(raw: bytes) -> None:
    whole = receive(raw, [])
    for cuts in every_way(raw):
        message, rest, fault = receive(raw, cuts)
        assert (rest, fault) == whole[1:]
        if rest is not None:
            assert message == whole[0]


@given(hostile)
def test_only_crlf_dot_crlf_ends_a_message(raw: bytes) -> None:
    _, rest, _ = receive(raw, [])
    assert (rest is not None) == (b"\r\n.\r\n" in b"\r\n" + raw)


@given(hostile)
def test_normalised_messages_hold_no_bare_newline_and_no_end_of_data_when_sent_on(raw: bytes) -> None:
    message, rest, fault = receive(raw + b"\r\n.\r\n", [], normalize=True)
    assert rest is not None
    assert fault is None
    assert message.count(b"\r") == message.count(b"\n") == message.count(b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + stuff(message)


@pytest.mark.parametrize("bare", [b"a\nb\r\n", b"a\rb\r\n", b"\n\r\n", b"a\n\r\n", b"\ra\r\n"])
def test_a_bare_newline_is_a_fault_at_the_true_end(bare: bytes) -> None:
    for cuts in every_way(bare + b".\r\n"):
        _, rest, fault = receive(bare + b".\r\n", cuts)
        assert (rest, fault) == (b"", DataFault.BARE_NEWLINE)


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\rX", b"\r.\n"], ids=repr
)
def test_a_false_end_of_data_is_told_apart_at_once(end: bytes) -> None:
    raw = b"text" + end + b"MAIL FROM:<evil@example.org>\r\n"
    for cuts in every_way(raw):
        _, rest, fault = receive(raw, cuts)
        assert rest is None
        assert fault is DataFault.FALSE_END


@pytest.mark.parametrize("line", [b"", b"a", b"\n", b"x" * 2000 + b"\r\n"], ids=len)
def test_an_end_behind_a_second_cr_is_the_end_but_nothing_behind_it_is_to_be_trusted(line: bytes) -> None:
    raw = line + b"\r\r\n.\r\n"
    for cuts in ([], [len(line)], [len(line) + 1], [len(line) + 2], list(range(1, len(raw)))):
        assert receive(raw, cuts, limit=1000)[1:] == (b"", DataFault.FALSE_END)


@pytest.mark.parametrize("length", [999, 1000, 1001, 5000])
def test_a_line_over_the_limit_is_a_fault(length: int) -> None:
    raw = b"short\r\n" + b"x" * (length - 2) + b"\r\nshort\r\n.\r\n"
    for cuts in ([], [10], [500, 990], [length]):
        message, rest, fault = receive(raw, cuts, limit=1000)
        assert fault is (DataFault.LINE_TOO_LONG if length > 1000 else None)
        assert rest == b""
        assert message == raw[:-3]


def test_a_line_without_end_takes_no_memory_for_its_length() -> None:
    receiver = DataReceiver(1000)
    for _ in range(1000):
        receiver.feed(b"x" * 100_000)
    assert receiver.fault is DataFault.LINE_TOO_LONG
