"""Fixtures that any test may ask for."""

from tests.cluster.apiserver import apiserver  # noqa: F401
