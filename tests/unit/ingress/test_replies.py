"""Every reply of ingress in one look: code, enhanced code of its class, text, one line (RFC 5321 4.2, RFC 2034)."""

from __future__ import annotations

import errno
import re

import pytest

from mailboat.ingress import replies
from mailboat.ingress.admission import Refusal
from mailboat.queue.store import StorageError, StorageFull
from mailboat.smtp.data import DataFault

REPLIES = [value for value in vars(replies).values() if isinstance(value, bytes) and value != replies.GO_AHEAD]
TABLES = [reply for table in (replies.DATA_FAULTS, replies.REFUSALS) for reply, _ in table.values()]


@pytest.mark.parametrize("reply", [*REPLIES, *TABLES, replies.queued("ABC-1")], ids=bytes.decode)
def test_each_reply_has_its_codes(reply: bytes) -> None:
    match = re.fullmatch(rb"([245])\d\d ([245])\.\d{1,3}\.\d{1,3} [ -~]{3,200}\r\n", reply)
    assert match is not None
    assert match[1] == match[2]


def test_each_refusal_and_each_fault_has_a_reply() -> None:
    assert set(replies.REFUSALS) == set(Refusal)
    assert set(replies.DATA_FAULTS) == set(DataFault)


@pytest.mark.parametrize(
    ("error", "reply"),
    [
        (StorageFull("full"), replies.STORAGE_FULL),
        (OSError(errno.ENOSPC, "full"), replies.STORAGE_FULL),
        (OSError(errno.EDQUOT, "quota"), replies.STORAGE_FULL),
        (StorageError("broken"), replies.STORAGE_FAULT),
        (OSError(errno.EIO, "broken"), replies.STORAGE_FAULT),
        (ValueError("a defect"), replies.STORAGE_FAULT),
    ],
    ids=repr,
)
def test_storage_trouble_is_temporary(error: Exception, reply: bytes) -> None:
    assert replies.storage_reply(error) == reply
