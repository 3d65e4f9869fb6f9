"""Checks every attempt under way at intervals for silent peers and for attempts that take too long. Pure.

`delivery.engine` calls `sweep` every `INTERVAL` seconds and ends the attempts that it returns.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.delivery.places import SILENT_AFTER, SILENT_AFTER_UNPROVEN, Place, Places

INTERVAL = 0.25
"""Seconds between two checks."""
PROGRESS_SPAN = 60.0
"""Seconds over which the progress of a body is measured."""
PROGRESS = 1024 * 60
"""Octets of a body that the peer must accept in that time."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """An attempt to end, and why."""

    place: Place
    why: str


def sweep(places: Places, now: float, attempt_timeout: float, *, others_wait: bool) -> list[Overdue]:
    """Park attempts with silent peers, unpark the others; returns those to end. `others_wait` for a place."""
    found = []
    for place in places.held:
        if _hears(place, now):
            if place.silent:
                places.change(place, silent=False)
        elif not place.silent and now - place.heard >= (SILENT_AFTER if place.proven else SILENT_AFTER_UNPROVEN):
            places.change(place, silent=True)
        why = _too_long(place, now, attempt_timeout if place.most is None else place.most)
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
    """Whether an unproven peer was silent for as long as it may be."""
    address = place.address
    return address is not None and not place.proven and place.line is None and now - place.heard >= address.patience


def _too_long(place: Place, now: float, attempt_timeout: float) -> str:
    line = place.line
    if line is None or line.sent is None:
        if place.address is not None and now - place.began >= attempt_timeout and not (line and line.dot_sent):
            return f"the attempt took {attempt_timeout:g} s"
        return ""
    # The body is being sent: it may be slow, as long as it proceeds.
    if place.mark is None:
        place.mark = now, line.sent
    elif now - place.mark[0] >= PROGRESS_SPAN:
        progress = line.sent - place.mark[1]
        if progress < PROGRESS:
            return f"the peer took {progress} octets of the message in {now - place.mark[0]:.0f} s"
        place.mark = now, line.sent
    return ""
