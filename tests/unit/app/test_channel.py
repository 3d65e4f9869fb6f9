"""The supervisor's line to a worker, over a real socket pair: questions, errors, and a worker that is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.stores import address
from tests.support.submission_requests import SubmissionBox
from tests.support.waiting import waiting_row

from mailboat.admin.control import BadCursorError, Check, ConfigStatus, EntryJson, Probe
from mailboat.app import questions
from mailboat.app.channel import RemoteWorker, serve
from mailboat.app.limits import LimitOwner
from mailboat.app.questions import Questions
from mailboat.app.remote_tokens import RemoteTokens
from mailboat.app.submissions import WorkerGoneError
from mailboat.config.settings import OAuthGrant
from mailboat.delivery.oauth import AccessToken, TokenError
from mailboat.metrics.recorder import Snapshot
from mailboat.model.address import Address
from mailboat.model.envelope import State
from mailboat.model.waiting import GroupBy, SortBy, WaitingRow
from mailboat.queue.store import Selection, StorageError, Verb
from mailboat.shaping.directive import Directive, DirectiveVerb
from mailboat.shaping.mail_selection import MailSelection
from mailboat.submission.request import RefusalKind, RefusedError, SubmissionRequest

STATUS = ConfigStatus("sha256:1", 12.5, "outbound.ini:1: wrong", ("a worker", "no address"), ("no address",))


GRANT = OAuthGrant("https://tokens.example/", "client", "secret", "refresh", "scope", "ca")


class FakeTokens:
    """What the supervisor has."""

    def __init__(self) -> None:
        self.asked: list[tuple[OAuthGrant, str]] = []
        self.error = ""
        self.renew_at = 100.0
        self.answering = asyncio.Event()
        self.answering.set()

    async def token(self, grant: OAuthGrant, refused: str = "") -> AccessToken:
        self.asked.append((grant, refused))
        await self.answering.wait()
        if self.error:
            raise TokenError(self.error, retry_at=12.5)
        return AccessToken(f"token-{len(self.asked)}", self.renew_at, self.renew_at + 10)


class FakeWorker(SubmissionBox):
    """Answers, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, Selection]] = []
        self.directives: list[Directive] = []
        self.silent = False
        self.fault: Exception | None = None
        self.questions = Questions()
        self.supervisor = FakeTokens()
        self.limits = LimitOwner("", FixedClock())

    async def report_tls(self, day: int | None) -> Sequence[dict[str, Any]]:
        return [{"day": day}]

    async def destinations(self, by: GroupBy, sort: SortBy, most: int) -> Sequence[WaitingRow]:
        return [waiting_row(f"{by}.{sort}", most)]

    async def flush_sts(self, domain: str) -> int:
        return len(domain)

    async def checks(self, kind: Probe) -> Sequence[Check]:
        if self.silent:
            await asyncio.Event().wait()
        return [Check(kind.value, ok=True), Check("storage", ok=False, detail="full")]

    async def configz(self) -> ConfigStatus:
        return STATUS

    async def snapshot(self) -> Snapshot:
        return Snapshot(counters={"mailboat_deliveries_total": {State.ACTIVE: 1.0, "": 2.0}}, gauges={}, histograms={})

    async def queue_page(
        self, selection: Selection, limit: int, after: str | None
    ) -> tuple[Sequence[EntryJson], str | None]:
        if after == "nonsense":
            raise BadCursorError("no cursor of ours")
        self.asked.append((f"page {limit} {after}", selection))
        return [{"id": "A-1.1"}], "0:7"

    async def queue_get(self, id: str) -> Sequence[EntryJson]:  # noqa: A002 - the interface says so
        return [{"id": id}] if id != "all of it" else [{"id": "x" * 10_000}]

    async def resume(self, why: str) -> int:
        return len(why)

    async def direct(self, directive: Directive) -> int:
        if self.fault is not None:
            raise self.fault
        self.directives.append(directive)
        return 3

    async def change(self, verb: Verb, selection: Selection) -> int:
        if self.fault is not None:
            raise self.fault
        self.asked.append((verb, selection))
        return 5


@asynccontextmanager
async def line(worker: FakeWorker) -> AsyncIterator[tuple[RemoteWorker, asyncio.Task[None]]]:
    """A remote worker, and the task that serves it."""
    ours, theirs = socket.socketpair()
    remote = RemoteWorker(ours, worker.supervisor, worker.limits)
    served = asyncio.create_task(serve(theirs, worker, worker.questions))
    talk = asyncio.create_task(remote.run())
    async with asyncio.timeout(10):
        await remote.ready.wait()
        yield remote, served
        served.cancel()
        theirs.close()
        await asyncio.gather(served, talk, return_exceptions=True)


async def test_every_question_comes_back_as_it_was_answered() -> None:
    worker = FakeWorker()
    selection = Selection(
        ids=["A-1", "A-2.1"], domain="d.test", sender="a@b.test", state=State.HELD, tenant="shop", label="news"
    )
    async with line(worker) as (remote, _):
        assert await remote.checks(Probe.READYZ) == [
            Check("readyz", ok=True),
            Check("storage", ok=False, detail="full"),
        ]
        assert await remote.configz() == STATUS
        assert (await remote.snapshot())["counters"] == {"mailboat_deliveries_total": {"active": 1.0, "": 2.0}}
        assert await remote.queue_page(selection, 10, None) == ([{"id": "A-1.1"}], "0:7")
        assert await remote.queue_get("A-9") == [{"id": "A-9"}]
        assert [await remote.change(verb, selection) for verb in Verb] == [5] * len(Verb)
        await remote.change(Verb.HOLD, Selection())
        assert await remote.flush_sts("a.test") == 6
        directive = Directive(DirectiveVerb.BOUNCE, MailSelection(domain="d.test", sender="<>"), "why", dsn=False)
        assert await remote.direct(directive) == 3
        assert await remote.resume("suspension 1") == 12
    assert worker.directives == [directive]
    changes = [(verb, selection) for verb in Verb]
    assert worker.asked == [("page 10 None", selection), *changes, (Verb.HOLD, Selection(ids=[]))]


async def test_errors_come_back_as_their_kind_and_a_bug_leaves_nobody_waiting() -> None:
    worker = FakeWorker()
    async with line(worker) as (remote, _):
        worker.fault = StorageError("the disk is gone")
        with pytest.raises(StorageError, match="the disk is gone"):
            await remote.change(Verb.DELETE, Selection())
        worker.fault = RuntimeError("a bug")
        with pytest.raises(BadCursorError):
            await remote.queue_page(Selection(), 1, "nonsense")
        with pytest.raises(StorageError, match="internal error: a bug"):
            await remote.change(Verb.RELEASE, Selection())
        worker.fault = None
        assert await remote.change(Verb.FLUSH, Selection()) == 5


async def test_a_slow_answer_does_not_hold_back_the_next_and_ends_when_the_worker_goes() -> None:
    worker = FakeWorker()
    worker.silent = True
    async with line(worker) as (remote, served):
        waiting = asyncio.create_task(remote.checks(Probe.LIVEZ))
        assert await remote.change(Verb.FLUSH, Selection()) == 5
        served.cancel()
        await asyncio.wait([served])
        with pytest.raises(WorkerGoneError):
            await waiting
        with pytest.raises(WorkerGoneError):
            await remote.change(Verb.FLUSH, Selection())


async def test_an_answer_beyond_the_limit_of_a_line_is_an_error_and_the_worker_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(questions, "LINE_LIMIT", 4096)
    async with line(FakeWorker()) as (remote, _):
        with pytest.raises(StorageError, match="4096 are allowed"):
            await remote.queue_get("all of it")
        assert await remote.queue_get("A-9") == [{"id": "A-9"}]


REQUEST = SubmissionRequest(
    address("alice@sender.test"),
    (address("bob@there.test"), Address("\xfc", "m\xfcnchen.test", "xn--mnchen-3ya.test")),
    notes={"a": [1]},
    dot_stuffed=True,
    remove_date=True,
)


async def test_a_programs_message_crosses_the_line_in_pieces_and_comes_out_whole() -> None:
    worker = FakeWorker()
    async with line(worker) as (remote, _):
        port = await remote.begin(REQUEST)
        for piece in (b"\x00\xff", b"", b"\r\n" * 40_000):
            await port.write(piece)
        assert await port.commit() == "L-1"
        await port.abandon()  # harmless after the end
        assert worker.abandoned == 0
    assert worker.submitted == [(REQUEST, b"\x00\xff" + b"\r\n" * 40_000)]


@pytest.mark.parametrize("kind", RefusalKind)
async def test_a_refusal_comes_back_with_its_kind(kind: RefusalKind) -> None:
    worker = FakeWorker()
    worker.refusal = RefusedError("not this one", kind)
    async with line(worker) as (remote, _):
        port = await remote.begin(REQUEST)
        with pytest.raises(RefusedError, match="not this one") as refused:
            await port.write(b"x")
        assert refused.value.kind is kind
        await port.abandon()
        with pytest.raises(StorageError, match="no longer open"):
            await port.commit()
    assert (worker.submitted, worker.abandoned) == ([], 1)


async def test_what_a_dead_supervisor_left_open_is_abandoned_and_a_dead_worker_is_told() -> None:
    worker = FakeWorker()
    async with line(worker) as (remote, served):
        port = await remote.begin(REQUEST)
        served.cancel()
        await asyncio.wait([served])
        assert worker.abandoned == 1
        with pytest.raises(WorkerGoneError):
            await port.write(b"x")
        await port.abandon()


async def test_a_worker_that_goes_while_it_commits_leaves_it_unknown_whether_it_has() -> None:
    """Not the same as storage trouble, where nothing was queued and a program may send again without a thought."""
    worker = FakeWorker()
    worker.hangs = True
    async with line(worker) as (remote, served):
        port = await remote.begin(REQUEST)
        await port.write(b"x")
        committing = asyncio.create_task(port.commit())
        await remote.change(Verb.FLUSH, Selection())  # answered after the commit was asked for
        served.cancel()
        await asyncio.wait([served])
        with pytest.raises(TimeoutError):
            await committing


async def test_a_worker_is_given_tokens_and_asks_again_when_they_are_to_be_renewed_or_were_refused() -> None:
    worker, clock = FakeWorker(), FixedClock(0.0)
    tokens = RemoteTokens(worker.questions, clock)
    waiting = asyncio.create_task(tokens.token(GRANT))  # before the line is there
    async with line(worker):
        assert await waiting == AccessToken("token-1", 100.0, 110.0)
        assert (await tokens.token(GRANT)).value == "token-1"
        assert (await tokens.token(GRANT, refused="token-1")).value == "token-2"
        assert (await tokens.token(GRANT, refused="token-1")).value == "token-2"
        assert worker.supervisor.asked == [(GRANT, ""), (GRANT, "token-1")]
        clock.advance(100)
        assert (await tokens.token(GRANT)).value == "token-3"


async def test_a_worker_hears_why_there_is_no_token() -> None:
    worker = FakeWorker()
    worker.supervisor.error = "it answered 401 (invalid_client)"
    async with line(worker):
        with pytest.raises(TokenError, match=r"^it answered 401 \(invalid_client\)$") as raised:
            await RemoteTokens(worker.questions, FixedClock()).token(GRANT)
    assert raised.value.retry_at == 12.5


async def test_who_waits_for_a_token_hears_that_the_supervisor_is_gone() -> None:
    worker = FakeWorker()
    tokens = RemoteTokens(worker.questions, FixedClock())
    async with line(worker) as (_, served):
        worker.supervisor.answering.clear()
        waiting = asyncio.create_task(tokens.token(GRANT))
        while not worker.supervisor.asked:  # noqa: ASYNC110 - a few steps of the event loop
            await asyncio.sleep(0)
        served.cancel()
        with pytest.raises(TokenError, match="does not answer"):
            await waiting


async def test_an_error_in_what_is_said_without_asking_does_not_end_the_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker, heard = FakeWorker(), asyncio.Event()

    def fails(message: list[Any]) -> None:
        heard.set()
        raise RuntimeError(f"a fault in {message}")

    worker.questions.told = fails
    async with line(worker) as (remote, _):
        remote._questions.say(["recalled"])
        await heard.wait()
        assert await remote.configz() == STATUS
    assert "a fault in ['recalled']" in caplog.text
