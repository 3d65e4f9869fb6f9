"""Sends the mail of some senders by a smart host of their own.

`route_by_sender.ini` names a next hop for each sender's domain:

    [routes]
    example.com=smtp://user:p%40ssword@smtp.example.net:587
    example.org=lmtp://[2001:db8::25]
"""

from __future__ import annotations

from mailboat.hooks import OK, Answer, HMail, Mx, Plugin, PluginConfig
from mailboat.hooks.metrics import Counter

routes: PluginConfig[dict[str, Mx]]
routed: Counter


def parse(file: PluginConfig[None]) -> dict[str, Mx]:
    """The next hop of each domain. A bad one is a ValueError: a fault of the configuration, which is then refused."""
    section = file.section("routes")
    return {domain.lower(): Mx.of(file.get(domain, section="routes")) for domain in section}


def register(plugin: Plugin) -> None:
    """Read the file now, and again whenever it changes."""
    global routes, routed
    routes = plugin.config("route_by_sender.ini", parse)
    routed = plugin.metrics.counter("routed", "Deliveries by a way of their own.")


async def hook_get_mx(hmail: HMail, domain: str) -> Answer:
    """A dictionary is asked, nothing is waited for: async, so it runs on the event loop."""
    hop = routes.value.get(hmail.todo.mail_from.host)
    if hop is None:
        return None  # by MX, as ever
    routed.inc()
    return OK, hop
