"""A retry plan for one domain, and silence about mail that nobody waits for.

Recipients at `domain` are tried again after 1, 2, 4, … minutes, `tries` times; bounces of mail from `quiet[]` senders
are not sent.

    domain=example.com
    tries=6
    quiet[]=newsletter@example.org
"""

from __future__ import annotations

import logging

from mailboat.hooks import DENYSOFT, OK, Answer, BounceError, DeferredInfo, HMail, Plugin, PluginConfig

config: PluginConfig[None]
log: logging.Logger


def register(plugin: Plugin) -> None:
    """Keep what is read from later."""
    global config, log
    config = plugin.config("retry_plan.ini")
    log = plugin.logger


async def hook_deferred(hmail: HMail, info: DeferredInfo) -> Answer:
    """`num_failures` counts the attempts that failed before this one."""
    if hmail.todo.domain != config.get("domain") or hmail.num_failures >= config.integer("tries", 6):
        return None
    return DENYSOFT, 60 * 2**hmail.num_failures


async def hook_bounce(hmail: HMail, error: BounceError) -> Answer:
    """The outcome stands; OK only keeps the bounce message back."""
    if str(hmail.todo.mail_from) not in config.items("quiet"):
        return None
    log.info("%s: no bounce message for %s: %s", hmail.filename, hmail.todo.mail_from, error)
    return OK
