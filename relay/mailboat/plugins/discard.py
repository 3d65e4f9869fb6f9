"""Accepts messages with 250 and discards them. docs/plugins/discard.md"""

from __future__ import annotations

from mailboat.hooks import CONT, OK, Answer, Connection, Plugin, Point
from mailboat.plugins._selecting import Selecting


def register(plugin: Plugin) -> None:
    """Answer `queue_outbound` for selected messages."""
    config = plugin.config("discard.ini", lambda config: Selecting.parse(config, "discard"), secret=False)
    discarded = plugin.metrics.counter("messages", "Messages that were discarded.")

    async def queue_outbound(connection: Connection) -> Answer:
        message = connection.transaction
        if message is None or not (why := config.value.why(connection, message)):
            return CONT
        discarded.inc()
        plugin.logger.info("%s from <%s> is discarded: %s", message.uuid, message.mail_from, why)
        return OK, "Message discarded"

    plugin.register_hook(Point.QUEUE_OUTBOUND, queue_outbound)
