"""What an administrator wants to be done with some mail. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mailboat.shaping.mail_selection import MailSelection


class DirectiveVerb(StrEnum):
    """What is done; the words of the admin API and of the command."""

    BOUNCE = "bounce"
    REROUTE = "reroute"


@dataclass(frozen=True, slots=True)
class Directive:
    """One command of an administrator."""

    verb: DirectiveVerb
    selection: MailSelection
    reason: str
    """For people; senders see it in bounce messages."""
    dsn: bool = True
    """Bounce with a bounce message each."""
    route: str = ""
    """The `[route]` that mail goes by instead."""

    def packed(self) -> Mapping[str, Any]:
        """As JSON values."""
        own = {"verb": self.verb.value, "reason": self.reason, "dsn": self.dsn, "route": self.route}
        return {**own, "selection": dict(self.selection.said)}

    @staticmethod
    def unpacked(packed: Mapping[str, Any]) -> Directive:
        """From what `packed` made."""
        selection = MailSelection(**packed["selection"])
        return Directive(DirectiveVerb(packed["verb"]), selection, packed["reason"], packed["dsn"], packed["route"])
