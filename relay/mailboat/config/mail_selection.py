"""Reads which mail an administrator's command is about. Called by the admin API, the command and the loader."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mailboat.config.hosts import domain_name, domain_pattern, senders
from mailboat.model.envelope import TENANT_NAME
from mailboat.shaping.mail_selection import MailSelection


def mail_selection(said: Mapping[str, object]) -> MailSelection:
    """The selection with these fields, normalised. Raises ValueError with the field's name and the reason."""
    if not said:
        raise ValueError(f"give at least one of {', '.join(FIELDS)}")
    read = {}
    for name, value in said.items():
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"{name}: must be a string that is not empty")
        try:
            read[name] = FIELDS[name](value.strip())
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return MailSelection(**read)


def _sender(text: str) -> str:
    """As `MailSelection.sender`; a domain may also stand without `@`."""
    bare = text if text == "<>" else text.removeprefix("<").removesuffix(">")
    found = senders(bare.removeprefix("@"))
    if len(found) != 1:
        raise ValueError("is not one address or domain")
    if "@" in found[0]:  # the local part as it is written: it is compared exactly
        return bare.rpartition("@")[0] + "@" + found[0].rpartition("@")[2]
    return found[0] if found[0].startswith(".") or found[0] == "<>" else f"@{found[0]}"


def _tenant(text: str) -> str:
    if not TENANT_NAME.fullmatch(text):
        raise ValueError("is not the name of a tenant")
    return text


def _word(text: str) -> str:
    return text


FIELDS: Mapping[str, Callable[[str], str]] = {
    "domain": domain_pattern,
    "provider": _word,
    "site": domain_name,
    "source": _word,
    "tenant": _tenant,
    "sender": _sender,
    "label": _word,
}
"""How each field is read."""
