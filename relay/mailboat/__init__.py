"""Mailboat: an outbound mail relay. Packages and who may import whom: see docs/architecture.md."""

__version__ = "0.1.0"
