"""A plugin's MX as a hop, and the host of an outcome as a plugin sees it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.facts import PEER, outcome

from mailboat.config.settings import OutboundSettings, Protocol, Settings, TlsLevel
from mailboat.delivery.plugin_routes import hop_of, mx_of
from mailboat.hooks import Mx
from mailboat.model.outcome import PeerFacts, Result

SETTINGS = Settings("/nowhere", "relay.test", outbound=OutboundSettings(mx_port=2525))


@pytest.mark.parametrize(
    ("given", "host", "port", "protocol", "tls"),
    [
        ("mx.test", "mx.test", 2525, Protocol.SMTP, TlsLevel.OPPORTUNISTIC),
        ("mx.test:25", "mx.test", 25, Protocol.SMTP, TlsLevel.OPPORTUNISTIC),
        ("smtp://[2001:db8::1]:26", "2001:db8::1", 26, Protocol.SMTP, TlsLevel.OPPORTUNISTIC),
        ("smtps://mx.test", "mx.test", 465, Protocol.SMTP, TlsLevel.IMPLICIT),
        ("lmtp://mx.test", "mx.test", 24, Protocol.LMTP, TlsLevel.OPPORTUNISTIC),
    ],
)
def test_where_and_how(given: str, host: str, port: int, protocol: Protocol, tls: TlsLevel) -> None:
    hop = hop_of(Mx.of(given), SETTINGS)
    assert (hop.host, hop.port, hop.protocol, hop.tls) == (host, port, protocol, tls)


def test_credentials_source_and_name_go_along() -> None:
    hop = hop_of(
        Mx.of(
            {
                "exchange": "192.0.2.1",
                "auth_user": "u@x",
                "auth_pass": "p",
                "auth_type": "plain",
                "bind": "192.0.2.9",
                "bind_ehlo": "out.test",
                "from_dns": "MX.test.",
                "tls": "required",
            }
        ),
        SETTINGS,
    )
    assert hop.credentials is not None
    assert (hop.credentials.user, hop.credentials.password, hop.credentials.mechanism) == ("u@x", "p", "PLAIN")
    assert (hop.bind, hop.ehlo, hop.name, hop.tls) == ("192.0.2.9", "out.test", "mx.test", TlsLevel.REQUIRED)


@pytest.mark.parametrize(
    ("mx", "allowed"),
    [
        (Mx(exchange="127.0.0.1"), True),
        (Mx(exchange="::1"), True),
        (Mx(path="/run/lmtp"), True),
        (Mx(exchange="localhost"), False),
        (Mx(exchange="127.0.0.1", from_dns="mx.test"), False),
    ],
)
def test_only_what_was_written_down_as_an_address_may_be_this_host(mx: Mx, allowed: bool) -> None:
    assert hop_of(mx, SETTINGS).local_ok is allowed
    everything = replace(SETTINGS, outbound=OutboundSettings(local_mx_ok=True))
    assert hop_of(mx, everything).local_ok


def test_the_host_of_an_outcome() -> None:
    said = outcome(1, Result.DEFERRED, "450 4.2.0 later")
    mx = mx_of(said, PEER)
    assert mx is not None
    assert (mx.exchange, mx.port, mx.from_dns) == ("192.0.2.1", 25, "mx.example.net")
    elsewhere = mx_of(replace(said, mx="other.test"), PEER)
    assert elsewhere is not None
    assert elsewhere.exchange == "other.test"
    assert mx_of(replace(said, mx=""), None) is None
    assert mx_of(replace(said, mx="-- not a name"), None) is None
    assert mx_of(replace(said, mx="/s"), PeerFacts("/s", "/s", protocol="LMTP")) == Mx(path="/s", using_lmtp=True)
