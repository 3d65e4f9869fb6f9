"""The files that `mailboat plugin new` writes. `@name@` is the plugin's name."""

PLUGIN = '''\
"""@name@: refuses mail to recipients that @name@.ini lists under `refuse[]`.

Listed in `config/plugins`, it is called at the points below. See docs/hooks.md for all of them.
"""

from __future__ import annotations

from mailboat.hooks import DENY, Address, Answer, Connection, Plugin, PluginConfig
from mailboat.hooks.metrics import Counter

config: PluginConfig[frozenset[str]]
refused: Counter


def parse(file: PluginConfig[None]) -> frozenset[str]:
    """The addresses that are refused. A ValueError here is a fault of the configuration."""
    addresses = frozenset(address.lower() for address in file.items("refuse"))
    for address in addresses:
        if "@" not in address:
            raise ValueError(f"refuse[]={address} is no address")
    return addresses


def register(plugin: Plugin) -> None:
    """Called once, when the plugin is loaded. The file is read again whenever it changes."""
    global config, refused
    config = plugin.config("@name@.ini", parse)
    refused = plugin.metrics.counter("refused", "Recipients refused.")


async def hook_rcpt(connection: Connection, address: Address, params: dict[str, str]) -> Answer:
    """A recipient. `async` where nothing is waited for, or only awaited; a plain function may block."""
    if address.normalised.lower() in config.value:
        refused.inc()
        return DENY, "5.7.1 Mail to this address is not taken here"
    return None
'''

TEST = '''\
"""Tests of @name@, called as the relay calls it. Run with pytest; no relay is needed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mailboat.hooks import CONT, DENY, Decision, parse_address
from mailboat.hooks.testing import connection, loaded

PLUGIN = Path(__file__).with_name("@name@.py")


def ask(recipient: str, refuse: str) -> Decision:
    """What it says of a recipient, with one address in its file."""

    async def asked() -> Decision:
        async with loaded(PLUGIN, {"@name@.ini": f"refuse[]={refuse}\\n"}) as plugin:
            decision = await plugin.ask("rcpt", connection(), parse_address(recipient), {})
            assert plugin.failures == []
            assert plugin.counter("refused") == (decision.code is DENY)
            return decision

    return asyncio.run(asked())


def test_a_listed_recipient_is_refused() -> None:
    assert ask("Bob@Example.com", "bob@example.com").code is DENY


def test_others_are_not_its_business() -> None:
    assert ask("carol@example.com", "bob@example.com").code is CONT
'''
