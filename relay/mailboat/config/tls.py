"""`tls.ini`: both sides' settings, and whether OpenSSL takes the files that they name. Called by `load`.

The contexts that are built here only prove that they can be built; `ingress.tls` and `delivery.session` make their own.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, replace
from functools import partial
from typing import Any

from mailboat.config.fault import Report
from mailboat.config.files import ConfigDirectory, FileError
from mailboat.config.hash import framed_digest
from mailboat.config.ini import MAIN, IniFile
from mailboat.config.sections import one_line, read_section, warn_of_sections
from mailboat.config.settings import TlsSettings
from mailboat.config.text import quoted

OUTBOUND = "outbound"

_FILES = ("key", "cert", "ca", "dhparam")
_DEPRECATED = ("TLSv1", "TLSv1.1")

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}
"""What `minVersion` names, for whoever builds a context."""


def read_tls(file: IniFile, directory: ConfigDirectory, report: Report) -> tuple[TlsSettings, TlsSettings]:
    """The settings for clients and those for deliveries; what is wrong goes into the report."""
    warn_of_sections(file, (MAIN, OUTBOUND), report)
    main = read_section(file, MAIN, TlsSettings, report)
    overrides = read_section(file, OUTBOUND, TlsSettings, report)
    given = {**_default_files(main, directory), **main}
    everything = frozenset(f.name for f in fields(TlsSettings))
    inbound = _Side(file, MAIN, everything, directory, report).check(TlsSettings(**given))
    # What [outbound] merely inherits has been judged in [main].
    own = frozenset(overrides)
    outbound = _Side(file, OUTBOUND, own, directory, report).check(TlsSettings(**{**given, **overrides}))
    return inbound, outbound


def _default_files(given: Mapping[str, Any], directory: ConfigDirectory) -> dict[str, str]:
    """The certificate that Haraka looks for when none is named: used where it exists, no fault where it does not."""
    names = {f.name: str(f.default) for f in fields(TlsSettings) if f.name in ("key", "cert")}
    if given.keys() & names.keys():
        # Whoever names one of the two means a pair; the other keeps its default name and must exist.
        return {}
    if any(map(directory.has, names.values())):
        return {}
    for name in names.values():
        directory.watch(directory.absolute(name))
    return dict.fromkeys(names, "")


class _Side:
    """The checks of one side. Only what its section gives itself (`own`) can be a fault of it."""

    def __init__(
        self, file: IniFile, section: str, own: frozenset[str], directory: ConfigDirectory, report: Report
    ) -> None:
        self._file = file
        self._section = section
        self._own = own
        self._directory = directory
        self._report = report

    def check(self, settings: TlsSettings) -> TlsSettings:
        """The settings with absolute paths and the digest of their files."""
        contents: list[tuple[str, bytes | None]] = []
        unusable: set[str] = set()
        for field in _FILES:
            path = getattr(settings, field)
            try:
                contents.append((field, self._directory.named(path) if path else None))
            except FileError as error:
                unusable.add(field)
                self._fault(f"{quoted(path)} {error}", field)
        paths: dict[str, Any] = {
            field: str(self._directory.absolute(p)) for field in _FILES if (p := getattr(settings, field))
        }
        checked = replace(settings, **paths, digest=framed_digest(tuple(contents)))
        self._check_words(checked)
        # What cannot be read has been told; OpenSSL is asked about the rest.
        without: dict[str, Any] = dict.fromkeys(unusable, "")
        self._check_openssl(replace(checked, **without), unusable)
        return checked

    def _check_words(self, settings: TlsSettings) -> None:
        both = sorted(set(settings.force_tls_hosts) & set(settings.no_tls_hosts))
        if both:
            self._fault(f"{', '.join(both)} is in force_tls_hosts too", "no_tls_hosts", "force_tls_hosts")
        if settings.min_version in _DEPRECATED and "min_version" in self._own:
            message = f"{settings.min_version} is deprecated: what it protects can be read (RFC 8996)"
            self._report.warnings.append(self._file.fault(self._section, "minVersion", message))

    def _check_openssl(self, settings: TlsSettings, unusable: Collection[str]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if bool(settings.key) != bool(settings.cert):
            missing = "key" if settings.cert else "cert"
            if missing not in unusable:
                self._fault("is missing: a key and a certificate come as a pair", missing, "key", "cert")
        elif settings.key:
            # Never a prompt on a terminal: an encrypted key fails with the empty pass phrase.
            load = partial(context.load_cert_chain, settings.cert, settings.key, password=lambda: "")
            self._try(load, "cert", "key")
        if settings.ca:
            self._try(partial(context.load_verify_locations, settings.ca), "ca")
        if settings.dhparam:
            self._try(partial(context.load_dh_params, settings.dhparam), "dhparam")
        if settings.ciphers:
            self._try(partial(context.set_ciphers, settings.ciphers), "ciphers")

    def _try(self, step: Callable[[], None], *keys: str) -> None:
        try:
            step()
        except ssl.SSLError as error:
            self._fault(f"OpenSSL refuses it: {_reason(error)}", *keys)
        except (OSError, ValueError) as error:
            # Gone or changed since it was read a moment ago.
            self._fault(f"cannot be used: {one_line(str(error))}", *keys)

    def _fault(self, message: str, *keys: str) -> None:
        """A fault at the first of `keys`, if this section gives any of them."""
        if self._own.intersection(keys):
            self._report.faults.append(self._file.fault(self._section, keys[0], message))


def _reason(error: ssl.SSLError) -> str:
    """What OpenSSL says, with the causes that people meet in plain words."""
    plain = {
        "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
        "BAD_DECRYPT": "the key is encrypted; store it without a pass phrase",
        "NO_CERTIFICATE_OR_CRL_FOUND": "the file holds no PEM certificate",
        "NO_START_LINE": "the file is not PEM",
        "NO_CIPHER_MATCH": "no cipher matches the list",
    }
    # Python raises some of these itself, without a reason.
    reason = getattr(error, "reason", None) or ""
    return plain.get(reason, one_line(str(error.args[-1] if error.args else error)))
