"""Fixtures that any test may ask for, and what holds for all of them."""

import gc
import logging
from collections.abc import Iterator

import hypothesis
import pytest
from tools.cluster.apiserver import apiserver  # noqa: F401

# A busy machine is no fault of the code: how long an example takes decides nothing.
hypothesis.settings.register_profile("mailboat", deadline=None)
hypothesis.settings.load_profile("mailboat")


class _Unheard(logging.Handler):
    """What event loops could tell nobody: exceptions of tasks that nobody awaited, and of callbacks."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.setFormatter(logging.Formatter())
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(self.format(record))


@pytest.fixture(scope="session")
def _unheard() -> Iterator[_Unheard]:
    """Listens where every event loop complains; what the last tests have left comes at the end."""
    handler = _Unheard()
    logger = logging.getLogger("asyncio")
    logger.addHandler(handler)
    yield handler
    gc.collect()
    logger.removeHandler(handler)
    assert handler.told == []


@pytest.fixture(autouse=True)
def nothing_unheard(_unheard: _Unheard) -> Iterator[None]:
    """An exception that nobody was told of fails the test, or one after it: its task is found when it is collected."""
    yield
    told, _unheard.told = _unheard.told, []
    assert told == []
