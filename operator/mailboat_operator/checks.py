"""Follows the references of a spec: what they give, or everything that is wrong with them. Pure; `reconcile` calls it.

What is wrong is told with the object's name, and never with its content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mailboat_operator.credentials import (
    MAX_SIZE,
    bundle_fault,
    certificate_fault,
    key_fault,
    line_fault,
    parameters_fault,
    user_fault,
)
from mailboat_operator.observed import Source
from mailboat_operator.references import Reference, SourceKind
from mailboat_operator.spec import RouteSpec, Spec, TlsSpec

Sources = Mapping[tuple[SourceKind, str], Source | None]

_KEY = "tls.key"


class RefReason(StrEnum):
    """Why a reference cannot be followed: reasons of the condition ResolvedRefs."""

    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 - a reason, not a password
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"
    KEY_NOT_FOUND = "KeyNotFound"
    INVALID_CERTIFICATE = "InvalidCertificate"
    INVALID_CA_BUNDLE = "InvalidCABundle"
    INVALID_DH_PARAMETERS = "InvalidDHParameters"
    INVALID_CREDENTIALS = "InvalidCredentials"
    INVALID_BOUNCE_MESSAGE = "InvalidBounceMessage"


@dataclass(frozen=True, slots=True)
class RefFault:
    """One thing that is wrong."""

    reason: RefReason
    message: str


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the references give."""

    files: Mapping[str, bytes] = field(repr=False)
    """Content of `<name>-credentials`: the relay's files by name."""
    users: Mapping[str, str]
    """User name by route."""
    bounce_text: str | None = None
    bounce_html: str | None = None
    tls_mark: str = ""
    """Changes with the sources of tls.ini; holds nothing secret. Empty: there are none."""
    route_mark: str = ""
    """The same for the routes' passwords."""


def resolve(spec: Spec, sources: Sources) -> tuple[Resolved | None, tuple[RefFault, ...]]:
    """Follow every reference; None and the faults in the resource's order when any is wrong."""
    resolver = _Resolver(sources)
    resolver.tls(spec.tls, "")
    resolver.tls(spec.tls_outbound, "outbound-")
    users = {route.name: resolver.route(route) for route in spec.routes if route.user}
    text, html = resolver.bounce(spec)
    if resolver.faults:
        return None, tuple(dict.fromkeys(resolver.faults))
    sides = (spec.tls, spec.tls_outbound)
    tls = [ref for side in sides for ref in (side.certificate, side.ca, side.dhparam) if ref]
    routes = [ref for route in spec.routes for ref in (route.user, route.password) if ref]
    return Resolved(resolver.files, users, text, html, _mark(tls, sources), _mark(routes, sources)), ()


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
                self._take(side.certificate, f"{prefix}tls.crt", chain, certificate_fault(chain), invalid)
            if key is not None:
                self._take(key_ref, f"{prefix}tls.key", key, key_fault(key, chain or b""), invalid)
        if side.ca and (bundle := self._content(side.ca)) is not None:
            self._take(side.ca, f"{prefix}ca.crt", bundle, bundle_fault(bundle), RefReason.INVALID_CA_BUNDLE)
        if side.dhparam and (dhparam := self._content(side.dhparam)) is not None:
            fault = parameters_fault(dhparam)
            self._take(side.dhparam, f"{prefix}dhparam.pem", dhparam, fault, RefReason.INVALID_DH_PARAMETERS)

    def route(self, route: RouteSpec) -> str:
        """The user; the password becomes a file."""
        assert route.user is not None
        assert route.password is not None
        invalid = RefReason.INVALID_CREDENTIALS
        user, password = self._content(route.user), self._content(route.password)
        if password is not None:
            self._take(route.password, f"route-{route.name}.password", password, line_fault(password), invalid)
        if user is None:
            return ""
        if fault := user_fault(user):
            self._fault(route.user, invalid, fault)
            return ""
        return user.decode().removesuffix("\n").removesuffix("\r")

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
        content = source.data.get(ref.key)
        if content is None and not optional:
            self.faults.append(RefFault(RefReason.KEY_NOT_FOUND, f"{ref} has no key {ref.key} ({ref.path})"))
        return content

    def _take(self, ref: Reference, name: str, content: bytes, fault: str, reason: RefReason) -> None:
        if len(content) > MAX_SIZE:
            fault = f"is larger than {MAX_SIZE // 2**20} MiB"
        if fault:
            self._fault(ref, reason, fault)
        else:
            self.files[name] = content

    def _fault(self, ref: Reference, reason: RefReason, fault: str) -> None:
        self.faults.append(RefFault(reason, f"{ref}: {ref.key} {fault} ({ref.path})"))


def _mark(refs: Iterable[Reference], sources: Sources) -> str:
    """A hash of which versions of which objects are used: it tells of a rotation and nothing of the content."""
    used = sorted({(ref.kind.value, ref.name, ref.key, *_version(sources.get(ref.source))) for ref in refs})
    return hashlib.sha256("\n".join(" ".join(parts) for parts in used).encode()).hexdigest() if used else ""


def _version(source: Source | None) -> tuple[str, str]:
    return (source.uid, source.version) if source else ("", "")
