"""The plugin `log_events`: a line a hook, at every point, without secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.plugged import Plugged, client, hmail, person

from mailboat.hooks import POINTS, AuthAttempt, BounceError, DeferredInfo, Delivered, Point
from mailboat.plugins import log_events

ARGUMENTS: dict[str, Any] = {
    "connection": client(),
    "hmail": hmail(),
    "name": "client.test",
    "address": person("bob@there.test"),
    "params": {},
    "attempt": AuthAttempt("PLAIN", "alice", "pa55word", lambda secret: secret == "pa55word"),
    "text": "Message queued",
    "domain": "there.test",
    "info": DeferredInfo(64.0, "450 later", [person("bob@there.test")]),
    "error": BounceError("550 no", bounced_rcpt=[person("bob@there.test")]),
}
DELIVERED = Delivered("mx.test", "192.0.2.1", "ok", 0.5, 25, "SMTP", [person("bob@there.test")], True, False)


def arguments(point: Point) -> list[Any]:
    if point is Point.DELIVERED:
        return [ARGUMENTS["hmail"], DELIVERED]
    return [ARGUMENTS[name] for name in POINTS[point].parameters]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_every_point_writes_one_line_and_no_password(tmp_path: Path) -> None:
    file = tmp_path / "hooks.json"
    it = Plugged.of(log_events, tmp_path, log_events_ini=f"file={file}\n")
    for point in POINTS:
        assert await it.ask(point, *arguments(point)) is None
    assert [line["point"] for line in lines(file)] == list(POINTS)
    assert "pa55word" not in file.read_text()
    by_point = {line["point"]: line for line in lines(file)}
    assert by_point["auth"]["user"] == "alice"
    assert by_point["rcpt"]["address"] == "bob@there.test"
    assert (by_point["delivered"]["mx"], by_point["delivered"]["delivered"]) == ("mx.test", ["bob@there.test"])
    assert (by_point["deferred"]["delay"], by_point["bounce"]["reason"]) == (64.0, "550 no")
    assert by_point["queue_outbound"]["client"] == "192.0.2.7"


async def test_only_the_points_that_are_named(tmp_path: Path) -> None:
    file = tmp_path / "hooks.json"
    it = Plugged.of(log_events, tmp_path, log_events_ini=f"file={file}\npoints=bounce, deferred\n")
    for point in POINTS:
        await it.ask(point, *arguments(point))
    assert [line["point"] for line in lines(file)] == ["deferred", "bounce"]


async def test_without_a_file_lines_go_to_the_log_and_many_recipients_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    it = Plugged.of(log_events, tmp_path)
    people = [f"u{n}@there.test" for n in range(100)]
    with caplog.at_level("INFO"):
        await it.ask("queue_outbound", client(*people))
    event = json.loads(caplog.messages[-1])
    assert (len(event["recipients"]), event["recipient_count"]) == (20, 100)


@pytest.mark.parametrize("text", ["points=nowhere\n", "file=relative\n", "point=mail\n"])
def test_what_makes_no_sense_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"not one of connect|absolute|not known"):
        Plugged.of(log_events, tmp_path, log_events_ini=text)


async def test_a_line_stays_within_its_limit_whatever_it_says(tmp_path: Path) -> None:
    file = tmp_path / "hooks.json"
    it = Plugged.of(log_events, tmp_path, log_events_ini=f"file={file}\n")
    people = [person(f"{'p' * 200}{n}@there.test") for n in range(50)]
    await it.ask(Point.DEFERRED, hmail(), DeferredInfo(1.0, "450 \x01" * 1000, people))
    await it.ask(Point.EHLO, client(), "n" * 250)
    assert all(len(line) <= log_events.LINE_LIMIT for line in file.read_bytes().splitlines())
    assert [line["point"] for line in lines(file)] == ["deferred", "ehlo"]
    assert lines(file)[0]["deferred"]
