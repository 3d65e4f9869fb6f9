"""`plugins` and its companions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """`plugins`, `plugin_timeout` and `NAME.timeout`: which plugins are called, and how long each may take."""

    names: tuple[str, ...] = ()
    """In the order in which they are called, spelled as in the file."""
    lines: tuple[int, ...] = ()
    """The line of each in the file `plugins`."""
    timeout: float = 30.0
    """Seconds for one hook; 0: no limit."""
    timeouts: tuple[tuple[str, float], ...] = ()
    """Plugin and seconds, for plugins with a limit of their own."""
    digest: str = ""
    """Hash of their code in `plugins.d`: a change of the code makes the settings unequal."""
