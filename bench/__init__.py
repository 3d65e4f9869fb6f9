"""Benchmarks of the relay: `bench/run` compares it with its peers; docs/benchmarks.md says how."""
