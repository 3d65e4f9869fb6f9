"""An administrator's suspension of mail, as one of the overrides in force. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mailboat.shaping.mail_selection import MailSelection
from mailboat.shaping.overrides import MAIL, Override, OverridePlace
from mailboat.shaping.rules import ActionKind

ANY = "*"


def suspension(id: str, selection: MailSelection, reason: str, since: float, until: float) -> Override:  # noqa: A002
    """The override; times are seconds since the epoch."""
    place = OverridePlace(MAIL, json.dumps(dict(selection.said)), ANY)
    return Override(id, place, ActionKind.SUSPEND.value, f"suspension {id}", reason, since, until)


def said_of(one: Override) -> Mapping[str, str] | None:
    """What selects the mail of an override; None: it is not an administrator's."""
    if one.place.scope != MAIL:
        return None
    said: Mapping[str, str] = json.loads(one.place.part)
    return said


def selection_of(one: Override) -> MailSelection | None:
    """The same as a selection."""
    said = said_of(one)
    return None if said is None else MailSelection(**said)
