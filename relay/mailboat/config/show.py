"""The effective settings for people and for scripts. Pure; `cli.config` prints them, `reference` shows the defaults.

Passwords, tokens and other content of files named by keys are not keys, so they are never shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from mailboat.config import intervals, values
from mailboat.config.ini import MAIN
from mailboat.config.sections import one_line
from mailboat.config.settings import CPUS, NamedKey, Settings, TlsReportSettings, keys_of

File = dict[str, Any]


def text_of(key: NamedKey, value: Any) -> str:
    """A value as written in the file, which the key's parser can read."""
    if key.key.parse is values.intervals:
        return intervals.render(value)
    if key.key.parse is values.nodes and value == CPUS:
        return "cpus"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.15g}"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def as_text(settings: Settings) -> str:
    """Every file with every key, in the files' own syntax."""
    lines = [f"# directory {one_line(settings.directory)}", f"# hash {settings.hash}", "", "# me", settings.me]
    for file, sections in _ini_files(settings).items():
        lines += ["", f"# {file}"]
        for section, content in sections:
            lines += [f"[{section}]", *_lines(content)]
    lines += ["", "# relay_acl_allow", *map(str, settings.relay_acl)]
    if settings.senders_allow is not None:
        lines += ["", "# senders_allow", *sorted(settings.senders_allow)]
    lines += ["", "# plugins", *settings.plugins.names]
    lines += ["", "# plugin_timeout", f"{settings.plugins.timeout:.15g}"]
    for name, seconds in settings.plugins.timeouts:
        lines += ["", f"# {name}.timeout", f"{seconds:.15g}"]
    lines += ["", *(f"# {name}: {'given' if given else 'not given'}" for name, given in _templates(settings).items())]
    return "".join(f"{line}\n" for line in lines)


def as_data(settings: Settings) -> dict[str, Any]:
    """The same for JSON: numbers, booleans, strings, lists of strings; times in seconds, sizes in octets."""
    files = {
        file: {section: _data(content) for section, content in sections}
        for file, sections in _ini_files(settings).items()
    }
    return {
        "directory": settings.directory,
        "hash": settings.hash,
        "me": settings.me,
        **files,
        "relay_acl_allow": [str(network) for network in settings.relay_acl],
        "senders_allow": None if settings.senders_allow is None else sorted(settings.senders_allow),
        "plugins": list(settings.plugins.names),
        "plugin_timeout": settings.plugins.timeout,
        **{f"{name}.timeout": seconds for name, seconds in settings.plugins.timeouts},
        **_templates(settings),
    }


def _ini_files(settings: Settings) -> dict[str, list[tuple[str, Any]]]:
    """File -> its sections, each with the object that holds the values: a mapping for `[bind]` and for shaping.ini."""
    outbound = settings.outbound
    binds = [("bind", dict(outbound.binds))] if outbound.binds else []
    return {
        "smtp.ini": [(MAIN, settings.smtp)],
        "http.ini": [(MAIN, settings.http)],
        "outbound.ini": [(MAIN, outbound), *binds, *((f"route:{r.name}", r) for r in outbound.routes)],
        "tls.ini": [(MAIN, settings.tls), ("outbound", settings.tls_outbound)],
        **({"dkim.ini": _dkim(settings)} if settings.signer or settings.dkim_domains else {}),
        **({"tlsrpt.ini": [(MAIN, settings.tlsrpt)]} if settings.tlsrpt != TlsReportSettings() else {}),
        **({"shaping.ini": list(settings.shaping_given.items())} if settings.shaping_given else {}),
        **({"tenants.ini": [(f"tenant:{t.name}", t) for t in settings.tenants]} if settings.tenants else {}),
    }


def _dkim(settings: Settings) -> list[tuple[str, Any]]:
    return [(MAIN, settings.dkim), *((f"domain:{domain.name}", domain) for domain in settings.dkim_domains)]


def _templates(settings: Settings) -> dict[str, bool]:
    """The bounce templates in the directory."""
    bounce = settings.bounce
    return {
        "outbound.bounce_message": bounce.text is not None,
        "outbound.bounce_message_html": bounce.html is not None,
        "outbound.bounce_message_image": bounce.image is not None,
    }


def _lines(content: Any) -> Iterator[str]:
    if isinstance(content, dict):
        for name, entry in content.items():
            yield from (f"{name}[]={item}" for item in entry) if isinstance(entry, list) else (f"{name}={entry}",)
        return
    for key in keys_of(type(content)):
        value = getattr(content, key.field)
        if key.is_list:
            yield from (f"{key.ini}[]={item}" for item in value)
            continue
        text = text_of(key, value)
        if text or not key.key.shown_default:
            yield f"{key.ini}={one_line(text)}"
        else:
            yield f"; {key.ini}: {key.key.shown_default}"


def _data(content: Any) -> dict[str, Any]:
    if isinstance(content, dict):
        return {name: entry if isinstance(entry, list) else str(entry) for name, entry in content.items()}
    return {key.ini: _plain(key, getattr(content, key.field)) for key in keys_of(type(content))}


def _plain(key: NamedKey, value: Any) -> Any:
    if isinstance(value, tuple):
        return [item if isinstance(item, float) else str(item) for item in value]
    if value is None or (isinstance(value, bool | int | float) and value != CPUS):
        return value
    return text_of(key, value) if not isinstance(value, StrEnum) else value.value
