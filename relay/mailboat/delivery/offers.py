"""What a peer's reply to EHLO or LHLO offers. Pure. Used by `delivery.client`, `session`, `attempt` and `envelope`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mailboat.smtp.extensions import EXTENSIONS, LIMITS, Extension
from mailboat.smtp.extensions.limits import AnnouncedLimits, limits_of


@dataclass(frozen=True, slots=True)
class PeerOffers:
    """The extensions that a peer offers."""

    values: Mapping[str, str] = field(default_factory=dict)
    """The parameters of each keyword; both in capitals."""
    extensions: tuple[Extension, ...] = field(init=False, compare=False, repr=False)
    """Supported extensions with parameters, in the order of `EXTENSIONS`: computed once for each session."""
    limits: AnnouncedLimits = field(init=False, compare=False, repr=False)
    """Those that it announces (RFC 9422)."""

    def __post_init__(self) -> None:
        extensions = tuple(e for e in EXTENSIONS if e in self and (e.at_mail or e.mail or e.rcpt))
        object.__setattr__(self, "extensions", extensions)
        object.__setattr__(self, "limits", limits_of(self.value(LIMITS)))

    def __contains__(self, extension: Extension) -> bool:
        """Whether the peer offers an extension."""
        return extension.keyword in self.values

    def value(self, extension: Extension) -> str | None:
        """The parameters of the keyword; None: it does not offer the extension."""
        return self.values.get(extension.keyword)


def offers_of(lines: list[bytes]) -> PeerOffers:
    """The offers in the lines of a reply, which include codes and line ends.

    The first line is the host's name (RFC 5321 4.1.1.1), even where it is empty.
    """
    values: dict[str, str] = {}
    for line in lines[1:]:
        keyword, _, value = line[4:].decode("ascii", "replace").strip().upper().partition(" ")
        if keyword.startswith("AUTH="):  # as before RFC 2554: `AUTH=LOGIN PLAIN`, alone or with an AUTH line
            keyword, value = "AUTH", f"{keyword[5:]} {value}"
        if keyword == "AUTH":
            value = f"{values.get('AUTH', '')} {value}"
        values[keyword] = value.strip()
    return PeerOffers(values)
