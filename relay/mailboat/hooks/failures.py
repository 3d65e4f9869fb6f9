"""What a hook's answer means, and what holds instead where it has failed: counted, logged, and never the end of mail.

`chain` makes one for each set of hooks; `run` asks it about every answer and every failure.
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
"""Seconds between two lines about the same failure of the same plugin; the metric counts them all."""


class FailurePolicy:
    """Reads the answers of one set of hooks, and answers for those that fail."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._told: dict[tuple[str, str, HookFailure], tuple[float, int]] = {}

    def parse_answer(self, hook: Hook, answer: object) -> Decision:
        """What an answer means; a failure where it means nothing."""
        try:
            code, value = parse_answer(hook.point, answer)
        except InvalidAnswerError as error:
            if inspect.iscoroutine(answer):
                answer.close()  # it would warn that it was never awaited
            return self.failed(hook, HookFailure.INVALID_ANSWER, error)
        return CONTINUE if code is CONT else Decision(code, value, hook.plugin, point=hook.point)

    def failed(self, hook: Hook, reason: HookFailure, error: BaseException) -> Decision:
        """A hook has failed: count it, and say what holds instead of its answer."""
        self.count(hook.point, hook.plugin, reason, error)
        if hook.on_failure is CONT:
            return CONTINUE
        return Decision(hook.on_failure, None, hook.plugin, failed=True, point=hook.point)

    def count(self, point: Point, plugin: str, reason: HookFailure, error: BaseException) -> None:
        """Count every failure, and say so once a second."""
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
    """An exception as the log takes it: its text, and itself for its traceback. A plugin's own may allow neither."""
    try:
        traceback.format_exception(error)
        return str(error) or repr(error), error or None
    except Exception:  # noqa: BLE001 - whatever it is
        return type(error).__name__, None
