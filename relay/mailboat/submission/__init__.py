"""Mail that does not come by SMTP: from plugins (`send_email`) and from programs (the admin API), into the queue.

It gets the same header, limits and promise as mail from a client: it is durable before the answer. Knows the store's
interface and neither ingress nor delivery; `app` builds it.
"""
