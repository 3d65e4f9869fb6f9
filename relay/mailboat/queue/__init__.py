"""The durable queue: what an entry is and becomes (pure), and the stores that keep it."""
