"""The new directory while it is built: ini files by section and key, whole files, and secrets.

Every value of a known key passes through the parser that the relay will read it with, so that what is written here
passes `mailboat config check`. No I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailboat.config import ini
from mailboat.config.fault import Fault
from mailboat.config.settings import (
    DkimSettings,
    HttpSettings,
    OutboundSettings,
    Route,
    ScopeSettings,
    SmtpSettings,
    TlsSettings,
    keys_of,
)
from mailboat.haraka.journal import Journal, SourceLine

_KINDS: dict[str, type] = {
    "outbound.ini": OutboundSettings,
    "smtp.ini": SmtpSettings,
    "tls.ini": TlsSettings,
    "http.ini": HttpSettings,
    "dkim.ini": DkimSettings,
    "shaping.ini": ScopeSettings,
}


@dataclass(frozen=True, slots=True)
class NewFile:
    """One file to be written."""

    content: bytes
    is_secret: bool = False
    """Readable by its owner only."""


@dataclass(slots=True)
class Product:
    """Everything that will be written."""

    journal: Journal
    files: dict[str, NewFile] = field(default_factory=dict)
    inis: dict[str, dict[str, dict[str, str | list[str]]]] = field(default_factory=dict)
    secret_inis: set[str] = field(default_factory=set)
    plugins: list[str] = field(default_factory=list)

    def put(self, place: SourceLine, file: str, section: str, key: str, value: str) -> bool:
        """Set a key; False, and a note, where the relay would not take the value."""
        return self._put(place, file, section, key, value, is_item=False)

    def append(self, place: SourceLine, file: str, section: str, key: str, value: str) -> bool:
        """Add an item to a `key[]`."""
        return self._put(place, file, section, key, value, is_item=True)

    def file(self, name: str, content: bytes, *, secret: bool = False) -> None:
        """A whole file."""
        self.files[name] = NewFile(content, secret)

    def drop(self, fault: Fault) -> bool:
        """Take out what the relay finds a fault with, as closely as it is named, and note it; False: it is not ours."""
        place = SourceLine(fault.file, 0, fault.key)
        sections = self.inis.get(fault.file)
        if sections is not None:
            keys = sections.get(fault.section, {})
            gone: object = keys.pop(fault.key, None) or sections.pop(fault.section, None) or self.inis.pop(fault.file)
        else:
            gone = self.files.pop(fault.file, None)
            if fault.file == "plugins" and 0 < fault.line <= len(self.plugins):
                gone = self.plugins.pop(fault.line - 1)
        plugin = fault.file.removesuffix(".ini")
        if gone is None and plugin in self.plugins:
            self.plugins.remove(plugin)
            gone = plugin
        self.journal.lost(place, fault.message)
        return gone is not None

    @property
    def has_certificate(self) -> bool:
        """Whether clients can be offered TLS."""
        main = self.inis.get("tls.ini", {}).get("main", {})
        return all(
            name in self.files or key in main for key, name in (("key", "tls_key.pem"), ("cert", "tls_cert.pem"))
        )

    def all_files(self) -> dict[str, NewFile]:
        """What is to be written."""
        written = dict(self.files)
        for name, sections in self.inis.items():
            written[name] = NewFile(ini.write(sections).encode(), name in self.secret_inis)
        if self.plugins:
            written["plugins"] = NewFile("".join(f"{name}\n" for name in self.plugins).encode())
        return written

    def _put(self, place: SourceLine, file: str, section: str, key: str, value: str, *, is_item: bool) -> bool:
        kind = Route if section.startswith("route:") else _KINDS.get(file)
        parse = next((k.key.parse for k in keys_of(kind) if k.ini == key), None) if kind else None
        try:
            if parse is not None:
                parse(value)
            ini.write({section: {key: value}})
        except ValueError as error:
            self.journal.lost(place, str(error))
            return False
        values = self.inis.setdefault(file, {}).setdefault(section, {})
        known = values.get(key)
        if not is_item:
            values[key] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            values[key] = [value]
        return True
