"""HTTP for operators: probes, metrics, the queue API. Uses the relay through `control.Control` only."""
