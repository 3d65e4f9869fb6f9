"""Archives of queued messages: what was written comes back, and whatever is not exactly that is refused."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.stores import BODY, address

from mailboat.model.envelope import Entry, EntryKey, Message, Owed, Recipient, State, StoredNotes
from mailboat.model.outcome import Outcome, ReportAction, Result, Stage
from mailboat.model.reply import Reply
from mailboat.queue import archive, ids
from mailboat.queue.archive import ArchiveReader, DamagedArchiveError, chunks, verify
from mailboat.queue.packed import PackedMessage, pack, unpack

ID = "0123456789abcdef" * 2
REPLY = Reply(250, "2.0.0 später")
OWED = Owed(
    Recipient(2, address("carol@there.test"), {"NOTIFY": "SUCCESS"}),
    Outcome(2, Result.DELIVERED, "2.0.0", Stage.DOT, str(REPLY), REPLY, "mx.there.test"),
    ReportAction.RELAYED,
    1_000_050.5,
)


def message(number: int = 1, body: bytes = BODY, **facts: object) -> tuple[PackedMessage, list[bytes]]:
    name = ids.message_id("TAGTAG", number)
    shared = Message(name, address("alice@sender.test"), len(body), 1_000_000.25, notes={"a": [1]}, origin=name)
    to = (Recipient(1, address("bob@there.test")),)
    entry = Entry(EntryKey(0, ids.row_of(number, 3)), f"{name}.3", shared, "there.test", to, 2, 1_000_060.5)
    entry = replace(
        entry, state=State.DEFERRED, last_reply="450 4.2.0 später", last_mx="mx", noted=StoredNotes({"n": 1})
    )
    entry = replace(entry, delay_reported=number == 1)
    return PackedMessage((replace(entry, **facts),), hashlib.sha256(body).hexdigest()), [body]  # type: ignore[arg-type]


def written(*messages: tuple[PackedMessage, Iterable[bytes]]) -> bytes:
    return b"".join(chunks(ID, messages))


def read(octets: bytes) -> list[tuple[PackedMessage, bytes]]:
    found = []
    for one in ArchiveReader(io.BytesIO(octets)).messages():
        pieces: list[bytes] = []
        one.save(pieces.append)
        found.append((one.packed, b"".join(pieces)))
    return found


def test_what_was_written_comes_back_and_is_a_tar_file_that_tar_can_list() -> None:
    messages = [message(1), message(2, b""), message(3, b"x" * 5000, state=State.HELD, next_attempt=None, noted=None)]
    messages += [message(4, owed=(OWED,)), message(5, owed=(OWED,), recipients=())]
    octets = written(*messages)
    assert read(octets) == [(packed, b"".join(body)) for packed, body in messages]
    with tarfile.open(fileobj=io.BytesIO(octets)) as tar:
        assert tar.getnames() == [
            "mailboat-queue.json",
            *(f"{number}.{part}" for number in range(1, 6) for part in ("json", "eml")),
            "end.json",
        ]
        assert {member.mode for member in tar} == {0o600}


def test_an_archive_of_nothing_is_whole() -> None:
    assert verify(io.BytesIO(written())) == ID


def test_each_flipped_bit_is_seen() -> None:
    octets = bytearray(written(message()))
    assert verify(io.BytesIO(octets)) == ID
    for place in range(len(octets)):
        octets[place] ^= 1 << place % 8
        with pytest.raises(DamagedArchiveError):
            verify(io.BytesIO(octets))
        octets[place] ^= 1 << place % 8


@given(st.data())
def test_each_cut_and_each_addition_is_seen(data: st.DataObject) -> None:
    octets = written(message(1), message(2))
    with pytest.raises(DamagedArchiveError):
        verify(io.BytesIO(octets[: data.draw(st.integers(0, len(octets) - 1))]))
    with pytest.raises(DamagedArchiveError):
        verify(io.BytesIO(octets + data.draw(st.binary(min_size=1))))


def test_messages_cannot_be_taken_out_or_swapped() -> None:
    one, two = written(message(1), message(2)), written(message(2), message(1))
    head = tarfile.BLOCKSIZE * 2
    rest = len(one) - tarfile.BLOCKSIZE * 4
    assert one[:head] == two[:head]
    for forged in (one[:head] + two[head:rest] + one[rest:], one[:head] + one[rest:]):
        with pytest.raises(DamagedArchiveError):
            verify(io.BytesIO(forged))


def tar(*members: tuple[tarfile.TarInfo | str, bytes]) -> bytes:
    """A tar file that somebody else made."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return out.getvalue()


def link() -> tarfile.TarInfo:
    info = tarfile.TarInfo("1.json")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return info


def huge(size: int) -> bytes:
    info = tarfile.TarInfo("1.json")
    info.size, info.mode = size, 0o600
    return written()[: 2 * tarfile.BLOCKSIZE] + info.tobuf(
        tarfile.USTAR_FORMAT if size < 8 << 30 else tarfile.GNU_FORMAT
    )


HEAD = orjson.dumps({"format": archive.FORMAT, "version": archive.VERSION, "id": ID})
NEWER = orjson.dumps({"format": archive.FORMAT, "version": archive.VERSION + 1, "id": ID})


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "not an archive of a Mailboat queue"),
        (b"garbage" * 1000, "not an archive of a Mailboat queue"),
        (tar(("a", b"b")), "not an archive of a Mailboat queue"),
        (tar(("mailboat-queue.json", b"[]")), "not one of Mailboat|not an archive"),
        (archive._small("mailboat-queue.json", NEWER), "its version is 2, and this release reads 1"),
        (archive._small("mailboat-queue.json", HEAD.replace(b"0123", b"../.")), "not an archive"),
        (written()[: 2 * tarfile.BLOCKSIZE] + tar(("../../etc/passwd", b"x")), "not one of Mailboat"),
        (written()[: 2 * tarfile.BLOCKSIZE] + archive._small("/etc/passwd", b"x"), "has another name"),
        (written()[: 2 * tarfile.BLOCKSIZE] + tar((link(), b"")), "not one of Mailboat"),
        (huge(archive.MAX_JSON + 1), "the envelope of message 1 has"),
        (huge(1 << 62), "not one of Mailboat|damaged"),
    ],
)
def test_what_is_not_ours_is_refused_before_anything_is_read_of_it(octets: bytes, why: str) -> None:
    with pytest.raises(DamagedArchiveError, match=why):
        verify(io.BytesIO(octets))


def change(key: str, value: object) -> Callable[[dict[str, object]], None]:
    return lambda said: said.update({key: value})


def change_entry(key: str, value: object) -> Callable[[dict[str, object]], None]:
    return lambda said: said["entries"][0].update({key: value})  # type: ignore[index]


ENTRY = orjson.loads(pack(message()[0]))["entries"][0]
TOLD = orjson.loads(pack(message(owed=(OWED,))[0]))["entries"][0]["reports"]["owed"][0]


def change_owed(key: str, value: object) -> Callable[[dict[str, object]], None]:
    return change_entry("reports", {"owed": [TOLD | {key: value}]})


@pytest.mark.parametrize(
    "forge",
    [
        change("id", "../x"),
        change("id", "TAGTAG-1.1"),
        change("id", "tagtag-1"),
        change("sender", ["a\r\nRCPT TO:<b@c>", "d", "d"]),
        change("sender", ["a"]),
        change("queued_at", -1),
        change("queued_at", "now"),
        change("size", -1),
        change("size", 1e9),
        change("size", 2**60),
        change("sha256", "x"),
        change("force_tls", "yes"),
        change("tls_required_no", 1),
        change("parameters", ["SMTPUTF8"]),
        change("parameters", {"ENVID": 1}),
        change("parameters", {"ENVID": "a\r\nRSET"}),
        change_entry("parameters", {"1": {"NOTIFY": "a\r\nRSET"}}),
        change_entry("parameters", {"1": "NEVER"}),
        change("tenant", 5),
        change("labels", "all"),
        change("labels", [1]),
        change("notes", [1]),
        change("entries", []),
        change("entries", [ENTRY, ENTRY]),
        change("entries", {}),
        change_entry("ordinal", 0),
        change_entry("ordinal", 1 << 20),
        change_entry("ordinal", True),
        change_entry("domain", "a\nb"),
        change_entry("state", "exported"),
        change_entry("state", "held"),
        change_entry("next_attempt", None),
        change_entry("next_attempt", 1e300),
        change_entry("attempts", -1),
        change_entry("recipients", []),
        change_entry("recipients", [[1, "", "", ""]]),
        change_entry("recipients", [[1, "a\0", "b", "b"]]),
        change_entry("last_reply", 1),
        change_entry("noted", [1]),
        change_entry("reports", {"owed": 5}),
        change_owed("recipient", [2, "a\r\nb", "d", "d"]),
        change_owed("recipient", [2, "", "d", "d"]),
        change_owed("recipient", "carol"),
        change_owed("parameters", {"ORCPT": "x;a\nb"}),
        change_owed("action", "sent"),
        change_owed("at", "now"),
        change_owed("reply", [250]),
        change_owed("reply", "250 ok"),
        change_owed("status", None),
    ],
)
def test_an_envelope_that_no_database_could_hold_is_refused(forge: Callable[[dict[str, object]], None]) -> None:
    said = orjson.loads(pack(message()[0]))
    assert unpack(orjson.dumps(said)) == message()[0]
    forge(said)
    with pytest.raises(ValueError, match=r"[a-z]"):
        unpack(orjson.dumps(said))


@pytest.mark.parametrize("junk", [b"", b"[]", b"{}", b"null", b'{"id": 1}'])
def test_an_envelope_that_is_none_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"[a-z]"):
        unpack(junk)


def test_a_body_of_200_mib_and_many_messages_pass_through_little_memory(tmp_path: Path) -> None:
    piece = bytes(archive.PIECE)
    pieces = (200 << 20) // len(piece)
    digest = hashlib.sha256()
    for _ in range(pieces):
        digest.update(piece)
    first, _ = message()
    large = replace(first.message, size=200 << 20)
    packed = PackedMessage((replace(first.entries[0], message=large),), digest.hexdigest())

    def messages() -> Iterator[tuple[PackedMessage, Iterable[bytes]]]:
        yield packed, (piece for _ in range(pieces))
        yield from (message(number) for number in range(2, 3000))

    path = tmp_path / "archive"
    tracemalloc.start()
    try:
        with path.open("wb") as out:
            out.writelines(chunks(ID, messages()))
        with path.open("rb") as file:
            assert verify(file) == ID
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
