"""Checks of ini files for several shipped plugins."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mailboat.hooks import PluginConfig


def only(config: PluginConfig[None], known: Mapping[str, Collection[str] | None]) -> None:
    """Refuse unknown sections and keys, so that a typing error is noticed.

    `known` has the keys of each section, None where any will do. Raises ValueError.
    """
    for section in config.sections:
        if section not in known:
            raise ValueError(f"[{section}] is not a section of this file; known sections: {', '.join(known)}")
        keys = known[section]
        for key in config.section(section) if keys is not None else ():
            if key not in (keys or ()):
                raise ValueError(f"[{section}] {key} is not known; known keys: {', '.join(keys or ())}")
