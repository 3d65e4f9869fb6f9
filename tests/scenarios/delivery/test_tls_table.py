"""What becomes of mail, by what a host does about TLS and how much is demanded of it: each cell that can be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
from tests.scenarios.delivery.test_tls import Certificate, certificate
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import Raw, ScriptedMx

from mailboat.config.settings import TlsLevel
from mailboat.model.outcome import Result
from mailboat.model.tls import PolicySource, VerifiedBy
from mailboat.routing.answers import TlsRequirement

__all__ = ["certificate"]

DEMANDS = {
    "disabled": TlsRequirement(TlsLevel.DISABLED, reason="no_tls_hosts", policy=PolicySource.CONFIG),
    "opportunistic": TlsRequirement(),
    "encrypt": TlsRequirement(TlsLevel.ENCRYPT, reason="unusable TLSA records", policy=PolicySource.DANE),
    "pkix": TlsRequirement(TlsLevel.REQUIRED, True, "MTA-STS of d.test", policy=PolicySource.STS),
}


@dataclass(frozen=True)
class Host:
    """What a host does about TLS."""

    prepare: Callable[[ScriptedMx, Certificate], None]
    outcomes: Mapping[str, str]
    """By demand: `clear`, `tls` or `pkix`, as the mail was delivered, or the status with which it was deferred."""
    name: str = "mx.test"
    trusted: bool = True
    connections: int = 1
    """With opportunistic TLS."""


def offers(mx: ScriptedMx, at: Certificate) -> None:
    mx.starttls(at.server())


def refuses(mx: ScriptedMx, at: Certificate) -> None:
    mx.starttls(at.server())
    mx.on("STARTTLS", "454 4.7.0 not now")


def breaks(mx: ScriptedMx, at: Certificate) -> None:
    mx.starttls(at.server())
    mx.on("TLS", Raw(b"\x15\x03\x01\x00\x02\x02\x28"))


HOSTS = {
    "no STARTTLS": Host(
        lambda _mx, _at: None,
        {"disabled": "clear", "opportunistic": "clear", "encrypt": "4.7.4", "pkix": "4.7.4"},
    ),
    "refuses": Host(refuses, {"disabled": "clear", "opportunistic": "clear", "encrypt": "4.7.4", "pkix": "4.7.4"}),
    "breaks": Host(
        breaks,
        {"disabled": "clear", "opportunistic": "clear", "encrypt": "4.7.5", "pkix": "4.7.5"},
        connections=2,
    ),
    "untrusted": Host(
        offers,
        {"disabled": "clear", "opportunistic": "tls", "encrypt": "tls", "pkix": "4.7.5"},
        trusted=False,
    ),
    "another name": Host(
        offers,
        {"disabled": "clear", "opportunistic": "tls", "encrypt": "tls", "pkix": "4.7.5"},
        name="other.test",
    ),
    "valid": Host(offers, {"disabled": "clear", "opportunistic": "tls", "encrypt": "tls", "pkix": "pkix"}),
}


@pytest.mark.parametrize(("host", "demand"), [(host, demand) for host in HOSTS for demand in DEMANDS])
async def test_mail_is_delivered_so_or_deferred_with_this_status(
    host: str, demand: str, certificate: Certificate
) -> None:
    wanted, tls = HOSTS[host], DEMANDS[demand]
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        if wanted.trusted:
            rig.tls = certificate.trusted()
        wanted.prepare(mx, certificate)
        report = await rig.attempt(make_entry(), mx.target(wanted.name, tls=tls))
        (outcome,) = report.outcomes

    expected = wanted.outcomes[demand]
    assert (report.tls_policy, report.tls_demand) == (tls.policy, tls.demand)
    assert len(mx.connections) == (wanted.connections if demand == "opportunistic" else 1)
    if outcome.result is Result.DELIVERED:
        assert report.peer is not None
        secured = "tls" if report.peer.tls_version else "clear"
        assert expected == ("pkix" if report.peer.tls_verified_by is VerifiedBy.PKIX else secured)
        assert report.tls_failures == ()
    else:
        assert (outcome.result, outcome.status) == (Result.DEFERRED, expected)
        assert tls.reason in outcome.reason, "by whom it was demanded"
        assert report.tls_failures == (tls.policy,)
        assert not any("MAIL" in connection.verbs for connection in mx.connections)
