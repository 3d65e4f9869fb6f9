"""Sends mail to smart hosts instead of the MX: all mail, or by the recipient's or the sender's domain.

`forward.ini` has the hosts; an earlier plugin may choose one with a note. docs/plugins/forward.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailboat.config.hosts import domains
from mailboat.config.openssl import roots
from mailboat.hooks import CONT, OK, Answer, HMail, Mx, Plugin, PluginConfig, Point
from mailboat.model.address import domain_patterns

_FIELDS = ("auth_user", "auth_pass", "auth_type", "bind", "bind_helo", "tls")
_BOOLEANS = ("using_lmtp", "auth_without_tls")
_SENDER = "from:"
_OURS = ("forward", "smtp_forward")
"""What `queue.wants` calls this plugin; the second is Haraka's name for it."""


@dataclass(frozen=True, slots=True)
class Table:
    """`forward.ini`, ready to be asked: hosts by domain, `.domain` (all below it) and "" (the rest)."""

    recipients: Mapping[str, tuple[Mx, ...]]
    senders: Mapping[str, tuple[Mx, ...]]

    def find(self, sender: str, recipient: str) -> tuple[Mx, ...]:
        """The hosts for a message; empty: normal routing."""
        found = _look_up(self.senders, sender) or _look_up(self.recipients, recipient)
        return found or self.recipients.get("", ())


def register(plugin: Plugin) -> None:
    """Read the table, and answer `get_mx`."""
    config = plugin.config("forward.ini", parse)

    async def get_mx(hmail: HMail, domain: str) -> Answer:
        queue = _queue_notes(hmail.todo.notes)
        wanted = queue.get("wants")
        if wanted is not None and wanted not in _OURS:
            return CONT  # for another plugin, or by MX
        if hop := queue.get("next_hop"):
            return OK, hop
        hosts = config.value.find(hmail.todo.mail_from.host, domain)
        return (OK, hosts) if hosts else CONT

    plugin.register_hook(Point.GET_MX, get_mx)


def parse(config: PluginConfig[None]) -> Table:
    """The table in `forward.ini`. ValueError for what is wrong with it."""
    recipients: dict[str, tuple[Mx, ...]] = {}
    senders: dict[str, tuple[Mx, ...]] = {}
    for section in config.sections:
        hosts = _hosts(config, section)
        if section.startswith(_SENDER):
            senders[_domain(section.removeprefix(_SENDER).strip())] = hosts
        elif section != "main":
            recipients[_domain(section)] = hosts
        elif hosts:
            recipients[""] = hosts
    return Table(recipients, senders)


def _domain(text: str) -> str:
    """A domain, or `.domain` for all below it, normalised. ValueError."""
    found = domains(text)
    if len(found) != 1 or found[0] == "*":
        raise ValueError(f"[{text}]: name one domain; keys before the first section are for all other mail")
    return found[0]


def _hosts(config: PluginConfig[None], section: str) -> tuple[Mx, ...]:
    given = config.section(section)
    for key in given:
        if key not in (*_FIELDS, *_BOOLEANS, "ca", "host"):
            raise ValueError(f"[{section}] {key}: not one of {', '.join(('host', 'ca', *_BOOLEANS, *_FIELDS))}")
    if "host" not in given:
        if given or section != "main":
            raise ValueError(f"[{section}] has no host=")
        return ()
    more: dict[str, Any] = {key: config.get(key, section=section) for key in _FIELDS if key in given}
    more |= {key: config.boolean(key, section=section) for key in _BOOLEANS if key in given}
    if "ca" in given:
        more["ca"] = _roots(config, section)
    return config.read("host", lambda text: tuple(_host(one, more) for one in text.split(",")), (), section)


def _roots(config: PluginConfig[None], section: str) -> str:
    content = config.content_of("ca", section=section)
    return config.read("ca", lambda _: roots(content), "", section)


def _host(text: str, more: Mapping[str, Any]) -> Mx:
    """One host, with what the section says of all of them. ValueError."""
    mx = Mx.of(text)
    fields: dict[str, Any] = {
        "exchange": mx.exchange,
        "path": mx.path,
        "using_lmtp": mx.using_lmtp,
        "tls": mx.tls,
        "by_system": True,
    }
    fields |= {"auth_user": mx.auth_user, "auth_pass": mx.auth_pass} if mx.auth_user else {}
    if mx.port_given:
        fields["port"] = mx.port
    return Mx.of(fields | dict(more))


def _look_up(table: Mapping[str, tuple[Mx, ...]], domain: str) -> tuple[Mx, ...]:
    """By name, else by the nearest `.parent` above it."""
    return next((found for name in domain_patterns(domain) if (found := table.get(name)) is not None), ())


def _queue_notes(notes: Mapping[str, Any]) -> Mapping[str, Any]:
    """`queue.wants` and `queue.next_hop`, nested as Haraka stores them, or under their whole names."""
    nested = notes.get("queue")
    if isinstance(nested, Mapping):
        return nested
    return {key: notes[f"queue.{key}"] for key in ("wants", "next_hop") if f"queue.{key}" in notes}
