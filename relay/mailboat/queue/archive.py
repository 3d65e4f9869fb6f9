"""An archive of queued messages: a tar file (POSIX ustar) that is written and read as a stream.

    mailboat-queue.json     {"format": "mailboat-queue", "version": 1, "id": …}
    1.json, 1.eml           a message's envelope and entries (`packed`), then its octets as stored
    2.json, 2.eml           …
    end.json                how many messages and entries there are, and the SHA-256 of all octets before this member

A reader accepts exactly what the writer makes: other names, types, orders, padding or trailing octets are damage, and
so is a digest that does not match. Memory holds one envelope and one piece of a body. No file is ever created under a
name from the archive.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from mailboat.queue import packed
from mailboat.queue.packed import PackedMessage

FORMAT = "mailboat-queue"
VERSION = 1
PIECE = 1 << 18
"""Octets of a body that are in memory at once."""
MAX_JSON = 64 << 20
"""Octets of an envelope."""
_MAX_HEAD = 4096
_BLOCK = 512
_HEAD = "mailboat-queue.json"
_END = "end.json"
_ID = re.compile(r"[0-9a-f]{32}")


class DamagedArchiveError(Exception):
    """The file is not a complete archive of this version; the message says why."""


def is_id(text: object) -> bool:
    """Whether this can be an archive's id: 32 hexadecimal digits."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def chunks(id_: str, messages: Iterable[tuple[PackedMessage, Iterable[bytes]]]) -> Iterator[bytes]:
    """The octets of an archive, piece by piece. Each message comes with its body."""
    digest = hashlib.sha256()
    count = entries = 0

    def hashed(octets: bytes) -> bytes:
        digest.update(octets)
        return octets

    yield hashed(_small(_HEAD, orjson.dumps({"format": FORMAT, "version": VERSION, "id": id_})))
    for message, body in messages:
        count, entries = count + 1, entries + len(message.entries)
        size = message.entries[0].message.size
        yield hashed(_small(f"{count}.json", packed.pack(message)) + _header(f"{count}.eml", size))
        for piece in body:
            yield hashed(piece)
        yield hashed(_padding(size))
    yield _small(_END, _end(count, entries, digest.hexdigest())) + bytes(2 * _BLOCK)


def _end(messages: int, entries: int, digest: str) -> bytes:
    return orjson.dumps({"messages": messages, "entries": entries, "sha256": digest})


def _small(name: str, content: bytes) -> bytes:
    return _header(name, len(content)) + content + _padding(len(content))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info.tobuf(tarfile.USTAR_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


@dataclass(frozen=True, slots=True)
class ArchivedMessage:
    """A message of an archive that is being read."""

    packed: PackedMessage
    save: Callable[[Callable[[bytes], Any]], None]
    """Pass the body to a function, piece by piece, before the next message is requested.

    Raises `DamagedArchiveError`."""


class ArchiveReader:
    """Reads an archive once, from its beginning. Every method raises `DamagedArchiveError` and OSError."""

    def __init__(self, file: BinaryIO) -> None:
        """Read its head."""
        self._file = file
        self._digest = hashlib.sha256()
        try:
            head = orjson.loads(self._content(_HEAD, _MAX_HEAD))
        except (orjson.JSONDecodeError, DamagedArchiveError):
            raise DamagedArchiveError("not an archive of a Mailboat queue") from None
        if not isinstance(head, dict) or head.get("format") != FORMAT or not is_id(head.get("id")):
            raise DamagedArchiveError("not an archive of a Mailboat queue")
        if head.get("version") != VERSION:
            raise DamagedArchiveError(f"its version is {head.get('version')!r:.20}, and this release reads {VERSION}")
        self.id: str = head["id"]

    def messages(self) -> Iterator[ArchivedMessage]:
        """Each message; the iteration ends when the archive is found to be complete."""
        count = entries = 0
        while True:
            digest = self._digest.hexdigest()
            name, size = self._member()
            if name == _END:
                self._finish(size, _end(count, entries, digest))
                return
            count += 1
            message = self._packed(name, size, count)
            entries += len(message.entries)
            yield from self._with_body(message, count)

    def _packed(self, name: str, size: int, count: int) -> PackedMessage:
        if name != f"{count}.json":
            raise DamagedArchiveError(f"message {count} has another name")
        if size > MAX_JSON:
            raise DamagedArchiveError(f"the envelope of message {count} has {size} octets")
        try:
            return packed.unpack(self._octets(size))
        except ValueError as error:
            raise DamagedArchiveError(f"message {count}: {error}") from None

    def _with_body(self, message: PackedMessage, count: int) -> Iterator[ArchivedMessage]:
        name, size = self._member()
        if name != f"{count}.eml" or size != message.entries[0].message.size:
            raise DamagedArchiveError(f"the body of message {count} does not match its envelope")
        saved = False

        def save(take: Callable[[bytes], Any]) -> None:
            nonlocal saved
            saved, digest = True, hashlib.sha256()
            for piece in self._pieces(size):
                digest.update(piece)
                take(piece)
            self._pad(size)
            if digest.hexdigest() != message.digest:
                raise DamagedArchiveError(f"the body of message {count} is damaged")

        yield ArchivedMessage(message, save)
        if not saved:
            save(len)

    def _finish(self, size: int, expected: bytes) -> None:
        if size != len(expected) or self._octets(size) != expected:
            raise DamagedArchiveError("its digest does not match: it was changed")
        if self._file.read(2 * _BLOCK + 1) != bytes(2 * _BLOCK):
            raise DamagedArchiveError("it does not end with the end-of-archive blocks")

    def _content(self, name: str, most: int) -> bytes:
        found, size = self._member()
        if found != name or size > most:
            raise DamagedArchiveError(f"{name} is missing")
        return self._octets(size)

    def _member(self) -> tuple[str, int]:
        """Name and size of the next member, whose header must be exactly what the writer makes."""
        block = self._read(_BLOCK)
        try:
            name, size = block[:100].rstrip(b"\0").decode("ascii"), int(block[124:135], 8)
            ours = _header(name, size)
        except ValueError:
            raise DamagedArchiveError("a tar header is damaged") from None
        if block != ours:
            raise DamagedArchiveError("a tar header is not one of Mailboat's")
        return name, size

    def _octets(self, size: int) -> bytes:
        octets = b"".join(self._pieces(size))
        self._pad(size)
        return octets

    def _pad(self, size: int) -> None:
        if any(self._read(-size % _BLOCK)):
            raise DamagedArchiveError("the padding of a member is damaged")

    def _pieces(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._read(min(size, PIECE))
            size -= len(piece)
            yield piece

    def _read(self, size: int) -> bytes:
        octets = self._file.read(size)
        if len(octets) < size:
            raise DamagedArchiveError("it is truncated")
        self._digest.update(octets)
        return octets


def verify(file: BinaryIO) -> str:
    """The id of a complete archive. Raises `DamagedArchiveError` and OSError."""
    reader = ArchiveReader(file)
    for _ in reader.messages():
        pass
    return reader.id
