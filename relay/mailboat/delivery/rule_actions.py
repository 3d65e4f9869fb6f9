"""What a rule from replies does to the entry whose attempt fired it: `defer`, `fail` and `retry`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mailboat.delivery.verdict import Judgement, status_of
from mailboat.model.outcome import Outcome, Result, Stage
from mailboat.model.reply import Reply
from mailboat.shaping.rules import ActionKind, Rule

Fired = Mapping[tuple[Stage, Reply], Rule]
"""The rules that the replies of a transaction have fired."""


def acted(judgement: Judgement, fired: Fired) -> None:
    """Change outcomes as rules say: a permanent refusal counts as a temporary one, or the reverse.

    One that counts as permanent is not offered to another host.
    """
    judgement.outcomes = [_acted(outcome, fired) for outcome in judgement.outcomes]
    answered = [_acted(outcome, fired) for outcome in judgement.answered]
    failed = [after for after, before in zip(answered, judgement.answered, strict=True) if _fails(before, after)]
    judgement.answered = [outcome for outcome in answered if outcome not in failed]
    judgement.outcomes += failed


def retry_after(fired: Fired) -> float | None:
    """Seconds until the next attempt, the longest that a rule says; None: none says it."""
    seconds = [
        action.value
        for rule in fired.values()
        for action in rule.actions
        if action.kind is ActionKind.RETRY and isinstance(action.value, float)
    ]
    return max(seconds, default=None)


def _acted(outcome: Outcome, fired: Fired) -> Outcome:
    rule = None if outcome.reply is None else fired.get((outcome.stage, outcome.reply))
    if rule is None or outcome.reply is None:
        return outcome
    kinds = {action.kind for action in rule.actions}
    if outcome.result is Result.BOUNCED and ActionKind.DEFER in kinds:
        result = Result.DEFERRED
    elif outcome.result is Result.DEFERRED and ActionKind.FAIL in kinds:
        result = Result.BOUNCED
    else:
        return outcome
    return replace(outcome, result=result, status=status_of(outcome.reply, result))


def _fails(before: Outcome, after: Outcome) -> bool:
    return after.result is Result.BOUNCED and before.result is not Result.BOUNCED
