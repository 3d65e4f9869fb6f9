"""The counters of limits: all or nothing, and never more than a limit says."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from mailboat.shaping.ledger import RESERVED, Ledger, LimitCheck, LimitRefused, Mark, restored
from mailboat.shaping.limits import LimitKey
from mailboat.shaping.rate import SECOND


def rate(count: int, period: int, burst: int = 1, key: str = "r") -> LimitCheck:
    return LimitCheck(key, LimitKey.RATE, count, period, burst)


def connections(limit: int, key: str = "c") -> LimitCheck:
    return LimitCheck(key, LimitKey.CONNECTIONS, limit)


def test_takes_all_checks_or_none() -> None:
    ledger = Ledger()
    wide, narrow = connections(3, "wide"), connections(1, "narrow")
    assert ledger.take([(wide, 1), (narrow, 1)], 0) == 0
    assert ledger.take([(wide, 1), (narrow, 1)], 0) == LimitRefused(narrow, None)
    assert ledger.open("wide") == 1
    ledger.give_back("narrow")
    assert ledger.take([(wide, 1), (narrow, 1)], 0) == 0
    assert ledger.open("wide") == 2


def test_a_refused_connection_uses_up_no_rate() -> None:
    ledger = Ledger()
    assert isinstance(ledger.take([(rate(1, SECOND), 1), (connections(0), 1)], 0), LimitRefused)
    assert ledger.used_up("r") == 0


def test_says_when_a_rate_allows_the_next() -> None:
    ledger, check = Ledger(), rate(1, 60 * SECOND)
    assert ledger.take([(check, 1)], 5) == 5
    refused = ledger.take([(check, 1)], 5)
    assert refused == LimitRefused(check, 5 + check.lent.interval)
    assert ledger.take([(check, 1)], 5 + check.lent.interval) == 5 + check.lent.interval


def test_gives_permits_ahead_of_their_time() -> None:
    ledger, check = Ledger(), rate(10, SECOND)
    assert ledger.take([(check, 1)], 0) == 0
    assert ledger.take([(check, 1)], 0, ahead=check.lent.interval) == check.lent.interval
    assert isinstance(ledger.take([(check, 1)], 0, ahead=check.lent.interval), LimitRefused)


def test_more_recipients_than_the_limit_count_as_the_limit() -> None:
    ledger, check = Ledger(), rate(10, SECOND)
    assert ledger.take([(check, 50)], 0) == 0
    assert isinstance(ledger.take([(check, 1)], SECOND // 2), LimitRefused)
    assert isinstance(ledger.take([(check, 50)], SECOND), LimitRefused)
    assert ledger.take([(check, 50)], 3 * SECOND) == 3 * SECOND


@given(
    count=st.integers(1, 40),
    burst_share=st.floats(0, 1),
    period=st.sampled_from([SECOND, 5 * SECOND, 60 * SECOND]),
    seed=st.integers(0, 2**32),
)
def test_no_window_holds_more_than_the_limit(count: int, burst_share: float, period: int, seed: int) -> None:
    """However many units each message takes, and though each permit is used as late as it may be."""
    chance = random.Random(seed)
    check = rate(count, period, max(1, int(count * burst_share)))
    ledger, now, used = Ledger(), 0, []
    for _ in range(300):
        units = chance.choice([1, 1, 1, chance.randint(1, count)])
        start = ledger.take([(check, units)], now, chance.choice([0, check.slack]))
        if isinstance(start, LimitRefused):
            assert start.until is not None
            now = chance.choice([start.until, start.until + chance.randrange(period)])
        else:
            used.append((start + chance.choice([0, check.slack, chance.randint(0, check.slack)]), units))
            now += chance.choice([0, 0, chance.randrange(period)])
    used.sort()
    first = total = 0
    for at, units in used:
        total += units
        while used[first][0] <= at - period:
            total -= used[first][1]
            first += 1
        assert total <= count


@given(st.integers(1, 100), st.integers(1, 10), st.integers(0, 20 * SECOND))
def test_nothing_is_doubled_by_a_crash(count: int, before: int, pause: int) -> None:
    """What was stored before the crash covers all that was taken."""
    check = rate(count, 60 * SECOND)
    ledger, now = Ledger(), 0
    stored: dict[str, Mark] = {}
    for _ in range(before):
        start = ledger.take([(check, 1)], now)
        if isinstance(start, LimitRefused):
            assert start.until is not None
            now = start.until
        else:
            now = start
        stored.update(ledger.unsaved)
        ledger.unsaved.clear()
    used_up = ledger.used_up("r")
    assert used_up <= stored["r"].until <= used_up + RESERVED
    again = Ledger()
    again.restore(restored(stored, now + pause, now + pause))
    start = again.take([(check, 1)], now + pause)
    assert isinstance(start, LimitRefused) or now + pause >= used_up


def test_a_clock_set_back_costs_one_period_at_most() -> None:
    assert restored({"r": Mark(1_000_000, 60)}, 0, 7) == {"r": 67}
    assert restored({"r": Mark(50, 60)}, 0, 7) == {"r": 57}
    assert restored({"r": Mark(50, 60)}, 51, 7) == {}
