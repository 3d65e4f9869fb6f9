"""Mail that does not come by SMTP: from plugins (`send_email`) and from programs (the admin API).

Makes drafts out of whatever is handed in, with the same header, limits and promise as mail from a client: it is
durable before the answer. Knows the store's interface and no edge of the relay; `app` gives it its surroundings.

Plugins write `from mailboat import outbound` and `await outbound.send_email(...)`.
"""

from mailboat.outbound.sending import Options, send_email

__all__ = ["Options", "send_email"]
