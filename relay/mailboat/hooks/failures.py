"""Parses answers of hooks, and replaces that of a hook that failed: a failure is counted and logged, and never stops
mail.

`chain` makes one for each set of hooks; `run` calls it for every answer and every failure.
"""

from __future__ import annotations

import inspect
import logging
import time
import traceback

from mailboat.hooks.codes import CONT, CONTINUE, Decision
from mailboat.hooks.plugin import Hook
from mailboat.hooks.points import InvalidAnswerError, Point, parse_answer
from mailboat.model.observer import HookFailure, Observer

log = logging.getLogger(__name__)

_QUIET = 1.0
"""Seconds between two log lines about the same failure of the same plugin; the metric counts all."""


class FailurePolicy:
    """Parses the answers of one set of hooks, and answers for hooks that fail."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told: dict[tuple[str, str, HookFailure], tuple[float, int]] = {}

    def parse_answer(self, hook: Hook, answer: object) -> Decision:
        """Parse an answer; an invalid one is a failure."""
        try:
            code, value = parse_answer(hook.point, answer)
        except InvalidAnswerError as error:
            if inspect.iscoroutine(answer):
                answer.close()  # else Python warns that it was never awaited
            return self.failed(hook, HookFailure.INVALID_ANSWER, error)
        return CONTINUE if code is CONT else Decision(code, value, hook.plugin, point=hook.point)

    def failed(self, hook: Hook, reason: HookFailure, error: BaseException) -> Decision:
        """Count a failure, and return the decision that replaces the answer."""
        self.count(hook.point, hook.plugin, reason, error)
        if hook.on_failure is CONT:
            return CONTINUE
        return Decision(hook.on_failure, None, hook.plugin, failed=True, point=hook.point)

    def count(self, point: Point, plugin: str, reason: HookFailure, error: BaseException) -> None:
        """Count every failure, and log one a second."""
        self._observer.hook_failed(point, plugin, reason)
        now, key = time.monotonic(), (point, plugin, reason)
        last, more = self._told.get(key, (-_QUIET, 0))
        if now - last < _QUIET:
            self._told[key] = (last, more + 1)
            return
        self._told[key] = (now, 0)
        since = f" (and {more} times more since)" if more else ""
        text, trace = _told(error)
        trace = trace if reason is HookFailure.RAISED else None
        log.error("plugin %s, hook %s: %s: %s%s", plugin, point, reason, text, since, exc_info=trace)


def _told(error: BaseException) -> tuple[str, BaseException | None]:
    """The text of an exception for the log, and the exception for its traceback. A plugin's class may allow neither."""
    try:
        traceback.format_exception(error)
        return str(error) or repr(error), error or None
    except Exception:  # noqa: BLE001 - whatever it is
        return type(error).__name__, None
