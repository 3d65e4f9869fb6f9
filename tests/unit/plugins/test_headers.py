"""The plugin `headers`: what is added and removed, and what it refuses to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.plugged import Plugged, client

from mailboat.plugins import headers

INI = """
remove[]=X-Secret
remove[]=user-agent
[add]
X-Queue-Id={id}
X-Note=über {sender}
[add_leading]
X-Relay=relay.test
"""
MAIL = b"Received: x\r\nX-Secret: 1\r\nSubject: hi\r\nx-secret: 2\r\n\tmore\r\n\r\nX-Secret: text\r\n"


async def changed(it: Plugged, sender: str = "alice@sender.test") -> bytes:
    connection = client(sender=sender, body=MAIL)
    await it.ask("pre_send_trans_email", connection)
    assert connection.transaction is not None
    body = connection.transaction.edited(lambda: ("", 0))
    assert isinstance(body, bytes)
    return body


async def test_fields_are_removed_then_added_and_the_text_is_left_alone(tmp_path: Path) -> None:
    head, _, text = (await changed(Plugged.of(headers, tmp_path, headers_ini=INI))).partition(b"\r\n\r\n")
    assert head.startswith(b"X-Relay: relay.test\r\nReceived: x\r\nSubject: hi\r\nX-Queue-Id: ABCDEF-1\r\nX-Note: =?")
    assert text == b"X-Secret: text\r\n"


async def test_bounces_are_left_alone_unless_asked_for(tmp_path: Path) -> None:
    assert await changed(Plugged.of(headers, tmp_path, headers_ini=INI), sender="") == MAIL
    assert await changed(Plugged.of(headers, tmp_path, headers_ini="bounces=true\n" + INI), sender="") != MAIL


async def test_without_a_file_nothing_changes(tmp_path: Path) -> None:
    assert await changed(Plugged.of(headers, tmp_path)) == MAIL


@pytest.mark.parametrize(
    "text",
    [
        "removes=X\n",
        "[added]\na=b\n",
        "remove=Received\n",
        "[add]\na:b=c\n",
        f"[add]\nX-Long={'x' * 5000}\n",
        "bounces=maybe\n",
    ],
)
def test_what_cannot_be_done_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Plugged.of(headers, tmp_path, headers_ini=text)
