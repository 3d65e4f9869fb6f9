"""The durable queue: entries and their state changes (pure), and the store that keeps them."""
