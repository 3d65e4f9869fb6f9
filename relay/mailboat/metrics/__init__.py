"""Two observers of what the relay does: numbers for Prometheus, and the event log."""
