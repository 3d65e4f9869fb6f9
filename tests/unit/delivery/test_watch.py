"""What is seen of attempts that go on: silence, impatience, time, and progress of a body."""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.delivery.destination import PATIENCE, Destination, HostAddress
from mailboat.delivery.places import SILENT_AFTER, SILENT_AFTER_UNPROVEN, Place, Places
from mailboat.delivery.watch import PROGRESS, PROGRESS_SPAN, sweep

LONG = 600.0


@dataclass
class Talk:
    """A session as a test wants it."""

    heard: int = 0
    sent: int | None = None
    dot_sent: bool = False


def held(*, proven: bool, most: int = 10, count: int = 1) -> tuple[Places, list[Place]]:
    """Places, and attempts that hold some from time 0."""
    places = Places()
    places.most = most
    attempts = []
    for _ in range(count):
        place = Place(Destination("mx.test"), 0.0, proven=proven)
        place.address, place.interrupt = HostAddress(), lambda _why: None
        places.add(place)
        attempts.append(place)
    return places, attempts


def ended(places: Places, now: float, *, others_wait: bool = False) -> list[str]:
    return [overdue.why for overdue in sweep(places, now, LONG, others_wait=others_wait)]


def test_a_silent_peer_loses_its_place_after_five_seconds_an_unproven_one_after_one() -> None:
    for proven, seconds in ((True, SILENT_AFTER), (False, SILENT_AFTER_UNPROVEN)):
        places, _ = held(proven=proven)
        ended(places, seconds - 0.1)
        assert (places.active, places.parked) == (1, 0)
        ended(places, seconds)
        assert (places.active, places.parked) == (0, 1)


def test_an_octet_brings_it_back_above_the_limit_if_need_be() -> None:
    places, (first, *_) = held(proven=True, most=2, count=2)
    first.line = Talk()
    ended(places, 10.0)
    assert places.parked == 2
    for _ in range(2):
        places.add(Place(Destination("b.test"), 10.0, proven=True))
    first.line.heard += 1
    ended(places, 10.1)
    assert (places.active, places.parked) == (3, 1)
    assert not places.has_room(proven=True)


def test_unproven_peers_that_do_not_greet_are_given_up_only_while_others_wait_for_their_places() -> None:
    places, attempts = held(proven=False, most=3, count=3)
    ended(places, 2.0)
    assert places.is_crowded
    assert ended(places, PATIENCE + 1) == []
    assert len(ended(places, PATIENCE + 1, others_wait=True)) == 3
    attempts[0].address = None
    assert len(ended(places, PATIENCE + 1, others_wait=True)) == 2


def test_there_is_more_patience_for_an_address_each_time() -> None:
    places, (place,) = held(proven=False, most=1)
    assert place.address is not None
    place.address.patience = 20.0
    ended(places, 2.0)
    assert not ended(places, 19.0, others_wait=True)
    assert ended(places, 20.0, others_wait=True)


def test_an_attempt_has_its_time_up_to_the_body_and_none_of_it_counts_after_the_dot() -> None:
    places, (place,) = held(proven=True)
    assert ended(places, LONG - 1) == []
    assert ended(places, LONG) == ["the attempt took 600 s"]
    place.line = Talk(dot_sent=True)
    assert ended(places, 10 * LONG) == []


def test_a_body_may_take_its_time_if_it_goes_on() -> None:
    places, (place,) = held(proven=True)
    talk = place.line = Talk(sent=0)
    for minute in range(1, 60):
        talk.sent = minute * PROGRESS
        assert ended(places, minute * PROGRESS_SPAN) == []
    assert talk.sent is not None
    talk.sent += PROGRESS - 1
    assert ended(places, 60 * PROGRESS_SPAN) == [f"the peer took {PROGRESS - 1} octets of the message in 60 s"]
