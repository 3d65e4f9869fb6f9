"""Whatever a resource may say, the relay reads it back from the rendered files; no value becomes more than one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.config_directory import Directory
from tests.support.outbound_config import files, rendered, schema, secret, secrets
from tests.support.pem import self_signed

from mailboat.config import ini, values
from mailboat.config.hash import config_hash
from mailboat.config.settings import (
    InetPrefer,
    OutboundSettings,
    OutboundTlsSettings,
    RequireTls,
    Settings,
    TlsSettings,
    keys_of,
)
from mailboat_operator import fields

KEY, CERTIFICATE = self_signed("relay.example.com")
TLS = secret(tls__key=KEY, tls__crt=CERTIFICATE)
SMART_HOST = secret(username="relay", password="p; [x] #")
WITH_TLS = {"tls": {"certificateSecretRef": {"name": "tls"}}}
SMART_ROUTE = {
    "name": "a",
    "domains": ["*"],
    "hosts": [{"host": "smtp.example.net"}],
    "authSecretRef": {"name": "smart-host"},
}

LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
V4 = st.ip_addresses(v=4).filter(lambda ip: not (ip.is_unspecified or ip.is_multicast)).map(str)
V6 = st.ip_addresses(v=6).filter(lambda ip: not (ip.is_unspecified or ip.is_multicast)).map(str)


def load(path: Path, spec: dict[str, Any], sources: Any = None) -> Settings:
    """What a relay makes of a resource, without a fault."""
    directory = Directory(path)
    for name, content in {"me": b"relay.example.com\n", **files(rendered(spec, sources))}.items():
        directory.write(name, content)
    loaded = directory.load()
    assert loaded.faults == ()
    assert loaded.settings is not None
    return loaded.settings


def of_schema(of: dict[str, Any], name: str) -> st.SearchStrategy[Any]:
    """Values that a field's schema allows."""
    if "enum" in of:
        return st.sampled_from(of["enum"])
    if of["type"] == "boolean":
        return st.booleans()
    if of["type"] == "integer":
        return st.integers(of["minimum"], of["maximum"])
    return SPECIAL[name]


SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "receivedHeader": st.from_regex(
        re.compile(r"[!-'*-\[\]-~]([ -'*-\[\]-~]{0,40}[!-'*-\[\]-~])?", re.ASCII), fullmatch=True
    ),
    "tempFailIntervals": st.from_regex(
        r"none|[1-9][0-9]{0,3}[mhd](\*[1-9][0-9]?)?( *, *[1-9][0-9]?[mh])*", fullmatch=True
    ).filter(
        lambda text: all(int(n) * (24 if unit == "d" else 1) <= 8760 for n, unit in re.findall("([0-9]+)([hd])", text))
    ),
    "dnsServers": st.lists(V4 | V6 | V4.map("{}:5353".format) | V6.map("[{}]:53".format), max_size=3),
    "dnsTrustAD": st.just(["none"]) | st.lists(V4 | V6 | st.just("loopback"), max_size=3, unique=True),
    "ciphers": st.sampled_from(["HIGH", "ECDHE+AESGCM:!aNULL", "DEFAULT:@SECLEVEL=1", "HIGH !aNULL"]),
    "forceTLSHosts": st.lists(NAME.map("f-{}".format) | V4, max_size=3),
    "forceDANEHosts": st.lists(NAME.map("f-{}".format) | V4, max_size=3),
    "noTLSHosts": st.lists(NAME.map("n-{}".format) | V6, max_size=3),
}


def of_object(*path: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with any of the plain fields of a schema."""
    properties = schema(*path)["properties"]
    plain = {name: of_schema(of, name) for name, of in properties.items() if of["type"] != "object"}
    return st.fixed_dictionaries({}, optional=plain)


def one_budget(outbound: dict[str, Any]) -> bool:
    return not {"tempFailIntervals", "maxTempFailures"} <= outbound.keys()


PODS = st.lists(st.integers(0, 9), unique=True, min_size=1, max_size=3)


@st.composite
def egress(draw: st.DrawFn) -> dict[str, Any]:
    mode = draw(st.sampled_from(["Auto", "PodIP", "PerPod", "Network"]))
    found: dict[str, Any] = {"mode": mode}
    if draw(st.booleans()):
        found["ehlo"] = draw(NAME)
    if mode == "Network":
        found["networks"] = draw(st.sampled_from([["10.0.0.0/8"], ["fd00::/8", "192.0.2.0/24"]]))
    if mode == "PerPod" or draw(st.booleans()):
        found["pods"] = [{"ordinal": ordinal} for ordinal in draw(PODS)]
        count = len(found["pods"])
        addresses = (draw(st.lists(family, min_size=count, max_size=count, unique=True)) for family in (V6, V4))
        for pod, pair in zip(found["pods"], zip(*addresses, strict=True), strict=True):
            if mode == "PerPod":
                pod["bindIPs"] = list(pair[draw(st.integers(0, 1)) :])
            if draw(st.booleans()):
                pod["ehlo"] = draw(NAME)
    return found


@st.composite
def routes(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = []
    for number in range(draw(st.integers(0, 3))):
        host = st.fixed_dictionaries(
            {"host": NAME | V4 | V6}, optional={"port": st.integers(1, 65535), "priority": st.integers(0, 65535)}
        )
        route: dict[str, Any] = {
            "name": f"route-{number}",
            "domains": [f"{number}.{draw(NAME)}", f".{number}.{draw(NAME)}"],
            "hosts": draw(st.lists(host, min_size=1, max_size=3, unique_by=lambda h: h["host"])),
            "protocol": draw(st.sampled_from(["SMTP", "LMTP"])),
            "tls": draw(st.sampled_from(["Disabled", "Opportunistic", "Required", "Implicit"])),
        }
        if draw(st.booleans()):
            route |= {"authSecretRef": {"name": "smart-host"}, "requireAuth": draw(st.booleans())}
            route["tls"] = "Required"
        if draw(st.booleans()):
            route["caBundleRef"] = {"kind": "Secret", "name": "tls", "key": "tls.crt"}
        if draw(st.booleans()):
            route["allowPlaintextAuth"] = True
        found.append(route)
    return found


SPECS = st.fixed_dictionaries(
    {"targetRef": st.just({"name": "relay"})},
    optional={
        "outbound": of_object("outbound").filter(one_budget),
        "tls": st.builds(
            lambda main, outbound, more: {**main, "outbound": {**outbound, **more}},
            of_object("tls"),
            of_object("tls", "outbound"),
            st.sampled_from([{}, {"certificateSecretRef": {"name": "tls"}}]),
        ),
        "egress": egress(),
        "routes": routes(),
        "bounceMessage": st.just({"text": "; no [comment]\nkey=value\n", "html": "<p>{reason}</p>"}),
    },
)


def expected(value: Any, ini_name: str) -> Any:
    """A value of the resource as the relay's settings should hold it, found without the renderer."""
    match ini_name:
        case "inet_prefer":
            return InetPrefer(value)
        case "requiretls":
            return RequireTls(value.lower())
        case "temp_fail_intervals":
            return values.intervals(value)
        case "dns_servers":
            return tuple(dict.fromkeys(server for item in value for server in values.dns_servers(item)))
        case "dns_trust_ad":
            return tuple(dict.fromkeys(address for item in value for address in values.trusted_resolvers(item)))
        case "force_tls_hosts" | "no_tls_hosts" | "force_dane_hosts":
            return tuple(host for item in value for host in values.host_list(item))
    return value


def check(found: Any, kind: type, given: dict[str, Any], table: Any) -> None:
    for key in keys_of(kind):
        name = table.get(key.ini)
        if name in given and name not in fields.REFERENCES and given[name] != []:
            assert getattr(found, key.field) == expected(given[name], key.ini), key.ini


@settings(max_examples=150, deadline=None)
@given(spec=SPECS)
def test_a_rendered_configuration_is_what_the_resource_says(
    spec: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    found = load(tmp_path_factory.mktemp("config"), spec, secrets(tls=TLS, smart_host=SMART_HOST))

    check(found.outbound, OutboundSettings, spec.get("outbound", {}), fields.OUTBOUND)
    tls = spec.get("tls", {})
    check(found.tls, TlsSettings, tls, fields.TLS)
    check(found.tls_outbound, OutboundTlsSettings, {**tls, **tls.get("outbound", {})}, fields.TLS_OUTBOUND)
    assert [route.name for route in found.outbound.routes] == [route["name"] for route in spec.get("routes", ())]
    for route, asked in zip(found.outbound.routes, spec.get("routes", ()), strict=True):
        assert (route.protocol, route.tls) == (asked["protocol"].lower(), asked["tls"].lower())
        hosts = [(host.get("port", 0), host.get("priority", 0)) for host in asked["hosts"]]
        assert [(host.port, host.priority) for host in route.hosts] == hosts
        assert (route.ca_pem != "") == ("caBundleRef" in asked)
        assert route.auth_without_tls == asked.get("allowPlaintextAuth", False)
        assert (route.user, route.auth_pass) == (("relay", "p; [x] #") if "authSecretRef" in asked else ("", ""))
    pods = spec.get("egress", {}).get("pods", ())
    listed = {f"relay-{pod['ordinal']}" for pod in pods if "bindIPs" in pod}
    assert listed <= dict(found.outbound.binds).keys()
    assert (found.bounce.text is not None) == ("bounceMessage" in spec)


TEXT = st.text(alphabet=st.sampled_from("\r\n;[]=#\\ \t\0\x85\u2028ab:/,*") | st.characters(), max_size=30)
STRINGS = [
    ("outbound", "receivedHeader"),
    ("outbound", "tempFailIntervals"),
    ("tls", "ciphers"),
    ("tls", "forceTLSHosts", "[]"),
    ("outbound", "dnsServers", "[]"),
    ("outbound", "dnsTrustAD", "[]"),
    ("egress", "ehlo"),
    ("routes", "[]", "domains", "[]"),
    ("routes", "[]", "hosts", "[]", "host"),
    ("routes", "[]", "name"),
    ("tenants", "[]", "name"),
    ("tenants", "[]", "users", "[]"),
    ("tenants", "[]", "listeners", "[]"),
    ("tenants", "[]", "mayName", "[]"),
    ("tlsReports", "organization"),
    ("tlsReports", "contact"),
    ("tlsReports", "from"),
    ("shaping", "providers", "[]", "name"),
    ("shaping", "providers", "[]", "mx", "[]"),
    ("shaping", "scopes", "[]", "name"),
    ("shaping", "scopes", "[]", "source"),
    ("shaping", "scopes", "[]", "tls"),
    ("shaping", "rules", "[]", "name"),
    ("shaping", "rules", "[]", "replies", "[]"),
    ("shaping", "rules", "[]", "for", "[]"),
    ("shaping", "rules", "[]", "recover", "every"),
]


@settings(max_examples=60, deadline=None)
@given(text=TEXT)
@pytest.mark.parametrize("path", STRINGS, ids=".".join)
def test_no_text_becomes_configuration(path: tuple[str, ...], text: str) -> None:
    """Even where no schema was asked: refused, or there as one value of its own key, and nothing beside it."""
    route: dict[str, Any] = {"name": "a", "domains": ["example.com"], "hosts": [{"host": "smtp.example.net"}]}
    spec: dict[str, Any] = {"routes": [route], "tenants": [{"name": "a", "users": ["u"]}]}
    if path[0] == "shaping":
        rule: dict[str, Any] = {"name": "a", "replies": ["4*"], "samples": ["4"], "actions": [{"type": "Alert"}]}
        rule |= {"for": ["1m"], "recover": {"every": "1m"}}
        scope = {"scope": "Domain", "name": "a.test", "source": "default", "tls": "Required"}
        spec["shaping"] = {"providers": [{"name": "a", "mx": [".b.test"]}], "scopes": [scope], "rules": [rule]}
    keys = structure(spec)
    place: Any = spec
    for name in path[:-1]:
        place = place[0] if name == "[]" else place.setdefault(name, [] if path[path.index(name) + 1] == "[]" else {})
    if path[-1] == "[]":
        place[:] = [text]
    else:
        place[path[-1]] = text
    try:
        found = structure(spec)
    except (AssertionError, ValueError):
        return
    renamed = {f"route:{text}": "route:a", f"tenant:{text.strip()}": "tenant:a"}
    if path[0] == "shaping":
        # A name is that of a section, which has the same keys; another text adds none.
        kinds = {section.partition(":")[0] for section, _ in keys}
        found = {pair for pair in found if path[-1] not in ("name", "source") or pair[0].partition(":")[0] not in kinds}
    added = {(renamed.get(section, section), key) for section, key in found} - keys
    assert added <= {("main", fields_of(path)), ("bind", "default"), *(("tenant:a", key) for key in fields.TENANT)}


def structure(spec: dict[str, Any]) -> set[tuple[str, str]]:
    """The sections and keys of all rendered files."""
    parsed = [ini.parse(text.decode(), name) for name, text in files(rendered(spec)).items()]
    assert all(file.faults == () for file in parsed)
    return {(entry.section, entry.key) for file in parsed for entry in file.entries}


def fields_of(path: tuple[str, ...]) -> str:
    """The key of the ini file that a field is."""
    tables = {**fields.OUTBOUND, **fields.TLS}
    return next((ini_name for ini_name, name in tables.items() if name == path[1]), "")


def test_the_hash_is_the_relays(tmp_path: Path) -> None:
    desired = rendered(WITH_TLS, secrets(tls=TLS))
    found = files(desired)

    assert desired.hash == config_hash(found["outbound.ini"], found["tls.ini"])
    assert load(tmp_path, WITH_TLS, secrets(tls=TLS)).hash == desired.hash


def test_a_rotation_changes_the_hash() -> None:
    other = self_signed("relay.example.com")
    before = rendered(WITH_TLS, secrets(tls=TLS))
    after = rendered(WITH_TLS, secrets(tls=secret(tls__key=other[0], tls__crt=other[1])))

    assert before.hash != after.hash
    assert files(before)["outbound.ini"] == files(after)["outbound.ini"]


def test_what_nobody_refers_to_in_a_secret_changes_nothing() -> None:
    """Its labels, annotations and other keys: cert-manager and others write there again and again."""
    other_key = secret(tls__key=KEY, tls__crt=CERTIFICATE, ca__crt="x", allowed=False)

    assert rendered(WITH_TLS, secrets(tls=TLS)) == rendered(WITH_TLS, secrets(tls=other_key))


def test_the_hash_of_secrets_tells_nothing_to_who_guesses() -> None:
    """The mark stands in a ConfigMap: without the key, which is in the Secret, a password cannot be tried out by it."""
    spec = {"routes": [SMART_ROUTE]}
    marks = {
        re.search(r"^; credentials ([0-9a-f]{64})$", files(found)["outbound.ini"].decode(), re.MULTILINE)
        for found in (rendered(spec, secrets(smart_host=SMART_HOST), bytes([octet]) * 32) for octet in range(3))
    }
    assert len({mark[1] for mark in marks if mark}) == 3
    child = rendered(spec, secrets(smart_host=SMART_HOST), b"k" * 32).children[0]
    assert (child.key.kind, child.data["hash.key"]) == ("Secret", b"k" * 32)


def test_without_secrets_there_is_neither_a_secret_nor_its_key() -> None:
    assert rendered({}, hash_key=b"1" * 32) == rendered({}, hash_key=b"2" * 32)
    assert all(child.key.kind != "Secret" for child in rendered({}).children)


def test_another_bounce_message_changes_the_hash() -> None:
    assert rendered({"bounceMessage": {"text": "a"}}).hash != rendered({"bounceMessage": {"text": "b"}}).hash


def test_secrets_are_in_the_secret_and_nowhere_else() -> None:
    spec = {**WITH_TLS, "routes": [SMART_ROUTE]}
    for child in rendered(spec, secrets(tls=TLS, smart_host=secret(username="sesame", password="hunter2"))).children:
        content = b"".join(child.data.values())
        assert (b"hunter2" in content) == (b"sesame" in content) == (child.key.kind == "Secret")
        assert (b"PRIVATE KEY" in content) == (child.key.kind == "Secret")
        assert "hunter2" not in repr(child)


def test_rendering_is_the_same_each_time() -> None:
    assert rendered(WITH_TLS, secrets(tls=TLS)) == rendered(WITH_TLS, secrets(tls=TLS))


def test_a_resource_that_is_too_large_is_refused() -> None:
    spec = {
        "routes": [
            {
                "name": f"r{n}",
                "domains": [f"{'a' * 60}.{'b' * 60}.{m}.{n}" for m in range(200)],
                "hosts": [{"host": "a.b"}],
            }
            for n in range(64)
        ]
    }
    with pytest.raises(ValueError, match="more than 921600"):
        rendered(spec)
