"""Looks at every attempt under way, now and then: whose peer keeps silent, and which take too long. Pure.

`delivery.engine` calls `sweep` every `INTERVAL` seconds and ends what it names.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.delivery.places import SILENT_AFTER, SILENT_AFTER_UNPROVEN, Place, Places

INTERVAL = 0.25
"""Seconds between two looks."""
PROGRESS_SPAN = 60.0
"""Seconds over which a body has to make progress."""
PROGRESS = 1024 * 60
"""Octets of a body that the peer has to take in that time."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """An attempt to be ended, and why."""

    place: Place
    why: str


def sweep(places: Places, now: float, attempt_timeout: float, *, others_wait: bool) -> list[Overdue]:
    """Park who keeps silent, wake who does not; who is to be ended. `others_wait` for a place."""
    found = []
    for place in places.held:
        if _hears(place, now):
            if place.silent:
                places.change(place, silent=False)
        elif not place.silent and now - place.heard >= (SILENT_AFTER if place.proven else SILENT_AFTER_UNPROVEN):
            places.change(place, silent=True)
        why = _too_long(place, now, attempt_timeout)
        if not why and others_wait and places.is_crowded and _impatient(place, now):
            why = f"no answer within {now - place.heard:.0f} s, and others wait"
        if why and place.interrupt is not None:
            found.append(Overdue(place, why))
    return found


def _hears(place: Place, now: float) -> bool:
    heard = 0 if place.line is None else place.line.heard
    if heard == place.seen:
        return False
    place.seen, place.heard = heard, now
    return True


def _impatient(place: Place, now: float) -> bool:
    """An unproven peer that is dialled has used up what patience there is for it."""
    address = place.address
    return address is not None and not place.proven and place.line is None and now - place.heard >= address.patience


def _too_long(place: Place, now: float, attempt_timeout: float) -> str:
    line = place.line
    if line is None or line.sent is None:
        if place.address is not None and now - place.began >= attempt_timeout and not (line and line.dot_sent):
            return f"the attempt took {attempt_timeout:g} s"
        return ""
    # The body is under way: it may take its time, if it only goes on.
    if place.mark is None:
        place.mark = now, line.sent
    elif now - place.mark[0] >= PROGRESS_SPAN:
        progress = line.sent - place.mark[1]
        if progress < PROGRESS:
            return f"the peer took {progress} octets of the message in {now - place.mark[0]:.0f} s"
        place.mark = now, line.sent
    return ""
