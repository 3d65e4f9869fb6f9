"""The relay's log: no line above 4,096 octets, and nothing of what an exception quotes at length."""

from __future__ import annotations

import asyncio
import io
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mailboat.app.log_format import LINE_LIMIT, SAID_LIMIT, BoundedFormatter

BODY = "secret words of a mail, " * 10_000
# No logger of the tree, whose records pytest reports: a process of pytest-xdist cannot send the lone surrogates.
LOGGER = logging.Logger("apart")  # noqa: LOG001


@pytest.fixture(autouse=True)
def on_purpose(_unheard: Any) -> Iterator[None]:
    """What is logged here as asyncio's is no complaint of an event loop."""
    yield
    _unheard.told.clear()


@pytest.fixture(autouse=True)
def nothing_unheard() -> None:
    """What stands in the log of event loops is what these tests write there."""


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What loggers with the formatter write."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(BoundedFormatter())
    loggers = (LOGGER, logging.getLogger("asyncio"))
    for logger in loggers:
        logger.addHandler(handler)
    yield stream
    for logger in loggers:
        logger.removeHandler(handler)


@pytest.mark.parametrize("text", [BODY, "ü" * 2100, "\udc80" * 700, "x" * LINE_LIMIT], ids=["long", "utf8", "odd", "x"])
def test_a_long_line_is_cut_and_says_so(written: io.StringIO, text: str) -> None:
    LOGGER.error("before\n%s\nbehind", text)
    lines = written.getvalue().split("\n")
    assert all(len(line.encode("utf-8", "backslashreplace")) < 2000 for line in lines)
    assert lines[0].endswith("before")
    assert lines[1].endswith(" octets, cut)")
    assert lines[2] == "behind"


def test_a_line_within_the_limit_is_whole(written: io.StringIO) -> None:
    LOGGER.error("%s", "x" * 4000)
    assert "x" * 4000 in written.getvalue()


def _number(text: str) -> None:
    try:
        int(text)
    except ValueError as error:
        raise KeyError(f"no number: {text}") from error


def test_what_an_exception_quotes_at_length_is_not_shown(written: io.StringIO) -> None:
    for text in (BODY, BODY[: SAID_LIMIT + 1]):
        try:
            _number(text)
        except KeyError as error:
            failed = error
        LOGGER.error("plugin: %s", failed, exc_info=failed)
    assert "secret words" not in written.getvalue()
    assert "ValueError: (" in written.getvalue()
    assert 'File "' in written.getvalue(), "its traceback is"


async def test_an_exception_that_nobody_retrieved_shows_no_data_either(written: io.StringIO) -> None:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    future.set_exception(ValueError(BODY))
    loop.call_exception_handler({"message": "never retrieved", "exception": future.exception(), "future": future})
    assert "never retrieved" in written.getvalue()
    assert "secret words" not in written.getvalue()


def test_a_thread_that_fails_is_told_of_in_the_log(written: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    from mailboat.app import process

    monkeypatch.setattr(process, "log", LOGGER)
    monkeypatch.setattr(threading, "excepthook", process._thread_failed)
    thread = threading.Thread(target=_number, args=(BODY,), name="worker-thread")
    thread.start()
    thread.join()
    assert "thread worker-thread failed" in written.getvalue()
    assert "secret words" not in written.getvalue()
