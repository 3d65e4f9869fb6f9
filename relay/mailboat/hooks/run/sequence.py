"""The hooks that one run asks."""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.hooks.plugin import Hook


@dataclass(frozen=True, slots=True)
class HookSequence:
    """The hooks of one point, or of several points in a row, in the order in which they are asked."""

    hooks: tuple[Hook, ...]
    spans_points: bool = False
    """They are of several points: OK of one leads to the next where `PointFacts.ok_goes_on` says so."""
    is_uneven: bool = False
    """Some of them take fewer arguments than others."""
