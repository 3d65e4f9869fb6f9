"""Mail comes in: the asyncio SMTP server. Meets delivery only in `queue.store`; built and started by `app`."""
