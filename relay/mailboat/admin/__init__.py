"""HTTP for operators: probes, metrics, the queue API. Knows the relay only as a `control.Control`."""
