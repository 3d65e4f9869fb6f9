"""An OutboundConfig as a frozen value, or everything that is wrong with it. Pure; `reconcile` calls `parse`.

Each value goes through the relay's own parser and comes out as the text that the ini file says, so that what is
rendered is what the relay reads. Knows no API and no Secret's content: what is referred to has a name here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any

from mailboat.config.settings import (
    NamedKey,
    OutboundSettings,
    OutboundTlsSettings,
    Route,
    RouteHost,
    Tenant,
    TlsReportSettings,
    TlsSettings,
    keys_of,
)
from mailboat.config.show import text_of
from mailboat.config.text import quoted
from mailboat.config.values import TOKEN_MECHANISMS, route_hosts, tenant_names
from mailboat_operator import fields
from mailboat_operator.egress import Binds, read_egress
from mailboat_operator.reader import SpecReader
from mailboat_operator.references import Reference, SourceKind, allowed_key, config_map_key, secret_key
from mailboat_operator.shaping import ShapingSpec, read_shaping

Section = Mapping[str, str | tuple[str, ...]]
"""Keys of an ini section and their text; a tuple is a list, one `key[]=` line an item."""


class Reload(StrEnum):
    """How a change reaches the pods."""

    HOT = "Hot"
    RESTART = "Restart"


@dataclass(frozen=True, slots=True)
class TlsSpec:
    """One side of `tls.ini`."""

    keys: Section
    certificate: Reference | None = None
    """Secret with `tls.crt` and `tls.key`."""
    ca: Reference | None = None
    dhparam: Reference | None = None


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One smart host."""

    name: str
    keys: Section
    files: Mapping[str, Reference]
    """What the keys of `fields.ROUTE_FILES` refer to."""

    def listed(self, key: str) -> tuple[str, ...]:
        """The items of a key that is a list."""
        return tuple(filter(None, str(self.keys.get(key, "")).split(", ")))


@dataclass(frozen=True, slots=True)
class TenantSpec:
    """Whose mail it is."""

    name: str
    keys: Section


@dataclass(frozen=True, slots=True)
class BounceSpec:
    """The bounce message: its text, or where it stands."""

    text: str | None = None
    html: str | None = None
    text_ref: Reference | None = None
    html_ref: Reference | None = None
    """The key may be missing."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What the resource says, checked."""

    outbound: Section
    binds: Binds
    routes: tuple[RouteSpec, ...]
    tls: TlsSpec
    tls_outbound: TlsSpec
    bounce: BounceSpec
    tenants: tuple[TenantSpec, ...] = ()
    tls_reports: Section = field(default_factory=dict)
    """`tlsrpt.ini` [main]; empty: no reports."""
    shaping: ShapingSpec | None = None
    """`shaping.ini`; None: there is none."""
    target: str = ""
    """Name of the StatefulSet; empty: none."""
    token: Reference | None = None
    """The admin API's bearer token."""
    reload: Reload = Reload.HOT

    def references(self) -> tuple[Reference, ...]:
        """Everything that is referred to, in the order of the resource, the token last."""
        return tuple(dict.fromkeys(self._references()))

    def _references(self) -> Iterator[Reference]:
        for side in (self.tls, self.tls_outbound):
            yield from filter(None, (side.certificate, side.ca, side.dhparam))
        for route in self.routes:
            yield from route.files.values()
        yield from filter(None, (self.bounce.text_ref, self.bounce.html_ref, self.token))


def is_paused(resource: Mapping[str, Any], annotation: str) -> bool:
    """Whether the spec or the annotation says so; known even where the rest of the spec is wrong."""
    annotations = (resource.get("metadata") or {}).get("annotations") or {}
    return (resource.get("spec") or {}).get("paused") is True or annotations.get(annotation) == "true"


def parse(resource: Mapping[str, Any]) -> tuple[Spec | None, tuple[str, ...]]:
    """The spec, or None and its faults, each with its path."""
    faults: list[str] = []
    given = resource.get("spec")
    if given is not None and not isinstance(given, Mapping):
        return None, ("spec: is not an object",)
    spec = SpecReader(given or {}, "spec", faults)
    target = spec.child("targetRef")
    token = target.child("adminTokenSecretRef") if target else None
    tls = spec.child("tls") or SpecReader({}, "spec.tls", faults)
    outbound_tls = tls.child("outbound") or SpecReader({}, "spec.tls.outbound", faults)
    name = target.text("name") if target else ""
    parsed = Spec(
        outbound=_outbound(spec.child("outbound") or SpecReader({}, "spec.outbound", faults)),
        binds=read_egress(spec.child("egress") or SpecReader({}, "spec.egress", faults), name),
        routes=_routes(spec),
        tls=_tls(tls, fields.TLS),
        tls_outbound=_tls(outbound_tls, fields.TLS_OUTBOUND, inherited=tls),
        bounce=_bounce(spec.child("bounceMessage")),
        tenants=_tenants(spec),
        tls_reports=_tls_reports(spec.child("tlsReports")),
        shaping=read_shaping(spec.child("shaping")),
        target=name,
        token=allowed_key(token, "key", "token") if token else None,
        reload=spec.word("reload", {word.value: word for word in Reload}, Reload.HOT),
    )
    return (None if faults else parsed), tuple(faults)


def _outbound(reader: SpecReader) -> Section:
    if reader.has("tempFailIntervals") and reader.has("maxTempFailures"):
        reader.fault("maxTempFailures", "has no effect beside tempFailIntervals: set one of them")
    return _keys(reader, OutboundSettings, fields.OUTBOUND)


def _keys(reader: SpecReader, kind: type, names: Mapping[str, str]) -> Section:
    """The keys of a settings class that have a plain field here and are given."""
    section: dict[str, str | tuple[str, ...]] = {}
    for key in keys_of(kind):
        name = names.get(key.ini)
        if name is None or name in fields.REFERENCES or not reader.has(name):
            continue
        raw = reader.raw(name)
        if isinstance(raw, list | tuple):
            items = tuple(_items(reader, name, key))
            if items:
                section[key.ini] = items if key.is_list else ", ".join(items)
            continue
        try:
            section[key.ini] = _text(key, raw)
        except ValueError as error:
            reader.fault(name, str(error))
    return section


def _text(key: NamedKey, raw: Any) -> str:
    """A single value as the file says it."""
    if isinstance(raw, bool):
        raw = "true" if raw else "false"
    elif isinstance(raw, int):
        raw = str(raw)
    if not isinstance(raw, str) or key.is_list:
        raise ValueError("is of the wrong type")
    return text_of(key, key.key.parse(raw))


def _items(reader: SpecReader, name: str, key: NamedKey) -> Iterator[str]:
    """The items of a list as the file says them."""
    for where, text in reader.texts(name):
        try:
            yield str(_only(key.key.parse(text), text))
        except ValueError as error:
            reader.fault(where, str(error))


def _only(values: Any, text: str) -> Any:
    """The single value that `text` was parsed to; a comma in it would make two of an item."""
    if not isinstance(values, tuple) or len(values) != 1:
        raise ValueError(f"{quoted(text)} is not one item")
    return values[0]


def _routes(spec: SpecReader) -> tuple[RouteSpec, ...]:
    routes = tuple(_route(reader) for reader in spec.children("routes"))
    owners: dict[tuple[str, str], str] = {}
    for number, route in enumerate(routes):
        for domain, sender in product(route.listed("domains"), route.listed("senders") or ("",)):
            owner = owners.setdefault((domain, sender), route.name)
            if owner != route.name:
                whose = f"{domain} from {sender}" if sender else domain
                spec.fault(f"routes[{number}].domains", f"{whose} already belongs to the route {owner}")
    if len({route.name for route in routes}) < len(routes):
        spec.fault("routes", "two have the same name")
    return routes


def _route(reader: SpecReader) -> RouteSpec:
    keys = dict(_keys(reader, Route, {k: v for k, v in fields.ROUTE.items() if k != "hosts"}))
    hosts = tuple(filter(None, map(_host, reader.children("hosts"))))
    if hosts:
        keys["hosts"] = ", ".join(hosts)
    if "domains" not in keys and "senders" in keys:
        keys["domains"] = "*"
    if "domains" not in keys:
        reader.fault("domains", "is missing: a route needs domains or senders")
    if "hosts" not in keys:
        reader.fault("hosts", "is missing: a route needs hosts")
    if keys.get("tls") in ("required", "implicit") and any(host.startswith("/") for host in hosts):
        reader.fault("tls", "verified TLS cannot be had over a unix socket: it has no name to verify")
    files = _auth(reader, keys)
    if bundle := _ca(reader):
        files["ca"] = bundle
    return RouteSpec(_route_name(reader), keys, files)


def _auth(reader: SpecReader, keys: dict[str, str | tuple[str, ...]]) -> dict[str, Reference]:
    """The files that AUTH needs; keys of `oauth` are added to those of the route."""
    auth, oauth = reader.child("authSecretRef"), reader.child("oauth")
    if auth is None and reader.flag("requireAuth"):
        reader.fault("requireAuth", "needs authSecretRef: otherwise all mail is deferred")
    if auth and keys.get("tls") == "disabled" and not reader.flag("allowPlaintextAuth"):
        reader.fault("tls", "is Disabled: AUTH without TLS needs allowPlaintextAuth")
    if (oauth is None) == (keys.get("auth_type") in TOKEN_MECHANISMS):
        reader.fault("authType", f"is {' or '.join(TOKEN_MECHANISMS)} with oauth, and with nothing else")
    files = {"auth_user_file": allowed_key(auth, "usernameKey", "username")} if auth else {}
    if oauth is None:
        return files | ({"auth_pass_file": allowed_key(auth, "passwordKey", "password")} if auth else {})
    if auth is None:
        reader.fault("oauth", "needs authSecretRef: a token is for a user")
    keys |= _keys(oauth, Route, fields.ROUTE_OAUTH)
    return files | _oauth_files(oauth)


def _oauth_files(oauth: SpecReader) -> dict[str, Reference]:
    for name in ("tokenURL", "clientID"):
        if not oauth.text(name):
            oauth.fault(name, "is missing")
    files = {}
    if secret := oauth.child("clientSecretRef"):
        files["oauth_client_secret_file"] = allowed_key(secret, "key", "client-secret")
    if refresh := oauth.child("refreshTokenRef"):
        files["oauth_refresh_token_file"] = allowed_key(refresh, "key", "refresh-token")
    if not files:
        oauth.fault("clientSecretRef", "is missing: a secret or a refresh token is needed")
    if bundle := _ca(oauth):
        files["oauth_ca"] = bundle
    return files


def _route_name(reader: SpecReader) -> str:
    name = reader.text("name")
    if not (0 < len(name) <= 63 and name.isascii() and name.replace("-", "a").isalnum()):
        reader.fault("name", f"{quoted(name)} is not a route's name: letters, digits and `-`")
    return name


def _host(reader: SpecReader) -> str:
    """`host[:port][/priority]`; empty when it is wrong."""
    wanted = RouteHost(reader.text("host"), reader.number("port"), reader.number("priority"))
    try:
        parsed = _only(route_hosts(str(wanted)), wanted.host)
    except ValueError as error:
        reader.fault("host", str(error))
        return ""
    if (parsed.port, parsed.priority) != (wanted.port, wanted.priority):
        reader.fault("host", f"{quoted(wanted.host)} is more than a host: port and priority are separate fields")
    return str(parsed)


def _tenants(spec: SpecReader) -> tuple[TenantSpec, ...]:
    tenants = tuple(map(_tenant, spec.children("tenants")))
    if len({tenant.name for tenant in tenants}) < len(tenants):
        spec.fault("tenants", "two have the same name")
    return tenants


def _tenant(reader: SpecReader) -> TenantSpec:
    name = reader.text("name")
    try:
        name = _only(tenant_names(name), name)
    except ValueError as error:
        reader.fault("name", str(error))
    return TenantSpec(name, _keys(reader, Tenant, fields.TENANT))


def _tls_reports(reader: SpecReader | None) -> Section:
    if reader is None:
        return {}
    keys = _keys(reader, TlsReportSettings, fields.TLS_REPORTS)
    for name in ("organization", "contact"):
        if not keys.get(name):
            reader.fault(name, "is missing: without it no reports are sent")
    return keys


def _tls(reader: SpecReader, names: Mapping[str, str], inherited: SpecReader | None = None) -> TlsSpec:
    keys = _keys(reader, OutboundTlsSettings if inherited else TlsSettings, names)
    effective = {**_keys(inherited.quiet(), TlsSettings, fields.TLS), **keys} if inherited else keys
    both = set(effective.get("force_tls_hosts", ())) & set(effective.get("no_tls_hosts", ()))
    if not keys.keys() & {"force_tls_hosts", "no_tls_hosts"}:
        both = set()  # inherited as they are: told where they stand
    if both:
        reader.fault("noTLSHosts", f"{', '.join(sorted(both))} is in forceTLSHosts too")
    certificate = reader.child("certificateSecretRef")
    return TlsSpec(
        keys,
        Reference(SourceKind.SECRET, certificate.text("name"), "tls.crt", certificate.path) if certificate else None,
        _ca(reader),
        secret_key(reader, "dhparamSecretRef", "dhparam.pem"),
    )


def _ca(reader: SpecReader) -> Reference | None:
    bundle = reader.child("caBundleRef")
    if bundle is None:
        return None
    kind = bundle.word("kind", {kind.value: kind for kind in SourceKind}, SourceKind.SECRET)
    return Reference(kind, bundle.text("name"), bundle.text("key", "ca.crt"), bundle.path)


def _bounce(reader: SpecReader | None) -> BounceSpec:
    if reader is None:
        return BounceSpec()
    text, html = _template(reader, "text"), _template(reader, "html")
    source = reader.child("configMapRef")
    if source is None:
        return BounceSpec(text, html)
    if text is not None or html is not None:
        reader.fault("configMapRef", "is set beside text or html: set one of them")
    return BounceSpec(
        text_ref=config_map_key(source, "textKey", "outbound.bounce_message"),
        html_ref=config_map_key(source, "htmlKey", "outbound.bounce_message_html"),
    )


def _template(reader: SpecReader, name: str) -> str | None:
    if not reader.has(name):
        return None
    text = reader.text(name)
    if "\0" in text:
        reader.fault(name, "has a NUL octet")
    return text
