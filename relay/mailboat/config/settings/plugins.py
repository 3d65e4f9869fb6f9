"""`plugins` and its companions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """`plugins`, `plugin_timeout` and `NAME.timeout`: which plugins are asked, and how long each may take."""

    names: tuple[str, ...] = ()
    """In the order in which they are asked, as the file spells them."""
    lines: tuple[int, ...] = ()
    """Where each stands in the file `plugins`."""
    timeout: float = 30.0
    """Seconds for one hook; 0: no limit."""
    timeouts: tuple[tuple[str, float], ...] = ()
    """Plugin and seconds, of those that have a limit of their own."""
    digest: str = ""
    """Hash of their code in `plugins.d`: its change makes different settings."""
