"""`tls.ini`: both sides' settings, and whether OpenSSL takes the files that they name. Called by `load`.

`openssl` only tells whether contexts can be built; `ingress.tls` and `delivery.tls` make their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from mailboat.config.fault import Report
from mailboat.config.files import ConfigFiles, FileError
from mailboat.config.hash import framed_digest
from mailboat.config.ini import MAIN, IniFile
from mailboat.config.openssl import TlsMaterial, refusals, roots
from mailboat.config.sections import read_section, warn_of_sections
from mailboat.config.settings import OutboundTlsSettings, TlsSettings

OUTBOUND = "outbound"

_FILES = ("key", "cert", "ca", "dhparam", "sts_ca")
_Settings = TypeVar("_Settings", bound=TlsSettings)
_DEPRECATED = ("TLSv1", "TLSv1.1")


def read_tls(file: IniFile, files: ConfigFiles, report: Report) -> tuple[TlsSettings, OutboundTlsSettings]:
    """The settings for clients and those for deliveries; what is wrong goes into the report."""
    warn_of_sections(file, (MAIN, OUTBOUND), report)
    main = read_section(file, MAIN, TlsSettings, report)
    overrides = read_section(file, OUTBOUND, OutboundTlsSettings, report)
    given = {**_default_files(main, files), **main}
    everything = frozenset(f.name for f in fields(TlsSettings))
    inbound = _Side(file, MAIN, everything, files, report).check(TlsSettings(**given))
    # What [outbound] merely inherits has been judged in [main].
    own = frozenset(overrides)
    outbound = _Side(file, OUTBOUND, own, files, report).check(OutboundTlsSettings(**{**given, **overrides}))
    return inbound, outbound


def _default_files(given: Mapping[str, Any], files: ConfigFiles) -> dict[str, str]:
    """The certificate that Haraka looks for when none is named: used where it exists, no fault where it does not."""
    names = {f.name: str(f.default) for f in fields(TlsSettings) if f.name in ("key", "cert")}
    if given.keys() & names.keys():
        # To name one of the two means a pair; the other keeps its default name and must exist.
        return {}
    present = [files.has_named(name) for name in names.values()]  # each is asked for: a change of it is noticed
    return {} if any(present) else dict.fromkeys(names, "")


class _Side:
    """The checks of one side. Only what its section gives itself (`own`) can be a fault of it."""

    def __init__(self, file: IniFile, section: str, own: frozenset[str], files: ConfigFiles, report: Report) -> None:
        self._file = file
        self._section = section
        self._own = own
        self._files = files
        self._report = report

    def check(self, settings: _Settings) -> _Settings:
        """The settings with absolute paths and the digest of their files."""
        contents: dict[str, bytes | None] = {}
        unusable: set[str] = set()
        named = {field: path for field in _FILES if (path := getattr(settings, field, None)) is not None}
        for field, path in named.items():
            contents[field] = None
            try:
                contents[field] = self._files.named(path) if path else None
            except FileError as error:
                unusable.add(field)
                self._fault(f"the file {error}", field)
        paths: dict[str, Any] = {field: self._files.absolute(p) for field, p in named.items() if p}
        checked = replace(settings, **paths, digest=framed_digest(tuple(contents.items())))
        self._check_words(checked)
        self._check_openssl(checked, contents, unusable)
        return checked

    def _check_words(self, settings: TlsSettings) -> None:
        both = sorted(set(settings.force_tls_hosts) & set(settings.no_tls_hosts))
        if both:
            self._fault(f"{', '.join(both)} is in force_tls_hosts too", "no_tls_hosts", "force_tls_hosts")
        if settings.min_version in _DEPRECATED and "min_version" in self._own:
            message = f"{settings.min_version} is deprecated and not secure (RFC 8996)"
            self._report.warnings.append(self._file.fault(self._section, "minVersion", message))

    def _check_openssl(self, settings: TlsSettings, contents: dict[str, bytes | None], missing: set[str]) -> None:
        """`missing` are files that cannot be read; that has been told."""
        given = {name for name, content in contents.items() if content is not None} | missing
        if ("key" in given) != ("cert" in given):
            lacking = "key" if "cert" in given else "cert"
            self._fault("is missing: a key and a certificate come as a pair", lacking, "key", "cert")
        if (sts_roots := contents.pop("sts_ca", None)) is not None:
            self._check_roots(sts_roots)
        material = TlsMaterial(ciphers=settings.ciphers, **contents)
        for refusal in refusals(material):
            self._fault(refusal.message, *refusal.keys)

    def _check_roots(self, content: bytes) -> None:
        try:
            roots(content)
        except ValueError as error:
            self._fault(str(error), "sts_ca")

    def _fault(self, message: str, *keys: str) -> None:
        """A fault at the first of `keys`, if this section gives any of them."""
        if self._own.intersection(keys):
            self._report.faults.append(self._file.fault(self._section, keys[0], message))
