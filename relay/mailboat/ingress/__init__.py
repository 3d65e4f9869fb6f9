"""The asyncio SMTP server that receives mail. Connected to delivery by `queue.store` only; built and started by
`app`."""
