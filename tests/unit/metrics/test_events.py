"""Lines of the event log: what they say, that they cannot be forged, and that a stuck reader stalls nobody."""

from __future__ import annotations

import json
import os
import select
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.facts import T0, StoppedClock, entry, message, outcome, report

from mailboat.metrics.events import EventLog
from mailboat.metrics.recorder import Recorder
from mailboat.metrics.rejections import LIMIT
from mailboat.metrics.writer import LineWriter
from mailboat.model.observer import BounceResult, ConfigReloaded, Observers, Received, Rejected, RejectReason
from mailboat.model.outcome import Result

Tell = Callable[[EventLog], object]


def lines(*tell: Tell, text: bool = False) -> list[bytes]:
    """What comes out when the log was told these."""
    with tempfile.TemporaryFile() as file:
        writer = LineWriter(file.fileno())
        log = EventLog(writer, text=text, clock=StoppedClock(T0 + 0.1239))
        for one in tell:
            one(log)
        assert writer.close()
        file.seek(0)
        return file.read().splitlines(keepends=True)


def events(*tell: Tell) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(*tell)]


def test_received_names_the_message_its_people_and_its_client() -> None:
    fact = Received(message(size=77), ["bob@example.net"], "127.0.0.1", "ESMTPSA", "alice")
    assert events(lambda log: log.received(fact)) == [
        {
            "time": "2023-11-14T22:13:20.123Z",
            "event": "received",
            "id": "ABCDE-0001",
            "sender": "alice@example.org",
            "recipients": ["bob@example.net"],
            "recipient_count": 1,
            "size": 77,
            "client": "127.0.0.1",
            "protocol": "ESMTPSA",
            "user": "alice",
            "tenant": "default",
        }
    ]


def test_delivered_says_where_by_which_way_and_with_what_answer() -> None:
    done = report(outcome(1, Result.DELIVERED, "250 2.0.0 Ok: queued as 7"))
    (event,) = events(lambda log: log.attempted(entry(attempts=2), done, None, None))
    assert event == {
        "time": "2023-11-14T22:13:20.123Z",
        "event": "delivered",
        "id": "ABCDE-0001",
        "entry": "ABCDE-0001.1",
        "sender": "alice@example.org",
        "recipients": ["bob@example.net"],
        "domain": "example.net",
        "mx": "mx.example.net",
        "ip": "192.0.2.1",
        "port": 25,
        "source": "192.0.2.9",
        "code": 250,
        "enhanced": "2.0.0",
        "reply": "250 2.0.0 Ok: queued as 7",
        "stage": "dot",
        "delay": 1.25,
        "duration": 0.25,
        "tls": "TLSv1.3",
        "tls_policy": "none",
        "tls_level": "clear",
        "tls_verified": "pkix",
        "attempt": 3,
        "cipher": "TLS_AES_256_GCM_SHA384",
        "verified": True,
    }


def test_deferred_says_when_again_and_needs_no_peer() -> None:
    failed = report(outcome(1, Result.DEFERRED, ambiguous=True), peer=None)
    (event,) = events(lambda log: log.attempted(entry(), failed, entry(), 300.0))
    assert (event["event"], event["retry_in"], event["ambiguous"]) == ("deferred", 300.0, True)
    assert (event["code"], event["ip"], event["tls"]) == (None, "", None)
    assert event["reply"] == "refused"


def test_one_line_a_group_of_recipients_with_the_same_answer() -> None:
    people = [f"{name}@example.net" for name in "abcd"]
    mixed = report(
        outcome(1, Result.DELIVERED, "250 2.0.0 Ok"),
        outcome(2, Result.BOUNCED, "550 5.1.1 No"),
        outcome(3, Result.DELIVERED, "250 2.0.0 Ok"),
        outcome(4, Result.BOUNCED, "552 5.2.2 Full"),
    )
    told = events(lambda log: log.attempted(entry(people), mixed, None, None))
    assert [(event["event"], event["code"], event["recipients"]) for event in told] == [
        ("delivered", 250, ["a@example.net", "c@example.net"]),
        ("bounced", 550, ["b@example.net"]),
        ("bounced", 552, ["d@example.net"]),
    ]


def test_the_other_facts_have_their_lines() -> None:
    told = events(
        lambda log: log.attempt_started(entry(attempts=4)),
        lambda log: log.rejected(Rejected(RejectReason.LOOP, "::1", "554 5.4.6 Loop", "a@b", "c@d")),
        lambda log: log.bounce_message(entry(), BounceResult.QUEUED),
        lambda log: log.bind_failed("192.0.2.9"),
        lambda log: log.authentication_failed("mx", "535 5.7.8 No"),
        lambda log: log.config_reloaded(ConfigReloaded("sha256:a")),
        lambda log: log.config_reloaded(ConfigReloaded("sha256:a", "smtp.ini:3: no")),
    )
    assert [event["event"] for event in told] == [
        "attempt",
        "rejected",
        "bounce_message",
        "bind_failed",
        "authentication_failed",
        "config",
        "config",
    ]
    assert (told[0]["attempt"], told[1]["reason"], told[2]["result"]) == (5, "loop", "queued")
    assert [(event["result"], event["error"]) for event in told[5:]] == [
        ("success", ""),
        ("failure", "smtp.ini:3: no"),
    ]


def test_a_plugins_delay_does_not_count_as_an_attempt() -> None:
    put_off = report(outcome(1, Result.DEFERRED), peer=None, counted=False)
    (event,) = events(lambda log: log.attempted(entry(attempts=1), put_off, entry(), 60.0))
    assert event["attempt"] == 1


def test_every_recipient_of_a_thousand_is_told_and_no_line_is_longer_than_a_pipe_takes_at_once() -> None:
    people = [f"recipient-number-{n:04}@example.net" for n in range(1000)]
    done = report(*(outcome(n, Result.DELIVERED, "250 2.0.0 Ok") for n in range(1, 1001)))
    told = lines(
        lambda log: log.attempted(entry(people), done, None, None),
        lambda log: log.received(Received(message(), people, "127.0.0.1", "ESMTP")),
    )
    assert max(map(len, told)) <= select.PIPE_BUF
    *delivered, received = map(json.loads, told)
    assert [person for event in delivered for person in event["recipients"]] == people
    assert received["recipient_count"] == 1000
    assert received["recipients"] == people[: len(received["recipients"])]


@given(st.text(max_size=3000), st.text(max_size=3000))
def test_whatever_a_remote_says_makes_one_short_line_of_json(said: str, name: str) -> None:
    sent = replace(outcome(1, Result.BOUNCED), reason=said)
    fact = Rejected(RejectReason.SYNTAX, "::1", said, name, name)
    told = lines(lambda log: log.attempted(entry(), report(sent), None, None), lambda log: log.rejected(fact))
    assert len(told) == 2
    assert all(len(line) <= select.PIPE_BUF for line in told)
    assert json.loads(told[0])["event"] == "bounced"


def test_a_flood_of_refusals_is_a_few_lines_a_second_and_a_count_of_the_rest() -> None:
    """Those of another reason are told; the metrics, which hear the same facts, count all."""
    clock, later, recorder = StoppedClock(T0), list[tuple[float, Callable[[], None]]](), Recorder()
    flood = Rejected(RejectReason.RELAY_DENIED, "::1", "550 5.7.1 Relaying denied")
    with tempfile.TemporaryFile() as file:
        writer = LineWriter(file.fileno())
        log = EventLog(writer, clock=clock, later=lambda *call: later.append(call))
        everybody = Observers(recorder, log)
        for _ in range(17_400):
            everybody.rejected(flood)
        everybody.rejected(Rejected(RejectReason.AUTH, "::1", "535 5.7.8 No"))
        [(seconds, tell)] = later
        clock.time += seconds
        tell()
        everybody.rejected(flood)
        log.tell_omitted()
        assert writer.close()
        file.seek(0)
        told = [json.loads(line) for line in file.read().splitlines()]
    kinds = [(event["event"], event["reason"], event.get("count", 1)) for event in told]
    one = ("rejected", "relay_denied", 1)
    assert kinds == [
        *[one] * LIMIT,
        ("rejected", "auth", 1),
        ("rejected_omitted", "relay_denied", 17_400 - LIMIT),
        one,
    ]
    assert recorder.snapshot()["counters"]["mailboat_rejected_total"]["relay_denied"] == 17_401


def test_a_line_full_of_control_characters_stays_short_and_whole() -> None:
    hostile = "\x01" * 3000
    (line,) = lines(lambda log: log.rejected(Rejected(RejectReason.SYNTAX, "::1", hostile, hostile, hostile)))
    assert len(line) <= select.PIPE_BUF
    assert json.loads(line)["reason"] == "syntax"


def test_octets_that_are_no_utf8_become_question_marks() -> None:
    fact = Received(message(sender="caf\udce9@example.org"), ["b\udcff@example.net"], "::1", "ESMTP")
    (event,) = events(lambda log: log.received(fact))
    assert (event["sender"], event["recipients"]) == ("caf?@example.org", ["b?@example.net"])


@pytest.mark.parametrize("reply", ["250 ok\n2023 delivered forged", "250 \x1b[2J gone", "250 \x9b31m", "250 \u202egnp"])
def test_text_lines_are_forged_by_no_remote(reply: str) -> None:
    sent = replace(outcome(1, Result.DELIVERED), reason=reply)
    (line,) = lines(lambda log: log.attempted(entry(), report(sent), None, None), text=True)
    assert line.decode().rstrip("\n").isprintable()


def test_text_lines_are_aligned() -> None:
    told = lines(
        lambda log: log.received(Received(message(), ["bob@example.net"], "::1", "ESMTP")),
        lambda log: log.attempted(entry(), report(outcome(1, Result.DELIVERED, "250 2.0.0 Ok")), None, None),
        lambda log: log.attempted(entry(), report(outcome(1, Result.DEFERRED, ambiguous=True)), entry(), 60.0),
        lambda log: log.config_reloaded(ConfigReloaded("sha256:a", "two words")),
        text=True,
    )
    people = "<alice@example.org> -> <bob@example.net>"
    via = "via mx.example.net [192.0.2.1]:25, delay 1.25 s, TLSv1.3"
    time = "2023-11-14T22:13:20.123Z"
    facts = 'recipient_count=1 size=4096 client=::1 protocol=ESMTP user="" tenant=default'
    assert [line.decode().rstrip() for line in told] == [
        f"{time}  received        ABCDE-0001          {people} {facts}",
        f"{time}  delivered       ABCDE-0001.1        {people}, {via}: 2.0.0 250 2.0.0 Ok",
        f"{time}  deferred        ABCDE-0001.1        {people}, {via}, again in 60 s, may arrive twice: 4.4.1 refused",
        f'{time}  config          -                   result=failure hash=sha256:a error="two words"',
    ]


@pytest.fixture
def stuck() -> Iterator[tuple[int, LineWriter]]:
    """A pipe that nobody reads yet, and a writer with a small buffer on it."""
    read, write = os.pipe()
    writer = LineWriter(write, limit=100_000)
    yield read, writer
    os.close(read)
    writer.close()
    os.close(write)


def drain_until(read: int, wanted: bytes) -> bytes:
    """Read the pipe until `wanted` was there."""
    seen = b""
    deadline = time.monotonic() + 10
    while wanted not in seen:
        assert time.monotonic() < deadline, seen[-500:]
        if select.select([read], [], [], 0.5)[0]:
            seen += os.read(read, 65536)
    return seen


def test_a_stuck_reader_costs_lines_and_no_time_and_is_told_of_once(stuck: tuple[int, LineWriter]) -> None:
    read, writer = stuck
    log = EventLog(writer, clock=StoppedClock())
    fact = Received(message(), ["bob@example.net"], "127.0.0.1", "ESMTP")
    slowest = 0.0
    told = 0
    while not writer.lost:
        began = time.monotonic()
        log.received(fact)
        slowest = max(slowest, time.monotonic() - began)
        told += 1
        assert told < 100_000
    log.received(fact)
    assert slowest < 2, "the pipe never moves: a blocking write would hang here"
    lost = writer.lost
    assert lost == 2

    # A reader comes: after a line that found room, one line says how many did not.
    finished = threading.Event()

    def tell_again() -> None:
        while log._said_lost < lost:
            log.attempt_started(entry())
        finished.set()

    teller = threading.Thread(target=tell_again, daemon=True)
    teller.start()
    seen = drain_until(read, b"events_dropped")
    assert finished.wait(10)
    teller.join()
    writer.close()
    assert b'"event":"events_dropped"' in seen


def test_closing_writes_what_is_there() -> None:
    read, write = os.pipe()
    writer = LineWriter(write)
    for n in range(1000):
        assert writer.put(b"%d\n" % n)
    assert writer.close()
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read().split() == [b"%d" % n for n in range(1000)]
    assert not writer.put(b"too late\n")


def test_closing_on_a_stuck_reader_ends(stuck: tuple[int, LineWriter]) -> None:
    _, writer = stuck
    while writer.put(b"x" * 999 + b"\n"):
        pass
    assert not writer.close(timeout=0.05)


def test_a_reader_that_went_away_is_counted_and_survived() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = LineWriter(write)
    writer.put(b"nobody hears this\n")
    writer.close()
    assert writer.lost == 1
    os.close(write)


def test_a_non_blocking_descriptor_loses_nothing() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    writer = LineWriter(write)
    for _ in range(500):
        writer.put(b"x" * 999 + b"\n")
    seen = 0
    while seen < 500_000:
        seen += len(os.read(read, 65536))
    assert writer.close()
    assert writer.lost == 0
    os.close(read)
    os.close(write)
