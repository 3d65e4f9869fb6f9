"""One open SMTP or LMTP session: runs transactions over it and records the replies.

Knows the order of commands, pipelining (RFC 2920) and LMTP's replies for each recipient (RFC 2033); decides nothing:
`delivery.verdict` judges the transcripts. `delivery.client` makes sessions, `delivery.pool` keeps them,
`delivery.attempt` uses them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from mailboat.config.settings import OutboundSettings
from mailboat.delivery.envelope import Envelope
from mailboat.delivery.leases import Slot
from mailboat.delivery.offers import PeerOffers
from mailboat.delivery.replies import Broken, RawReply, ReplyStream, decode
from mailboat.delivery.stuffing import END, PIECE, pieces, stuffed
from mailboat.delivery.verdict import FaultKind, Transcript, Trouble
from mailboat.model.outcome import PeerFacts, Stage
from mailboat.model.reply import Reply
from mailboat.routing.answers import Spot
from mailboat.smtp.extensions import PIPELINING

RCPT_BATCH: Final = 100
"""Recipients in one write, which bounds the memory for their replies."""

HEAD: Final = 1_048_576
"""Octets that are read for the header of a message in a file."""

_FINE: Final = Reply(250, "")
"""Represents every 2yz reply whose text is not used."""
_GO_ON: Final = Reply(354, "")


@dataclass(frozen=True, slots=True)
class FileBody:
    """A body in an open file, at its beginning."""

    file: BinaryIO
    size: int
    """Octets, `begin` included."""
    begin: bytes = field(default=b"", repr=False)
    """The octets before those of the file."""

    def head(self) -> bytes:
        """Enough octets for the header of any reasonable message."""
        head = self.begin + self.file.read(HEAD)
        self.file.seek(0)
        return head


class Session:
    """A session ready for MAIL. One transaction at a time."""

    __slots__ = (
        "_dirty",
        "_written",
        "dot_sent",
        "facts",
        "idle_timeout",
        "key",
        "lmtp",
        "max_messages",
        "offers",
        "quit_timeout",
        "slot",
        "spot",
        "stream",
        "subject",
        "used",
    )

    def __init__(self, stream: ReplyStream, offers: PeerOffers, facts: PeerFacts, *, lmtp: bool) -> None:
        self.stream = stream
        self.offers = offers
        self.facts = facts
        self.lmtp = lmtp
        self.used = 0
        """Transactions so far."""
        self.dot_sent = False
        """The final dot of the current transaction was sent, and its reply was not received."""
        self.key: object = None
        """Used by the pool."""
        self.spot: Spot = ("", 0)
        """Where it leads to; set by the pool."""
        self.slot: Slot | None = None
        """What it counts as under limits; None: they do not count it."""
        self.idle_timeout: float | None = None
        """Seconds that it is kept while idle; None: as in the settings."""
        self.max_messages: int | None = None
        """Messages that its target accepts over one connection; None: as configured."""
        self.subject: Hashable = None
        """The mail that used it last, where rules from replies look at it."""
        self.quit_timeout = 5.0
        self._dirty = False
        """The peer may still hold an envelope: RSET first."""
        self._written: int | None = None
        """Octets of a body of several pieces that were written so far; None: none is under way."""

    @property
    def heard(self) -> int:
        """Number of reads from the peer."""
        return self.stream.heard

    @property
    def sent(self) -> int | None:
        """Octets of the body that have left this process; None: no body of several pieces is under way."""
        return None if self._written is None else self._written - self.stream.unsent

    async def transact(self, envelope: Envelope, body: bytes | FileBody, limits: OutboundSettings) -> Transcript:
        """Offer one message. Never raises for what the peer does: the transcript ends with the fault.

        Raises:
            OSError: the body cannot be read; the connection is then unusable.
        """
        transcript = Transcript(per_recipient=self.lmtp)
        self.used += 1
        try:
            if PIPELINING in self.offers:
                await self._pipelined(envelope, transcript, limits)
            else:
                await self._in_lock_step(envelope, transcript, limits)
            await self._after_data(transcript, body, limits)
        finally:
            self.dot_sent, self._written = False, None
        return transcript

    async def _pipelined(self, envelope: Envelope, transcript: Transcript, limits: OutboundSettings) -> None:
        rcpts = envelope.rcpts
        commands: list[bytes] = [envelope.mail, *rcpts[:RCPT_BATCH]]
        stages: list[Stage | None] = [Stage.MAIL, *[Stage.RCPT] * (len(commands) - 1)]
        if self._dirty:
            commands.insert(0, b"RSET")
            stages.insert(0, None)
        for start in range(RCPT_BATCH, len(rcpts), RCPT_BATCH):
            await self._exchange(commands, stages, transcript, limits)
            if transcript.fault is not None or not _mail_taken(transcript):
                return
            commands = list(rcpts[start : start + RCPT_BATCH])
            stages = [Stage.RCPT] * len(commands)
        await self._exchange([*commands, b"DATA"], [*stages, Stage.DATA], transcript, limits)

    async def _in_lock_step(self, envelope: Envelope, transcript: Transcript, limits: OutboundSettings) -> None:
        if self._dirty:
            await self._exchange((b"RSET",), (None,), transcript, limits)
        if transcript.fault is None:
            await self._exchange((envelope.mail,), (Stage.MAIL,), transcript, limits)
        if not _mail_taken(transcript):
            return
        for rcpt in envelope.rcpts:
            if transcript.fault is None:
                await self._exchange((rcpt,), (Stage.RCPT,), transcript, limits)
        if transcript.fault is None and any(reply.is_success for reply in transcript.rcpts):
            await self._exchange((b"DATA",), (Stage.DATA,), transcript, limits)

    async def _exchange(
        self,
        commands: Sequence[bytes],
        stages: Sequence[Stage | None],
        transcript: Transcript,
        limits: OutboundSettings,
    ) -> None:
        """Send commands in one write, and note their replies. The stage of RSET is None: its reply is ignored."""
        data = b"\r\n".join(commands) + b"\r\n"
        if data.count(b"\n") != len(commands) or data.count(b"\r") != len(commands):
            raise ValueError("an address with a line break in it")  # it would be a command of its own
        self._dirty = True
        raws: Sequence[RawReply]
        try:
            raws = await self.stream.exchange(data, [_time_for(stage, limits) for stage in stages])
        except Broken as broken:
            raws = broken.replies
            stage = stages[len(raws)] if len(raws) < len(stages) else stages[-1]
            transcript.fault = Trouble(stage or Stage.MAIL, broken.kind, broken.text)
        _note(transcript, raws, stages)

    async def _after_data(self, transcript: Transcript, body: bytes | FileBody, limits: OutboundSettings) -> None:
        data = transcript.data
        if data is None or data.code != 354 or transcript.fault is not None:
            if data is not None and data.code < 400 and data.code != 354:
                # The peer and this session are out of step.
                self.stream.abort()
            return
        accepted = sum(reply.is_success for reply in transcript.rcpts)
        mail = transcript.mail
        if not accepted or mail is None or not mail.is_success:
            await self._empty_message(limits)
            return
        try:
            await self._send_body(transcript, body, accepted if self.lmtp else 1, limits)
        except Broken as broken:
            if not transcript.dot_sent:
                transcript.fault = Trouble(Stage.BODY, broken.kind, broken.text)
            else:
                transcript.dots.extend(decode(raw) for raw in broken.replies)
                transcript.fault = Trouble(Stage.DOT, broken.kind, broken.text)

    async def _empty_message(self, limits: OutboundSettings) -> None:
        """The peer replied 354 although it refused every recipient: send an empty message (RFC 2920 3.1)."""
        if self.lmtp:
            self.stream.abort()  # RFC 2033 4.2: no reply without a recipient, so the state of the peer is unknown
            return
        try:
            await self.stream.exchange(END, (limits.data_timeout,))
        except Broken:
            return
        self._dirty = False

    async def _send_body(
        self, transcript: Transcript, body: bytes | FileBody, replies: int, limits: OutboundSettings
    ) -> None:
        stream = self.stream
        stream.expect((limits.dot_timeout,) * replies)
        if isinstance(body, bytes):
            await self._write_pieces(transcript, stuffed(body), limits)
        else:
            await self._write_file(transcript, body, limits)
        if not transcript.dot_sent:
            stream.abort()  # answered before the end: the peer waits for the rest, which must not be sent
        raws = await stream.collect()
        if not transcript.dot_sent and any(code < 400 for code, _ in raws):
            raise Broken(FaultKind.PROTOCOL, "the message was answered before its end")
        transcript.dots.extend(decode(raw) for raw in raws)
        # RFC 5321 4.1.1.4 clears the envelope whatever the reply; some servers keep it when they refused the message.
        self._dirty = not all(reply.is_success for reply in transcript.dots)

    async def _write_pieces(self, transcript: Transcript, data: bytes, limits: OutboundSettings) -> None:
        stream = self.stream
        if len(data) <= PIECE:
            stream.write(data)
        else:
            view = memoryview(data)
            self._written = 0
            last = (len(data) - 1) // PIECE * PIECE
            for start in range(0, last, PIECE):
                stream.write(view[start : start + PIECE])
                self._written += PIECE
                await stream.drain(limits.data_timeout)
                if stream.answered_early:
                    return
            stream.write(view[last:])
        await self._write_end(transcript, limits)

    async def _write_file(self, transcript: Transcript, body: FileBody, limits: OutboundSettings) -> None:
        stream = self.stream
        self._written = 0
        async with aclosing(pieces(body.file, body.size, body.begin)) as stream_of_pieces:
            async for piece in stream_of_pieces:
                await stream.drain(limits.data_timeout)
                if stream.answered_early:
                    return
                stream.write(piece)
                self._written += len(piece)
        await self._write_end(transcript, limits)

    async def _write_end(self, transcript: Transcript, limits: OutboundSettings) -> None:
        """Find out when the last piece leaves: from then on the peer may have the dot."""
        self.dot_sent, self._written = True, None
        stream = self.stream
        if not stream.flushed:
            await stream.drain(limits.data_timeout)
        transcript.dot_sent = stream.flushed


def _time_for(stage: Stage | None, limits: OutboundSettings) -> float:
    if stage is Stage.RCPT:
        return limits.rcpt_timeout
    return limits.data_timeout if stage is Stage.DATA else limits.mail_timeout


def _mail_taken(transcript: Transcript) -> bool:
    return transcript.mail is not None and transcript.mail.is_success


def _note(transcript: Transcript, raws: Sequence[RawReply], stages: Sequence[Stage | None]) -> None:
    for raw, stage in zip(raws, stages, strict=False):
        code = raw[0]
        if stage is Stage.RCPT:
            transcript.rcpts.append(_FINE if code < 300 else decode(raw))
        elif stage is Stage.MAIL:
            transcript.mail = _FINE if code < 300 else decode(raw)
        elif stage is Stage.DATA:
            transcript.data = _GO_ON if code == 354 else decode(raw)
