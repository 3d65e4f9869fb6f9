"""Adds and removes header fields of all mail on its way out, as `headers.ini` says. docs/plugins/headers.md"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mailboat.hooks import Connection, Plugin, PluginConfig, Point
from mailboat.message.header import MessageHeader
from mailboat.plugins._checks import only

_KEEP = frozenset({"received"})
"""Without these fields a loop could not be seen (RFC 5321 6.3)."""


@dataclass(frozen=True, slots=True)
class Changes:
    """`headers.ini`."""

    remove: Sequence[str]
    add: Sequence[tuple[str, str]]
    """At the end of the header."""
    add_leading: Sequence[tuple[str, str]]
    """At its top."""
    bounces: bool
    """Our own bounce messages too."""


def register(plugin: Plugin) -> None:
    """Change each message just before it is queued."""
    config = plugin.config("headers.ini", parse, secret=False)

    async def pre_send_trans_email(connection: Connection) -> None:
        changes, message = config.value, connection.transaction
        if message is None or (message.mail_from.is_null and not changes.bounces):
            return
        header = message.header
        for name in changes.remove:
            header.remove(name)
        for name, value in changes.add:
            header.add(name, _filled(value, message.uuid, str(message.mail_from)))
        for name, value in changes.add_leading:
            header.add_leading(name, _filled(value, message.uuid, str(message.mail_from)))

    plugin.register_hook(Point.PRE_SEND_TRANS_EMAIL, pre_send_trans_email)


def _filled(value: str, id_: str, sender: str) -> str:
    return value.replace("{id}", id_).replace("{sender}", sender)


def parse(config: PluginConfig[None]) -> Changes:
    """The changes in `headers.ini`. ValueError for one that cannot be made."""
    only(config, {"main": ("remove", "bounces"), "add": None, "add_leading": None})
    remove = config.items("remove")
    for name in remove:
        if name.lower() in _KEEP:
            raise ValueError(f"{name} must stay: mail loops are detected by it")
    return Changes(remove, _fields(config, "add"), _fields(config, "add_leading"), config.boolean("bounces"))


def _fields(config: PluginConfig[None], section: str) -> list[tuple[str, str]]:
    found = []
    for name in config.section(section):
        for value in config.items(name, section):
            MessageHeader(b"").add(name, value)  # what it refuses is a fault now, not of each message later
            found.append((name, value))
    return found
