"""The plugin `limit`: places are given back exactly once, rates hold, and what waits never comes all at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.support.facts import StoppedClock
from tests.support.plugged import Plugged, hmail

from mailboat.hooks import DELAY, Answer, HMail
from mailboat.plugins import _turns, limit
from mailboat.plugins._turns import FARTHEST, Rate

START = 1_000_020.0
"""20 s into a minute."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    clock = StoppedClock(START)
    monkeypatch.setattr(limit, "time", SimpleNamespace(time=clock.now))
    return clock


def over(mail: HMail) -> None:
    """Its attempt is over."""
    for function in mail.is_over():
        function()


def seconds(answer: Answer) -> float:
    """How long it waits; 0: it goes."""
    if answer is None or not isinstance(answer, tuple):
        return 0.0
    code, value = answer
    assert code is DELAY
    assert isinstance(value, float)
    return value


def mails(to: str = "a@one.test") -> Iterator[HMail]:
    while True:
        yield hmail(to)


async def test_so_many_attempts_at_once_and_a_place_comes_back_once(tmp_path: Path, clock: StoppedClock) -> None:
    it = Plugged.of(limit, tmp_path, limit_ini="[outbound]\none.test=2\ndelay=40\n")
    first, second, third = hmail("a@one.test"), hmail("a@one.test"), hmail("a@one.test")
    assert [seconds(await it.ask("send_email", mail)) for mail in (first, second)] == [0, 0]
    assert 40 <= seconds(await it.ask("send_email", third)) <= 80
    assert seconds(await it.ask("send_email", hmail("a@two.test"))) == 0, "others are not limited"
    over(third)
    over(first)
    over(first)
    assert seconds(await it.ask("send_email", hmail("a@one.test"))) == 0
    assert seconds(await it.ask("send_email", hmail("a@one.test"))) > 0, "one place came back, not two or three"


async def test_a_domain_counts_with_the_one_above_it_and_default_counts_each_by_itself(
    tmp_path: Path, clock: StoppedClock
) -> None:
    it = Plugged.of(limit, tmp_path, limit_ini="[outbound]\nexample.com=1\ndefault=1\n")
    assert seconds(await it.ask("send_email", hmail("a@x.example.com"))) == 0
    assert seconds(await it.ask("send_email", hmail("a@y.example.com"))) > 0
    assert seconds(await it.ask("send_email", hmail("a@one.test"))) == 0
    assert seconds(await it.ask("send_email", hmail("a@two.test"))) == 0
    assert seconds(await it.ask("send_email", hmail("a@one.test"))) > 0


async def test_beyond_a_rate_each_has_a_moment_of_its_own_in_the_next_spans(
    tmp_path: Path, clock: StoppedClock
) -> None:
    it = Plugged.of(limit, tmp_path, limit_ini="[rate_outbound]\none.test=4/1m\n")
    waits = [seconds(await it.ask("send_email", hmail("a@one.test"))) for _ in range(12)]
    left = 60 - START % 60
    assert waits == [0] * 4 + [left + n * 15 for n in range(8)]


async def test_what_waited_passes_at_its_time_without_being_counted_again(tmp_path: Path, clock: StoppedClock) -> None:
    it = Plugged.of(limit, tmp_path, limit_ini="[rate_outbound]\none.test=2/1m\n")
    waiting = []
    for _ in range(6):
        mail = hmail("a@one.test")
        wait = seconds(await it.ask("send_email", mail))
        if wait:
            waiting.append((clock.now() + wait, mail))
    went: dict[int, int] = {}
    for when, mail in waiting:
        clock.time = when
        assert seconds(await it.ask("send_email", mail)) == 0
        assert mail.notes == {}, "nothing is left of it"
        went[int(when // 60)] = went.get(int(when // 60), 0) + 1
    assert list(went.values()) == [2, 2]
    assert seconds(await it.ask("send_email", hmail("a@one.test"))) > 0, "their places were theirs"


async def test_a_flush_does_not_break_a_rate_and_neither_does_a_restart(tmp_path: Path, clock: StoppedClock) -> None:
    it = Plugged.of(limit, tmp_path, limit_ini="[rate_outbound]\none.test=1/1m\n")
    await it.ask("send_email", hmail("a@one.test"))
    mail = hmail("a@one.test")
    wait = seconds(await it.ask("send_email", mail))
    assert seconds(await it.ask("send_email", mail)) == wait
    again = Plugged.of(limit, tmp_path)
    assert seconds(await again.ask("send_email", mail)) == wait
    clock.time += wait
    assert seconds(await again.ask("send_email", mail)) == 0


async def test_a_long_queue_is_given_places_for_a_day_and_asks_again_later(tmp_path: Path, clock: StoppedClock) -> None:
    it = Plugged.of(limit, tmp_path, limit_ini="[rate_outbound]\none.test=1/1h\n")
    waits = [seconds(await it.ask("send_email", mail)) for mail, _ in zip(mails(), range(60), strict=False)]
    assert max(waits) <= FARTHEST
    assert len({round(wait) for wait in waits[30:]}) > 15, "not at one moment"


async def test_a_clock_that_was_set_back_or_a_note_of_nonsense_stops_nothing(
    tmp_path: Path, clock: StoppedClock
) -> None:
    it = Plugged.of(limit, tmp_path, limit_ini="[rate_outbound]\none.test=1/1m\n")
    for _ in range(3):
        await it.ask("send_email", hmail("a@one.test"))
    clock.time -= 1e6
    assert seconds(await it.ask("send_email", hmail("a@one.test"))) == 0
    for junk in ("x", 1e18, None):
        mail = hmail("a@two.test")
        mail.notes[limit.NOTE] = junk
        assert seconds(await it.ask("send_email", mail)) == 0


def test_the_domains_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_turns, "MOST_NAMES", 50)
    turns = _turns.Turns()
    for now in range(300):
        assert turns.acquire(f"d{now}.test", Rate(5, 10.0), now) == now
    assert len(turns._windows) <= 61


@pytest.mark.parametrize(
    "text",
    [
        "[outbound]\none.test=-1\n",
        "[outbound]\none.test=x\n",
        "one.test=5\n",
        "[rate]\none.test=5/1s\n",
        "[outbound]\ndelay=0\n",
        "[rate_outbound]\none.test=5\n",
        "[rate_outbound]\none.test=5/0s\n",
        "[rate_outbound]\none.test=5/1y\n",
        "[rate_outbound]\none.test=-5/1s\n",
    ],
)
def test_what_is_no_limit_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"limit|outbound"):
        Plugged.of(limit, tmp_path, limit_ini=text)
