"""A reply of an SMTP or LMTP server (RFC 5321 4.2) and the enhanced status within it (RFC 3463)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})(?:\s|$)")


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a server to one command."""

    code: int
    """The three-digit reply code."""
    text: str
    """The text lines joined by a line feed, codes removed, enhanced codes kept."""

    def __str__(self) -> str:
        text = self.text.replace("\n", " ")
        return f"{self.code} {text}" if text else str(self.code)

    @property
    def enhanced(self) -> str | None:
        """The enhanced status code of the last line that carries one, such as `5.7.26`, if its class fits the reply."""
        for line in reversed(self.text.split("\n")):
            match = _ENHANCED.match(line)
            if match and int(match[1]) == self.code // 100:
                return f"{match[1]}.{int(match[2])}.{int(match[3])}"
        return None

    @property
    def is_success(self) -> bool:
        """A 2yz reply: positive completion."""
        return 200 <= self.code <= 299

    @property
    def is_permanent(self) -> bool:
        """A 5yz reply: do not repeat."""
        return 500 <= self.code <= 599
