"""Fixtures that any test may ask for, and what holds for all of them."""

import hypothesis
from tests.cluster.apiserver import apiserver  # noqa: F401

# A busy machine is no fault of the code: how long an example takes decides nothing.
hypothesis.settings.register_profile("mailboat", deadline=None)
hypothesis.settings.load_profile("mailboat")
