"""Selects messages for `quarantine` and `discard`: those marked by another plugin, or matched by their ini file."""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.config.hosts import domain_name
from mailboat.hooks import Connection, PluginConfig, Transaction
from mailboat.plugins._checks import only


@dataclass(frozen=True, slots=True)
class Selecting:
    """The rules of one ini file, its `[main]`."""

    note: str
    """The note, of the message or the connection, that marks a message."""
    everything: bool
    senders: frozenset[str]
    """Domains."""
    recipients: frozenset[str]
    """Domains; a message matches if all of its recipients are in them."""

    @classmethod
    def parse(cls, config: PluginConfig[None], note: str, *more: str) -> Selecting:
        """The rules as written; `more` are other keys of the file. ValueError for what is wrong with them."""
        only(config, {"main": ("all", "sender_domains", "recipient_domains", *more)})
        senders, recipients = (
            config.read(key, _domains, frozenset[str]()) for key in ("sender_domains", "recipient_domains")
        )
        return cls(note, config.boolean("all"), senders, recipients)

    def why(self, connection: Connection, message: Transaction) -> str:
        """Why a message matches; empty if it does not."""
        marked = message.notes.get(self.note) or connection.notes.get(self.note)
        if marked:
            return marked if isinstance(marked, str) else "marked by a plugin"
        if self.everything:
            return "everything is"
        if message.mail_from.host in self.senders:
            return f"from {message.mail_from.host}"
        if self.recipients and all(address.host in self.recipients for address in message.rcpt_to):
            return "by its recipients"
        return ""


def _domains(text: str) -> frozenset[str]:
    return frozenset(domain_name(domain.strip()) for domain in text.split(",") if domain.strip())
