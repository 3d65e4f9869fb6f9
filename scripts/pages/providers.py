"""docs/providers.md: the prose of `providers.md.in`, the tables from the built-in table of shaping.ini.

Called by `scripts.docs`; a test fails when the page has drifted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mailboat.config import ini, providers
from mailboat.config.ini import IniFile

_PROVIDER, _RULE = "provider:", "rule:"


def render() -> str:
    """The whole page."""
    page = Path(__file__).with_name("providers.md.in").read_text(encoding="utf-8")
    file = ini.parse(providers.TABLE, "")
    page = page.replace("@kinds@", "\n".join(f"- `{kind}`: {text}." for kind, text in providers.KINDS.items()))
    page = page.replace("@providers@", "\n".join(_provider_rows(file)))
    return page.replace("@rules@", "\n".join(_rule_rows(file)))


def _provider_rows(file: IniFile) -> Iterator[str]:
    for section in file.sections:
        if not section.startswith(_PROVIDER):
            continue
        hosts = _values(file, section, "mx")
        for keys, kind, month, text in providers.about(file, section):
            said = (f"`{key}={_values(file, section, key)}`" for key in keys.split(", ") if key != "mx")
            first = (f"`{section.removeprefix(_PROVIDER)}`", f"`{hosts}`") if keys == "mx" else ("", "")
            yield _row(*first, ", ".join(said), kind, month, text)


def _rule_rows(file: IniFile) -> Iterator[str]:
    for section in file.sections:
        if section.startswith(_RULE):
            ((kind, month, text),) = providers.about(file, section)
            replies = " or ".join(f"`{entry.value}`" for entry in file.of(section) if entry.key == "reply")
            span = _values(file, section, "for")
            action = f"`{_values(file, section, 'action')}`" + (f" for {span}" if span else "")
            name = f"`{section.removeprefix(_RULE)}`"
            yield _row(name, _values(file, section, "on"), replies, action, kind, month, text)


def _values(file: IniFile, section: str, key: str) -> str:
    return ", ".join(entry.value for entry in file.of(section) if entry.key == key)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
