"""The domain that a message is from: of the first mailbox in its From field (RFC 5322 3.4). Pure.

It decides which key signs, so it is parsed by the grammar: a display name, a comment or a quoted local part may
contain text that looks like another address.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import idna

from mailboat.dkim.coverage import name_of

_MOST: Final = 65_536
"""Octets of the longest From field that is parsed; a longer one has no domain."""
_TOKEN: Final = re.compile(
    r"""(?P<blank>[ \t\r\n]+)|(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<literal>\[[^\[\]\\]*\])"""
    r"""|(?P<special>[<>@,;:.])|(?P<atom>[^\x00-\x20"(),.:;<>@\[\\\]\x7f]+)""",
    re.DOTALL,
)
_COMMENT: Final = re.compile(r"\\.|[()]", re.DOTALL)


def author_domain(fields: Sequence[bytes]) -> str:
    """The domain in lower case and as A-labels; empty if it cannot be determined.

    That is: no From, more than one (RFC 5322 3.6), one that is no list of mailboxes, or an address literal.
    """
    found = [field for field in fields if name_of(field) == "from"]
    if len(found) != 1 or len(found[0]) > _MOST:
        return ""
    try:
        return _ascii(_first_domain(_tokens(found[0].partition(b":")[2].decode("utf-8"))))
    except ValueError:
        return ""


def _tokens(text: str) -> list[tuple[str, str]]:
    """Kind and text of each token; comments and blanks are left out. Raises ValueError for what is none."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        if text[at] == "(":
            at = _behind_comment(text, at)
        elif match := _TOKEN.match(text, at):
            if match.lastgroup != "blank":
                tokens.append((str(match.lastgroup), match[0]))
            at = match.end()
        else:
            raise ValueError(f"no token at {at}")
    return tokens


def _behind_comment(text: str, at: int) -> int:
    depth = 0
    for match in _COMMENT.finditer(text, at):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    raise ValueError("a comment does not end")


def _first_domain(tokens: list[tuple[str, str]]) -> str:
    """The domain of the first mailbox: in angle brackets where there are any before the next comma."""
    if (special := _up_to(tokens, ":<,@")) is not None and tokens[special][1] == ":":
        tokens = tokens[special + 1 :]  # a group: its mailboxes follow its name
    end = _up_to(tokens, ",;")
    mailbox = tokens if end is None else tokens[:end]
    if (opened := _up_to(mailbox, "<")) is not None:
        if mailbox[-1] != ("special", ">"):
            raise ValueError("an angle bracket is not closed")
        if any(token[0] == "special" and token[1] != "." for token in mailbox[:opened]):
            raise ValueError("no display name")
        mailbox = mailbox[opened + 1 : -1]
        if mailbox and mailbox[0] == ("special", "@"):  # an obsolete route (RFC 5322 4.4)
            raise ValueError("a source route")
    at = _up_to(mailbox, "@")
    if not at or any(kind == "literal" for kind, _ in mailbox):
        raise ValueError("no address")
    local, domain = mailbox[:at], mailbox[at + 1 :]
    if not _is_dotted(local, ("atom", "quoted")) or not _is_dotted(domain, ("atom",)):
        raise ValueError("no address")
    return "".join(text for _, text in domain)


def _up_to(tokens: list[tuple[str, str]], specials: str) -> int | None:
    return next((i for i, (kind, text) in enumerate(tokens) if kind == "special" and text in specials), None)


def _is_dotted(tokens: list[tuple[str, str]], kinds: tuple[str, ...]) -> bool:
    """Words of these kinds with single dots between them."""
    if len(tokens) % 2 == 0:
        return False
    words, dots = tokens[::2], tokens[1::2]
    return all(kind in kinds for kind, _ in words) and all(token == ("special", ".") for token in dots)


def _ascii(domain: str) -> str:
    """RFC 8616 4: keys are looked up, and `d=` is written, by A-labels."""
    if domain.isascii():
        return domain.lower()
    return idna.encode(domain, uts46=True).decode("ascii").lower()
