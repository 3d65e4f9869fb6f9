"""A socket that cannot be had: whose fault it is, in describe."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from mailboat.delivery.dial import describe, dial, label
from mailboat.delivery.source import BindSource, SourceMissing
from mailboat.delivery.verdict import FaultKind, PeerTrouble
from mailboat.routing.answers import Target

TARGET = Target("mx.test", "127.0.0.1", 1)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, FaultKind.LOCAL),
        (errno.ENFILE, FaultKind.LOCAL),
        (errno.EAFNOSUPPORT, FaultKind.CONNECT),
    ],
)
async def test_running_out_of_files_is_our_fault_and_a_missing_family_is_not(
    number: int, kind: FaultKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_socket(*_: object) -> socket.socket:
        raise OSError(number, "no")

    monkeypatch.setattr(socket, "socket", no_socket)
    with pytest.raises(PeerTrouble) as failure:
        await dial(TARGET, BindSource("", "me.test"), 1.0)

    assert failure.value.trouble.kind is kind


async def test_a_source_of_the_wrong_family_or_not_here_is_missing() -> None:
    for address in ("192.0.2.77", "::1"):
        with pytest.raises(SourceMissing, match=address) as missing:
            await dial(TARGET, BindSource(address, "me.test"), 1.0)
        assert missing.value.source == address


def test_labels_and_words_are_for_people() -> None:
    assert label(TARGET) == "mx.test[127.0.0.1]:1"
    assert label(Target("mx", "", 0, path="/run/lmtp")) == "/run/lmtp"
    assert describe(ConnectionRefusedError(errno.ECONNREFUSED, "whatever the loop says")) == "connection refused"
    assert "handshake" in describe(ssl.SSLError(1, "handshake failed"))
    assert describe(RuntimeError()) == "RuntimeError"
