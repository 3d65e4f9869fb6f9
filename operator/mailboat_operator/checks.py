"""Resolves the references of a spec: their content, or all faults. Pure; called by `reconcile`.

Faults name the object, and never its content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mailboat.config import bounce
from mailboat_operator import fields, names
from mailboat_operator.credentials import (
    MAX_SIZE,
    certificate_fault,
    certificates_of,
    key_fault,
    line_fault,
    parameters_of,
)
from mailboat_operator.observed import SourceObject
from mailboat_operator.references import Reference, SourceKind
from mailboat_operator.spec import RouteSpec, Spec, TlsSpec

Sources = Mapping[tuple[SourceKind, str], SourceObject | None]

_KEY = "tls.key"
ROUTE_FILE = "route-"
"""Prefix of the names of routes' files; those of `tls.ini` never have it."""


class RefReason(StrEnum):
    """Why a reference cannot be resolved: reasons of the condition ResolvedRefs."""

    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, not a password
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    KEY_NOT_FOUND = "KeyNotFound"
    INVALID_CERTIFICATE = "InvalidCertificate"
    INVALID_CA_BUNDLE = "InvalidCABundle"
    INVALID_DH_PARAMETERS = "InvalidDHParameters"
    INVALID_CREDENTIALS = "InvalidCredentials"
    INVALID_BOUNCE_MESSAGE = "InvalidBounceMessage"


@dataclass(frozen=True, slots=True)
class RefFault:
    """One fault."""

    reason: RefReason
    message: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """The resolved references."""

    files: Mapping[str, bytes] = field(repr=False)
    """Content of `<name>-credentials`: the relay's files by name."""
    bounce_text: str | None = None
    bounce_html: str | None = None


def warnings_of(resolved: Resolved) -> tuple[str, ...]:
    """Faults that the relay tolerates, by file."""
    texts = {bounce.TEXT: resolved.bounce_text, bounce.HTML: resolved.bounce_html}
    return tuple(f"{name}: {warning}" for name, text in texts.items() for warning in bounce.warnings_of(text))


def route_file(route: str, key: str) -> str:
    """The name of the file for a key of a route."""
    return f"{ROUTE_FILE}{route}.{fields.ROUTE_FILES[key]}"


def admin_token(spec: Spec, sources: Sources) -> str:
    """The bearer token of the admin API; empty if there is none that may be used."""
    source = sources.get(spec.token.source) if spec.token else None
    if spec.token is None or source is None or not source.allowed:
        return ""
    return source.data.get(spec.token.key, b"").decode("ascii", "replace").strip()


def not_allowed(ref: Reference) -> RefFault:
    """What a Secret lacks whose owner has not allowed its use."""
    todo = f"kubectl label secret {ref.name} {names.ALLOW}={names.ALLOWED}"
    return RefFault(RefReason.SECRET_NOT_ALLOWED, f"{ref} may be used only if its owner allows it: {todo} ({ref.path})")


def resolve(spec: Spec, sources: Sources) -> tuple[Resolved | None, tuple[RefFault, ...]]:
    """Resolve every reference; None and the faults in the resource's order if there are any."""
    resolver = _Resolver(sources)
    resolver.tls(spec.tls, "")
    resolver.tls(spec.tls_outbound, "outbound-")
    for route in spec.routes:
        resolver.route(route)
    text, html = resolver.bounce(spec)
    resolver.token(spec.token)
    if resolver.faults:
        return None, tuple(dict.fromkeys(resolver.faults))
    return Resolved(resolver.files, text, html), ()


class _Resolver:
    """Collects files and faults."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.files: dict[str, bytes] = {}
        self.faults: list[RefFault] = []

    def tls(self, side: TlsSpec, prefix: str) -> None:
        """The files of one side, named with `prefix`."""
        invalid = RefReason.INVALID_CERTIFICATE
        if side.certificate:
            chain = self._content(side.certificate)
            key_ref = Reference(SourceKind.SECRET, side.certificate.name, _KEY, side.certificate.path)
            key = self._content(key_ref)
            if chain is not None:
                self._add(side.certificate, f"{prefix}tls.crt", chain, certificate_fault(chain), invalid)
            if key is not None:
                self._add(key_ref, f"{prefix}tls.key", key, key_fault(key, chain or b""), invalid)
        if side.ca and (bundle := self._content(side.ca)) is not None:
            self._bundle(side.ca, f"{prefix}ca.crt", bundle)
        if side.dhparam and (dhparam := self._content(side.dhparam)) is not None:
            pem = parameters_of(dhparam)
            fault = "" if pem else "holds no PEM parameters"
            self._add(side.dhparam, f"{prefix}dhparam.pem", pem, fault, RefReason.INVALID_DH_PARAMETERS)

    def route(self, route: RouteSpec) -> None:
        """The files of a smart host."""
        for key, ref in route.files.items():
            name, content = route_file(route.name, key), self._content(ref)
            if content is None:
                continue
            if key in fields.ROUTE_BUNDLES:
                self._bundle(ref, name, content)
            else:
                self._add(ref, name, content, line_fault(content), RefReason.INVALID_CREDENTIALS)

    def token(self, ref: Reference | None) -> None:
        """Whether the token may be used. A missing one is not a fault; it is reported when it is needed."""
        if ref is not None and (source := self._sources.get(ref.source)) is not None:
            self._is_allowed(ref, source)

    def bounce(self, spec: Spec) -> tuple[str | None, str | None]:
        """The bounce message as text and as HTML."""
        bounce = spec.bounce
        if bounce.text_ref is None or bounce.html_ref is None:
            return bounce.text, bounce.html
        text = self._content(bounce.text_ref)
        html = self._content(bounce.html_ref, optional=True)
        return self._text(bounce.text_ref, text), self._text(bounce.html_ref, html)

    def _text(self, ref: Reference, content: bytes | None) -> str | None:
        if content is None:
            return None
        try:
            text = content.decode()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            self._fault(ref, RefReason.INVALID_BOUNCE_MESSAGE, "is not UTF-8 text")
        return text

    def _content(self, ref: Reference, *, optional: bool = False) -> bytes | None:
        source = self._sources.get(ref.source)
        if source is None:
            secret = ref.kind is SourceKind.SECRET
            reason = RefReason.SECRET_NOT_FOUND if secret else RefReason.CONFIG_MAP_NOT_FOUND
            self.faults.append(RefFault(reason, f"{ref} does not exist ({ref.path})"))
            return None
        if not self._is_allowed(ref, source):
            return None
        content = source.data.get(ref.key)
        if content is None and not optional:
            self.faults.append(RefFault(RefReason.KEY_NOT_FOUND, f"{ref} has no key {ref.key} ({ref.path})"))
        return content

    def _is_allowed(self, ref: Reference, source: SourceObject) -> bool:
        allowed = source.allowed or not ref.consent
        if not allowed:
            self.faults.append(not_allowed(ref))
        return allowed

    def _bundle(self, ref: Reference, name: str, content: bytes) -> None:
        """The certificates of a CA bundle."""
        pem = certificates_of(content)
        self._add(ref, name, pem, "" if pem else "holds no PEM certificate", RefReason.INVALID_CA_BUNDLE)

    def _add(self, ref: Reference, name: str, content: bytes, fault: str, reason: RefReason) -> None:
        if len(content) > MAX_SIZE:
            fault = f"is larger than {MAX_SIZE // 2**20} MiB"
        if fault:
            self._fault(ref, reason, fault)
        else:
            self.files[name] = content

    def _fault(self, ref: Reference, reason: RefReason, fault: str) -> None:
        self.faults.append(RefFault(reason, f"{ref}: {ref.key} {fault} ({ref.path})"))
